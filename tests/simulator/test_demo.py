"""The demo's story, played, and the Python that it brings along."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
import yaml

from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper.policy.load import load
from tollkeeper.simulator import demo
from tollkeeper.simulator.sdks import private_python


def test_the_story_goes_as_told():
    steps = list(demo.story())

    assert [step.title for step in steps if not step.as_told] == []
    seen = {step.command.rpartition(" ")[2]: " ".join(step.lines) for step in steps}
    assert "answer: Hello from the simulated gpt-4o-mini." in seen["allowed"]
    assert "claude-opus-4-1" in seen["refused"]
    assert "agents.scout.budget_usd.total" in seen["over-budget"]
    told = {step.title: " ".join(step.lines) for step in steps}
    assert "The release is on its way." in told["The call goes on"]
    assert "Take a backup first." in told["The agent is told why not"]
    assert "balance" in seen["verify"]


def test_a_story_that_is_closed_early_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = demo.story()
    next(told)
    (home,) = (path / "home" for path in tmp_path.glob("tollkeeper-demo-*"))
    port = json.loads(Home(home).process.read_text())["port"]

    told.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert list(tmp_path.glob("tollkeeper-demo-*")) == []


def test_the_demos_policy_loads_without_a_warning(lab, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(demo.policy(lab)))

    loaded = load(path)

    assert loaded.warnings == []
    assert set(loaded.policy.agents) == {scene.agent for scene in demo.SCENES}


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_private_python_that_has_the_sdks_is_used_again(tmp_path, monkeypatch):
    made = program(tmp_path / "sdks" / "bin" / "python", f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", "/nonexistent")

    assert private_python(tmp_path / "sdks") == made


def test_sdks_that_cannot_be_fetched_are_told_with_the_command_that_installs_them(
    tmp_path, monkeypatch
):
    program(tmp_path / "bin" / "uv", "echo no network >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/bin")

    with pytest.raises(UsageError, match=r"no network.*pip install openai anthropic"):
        private_python(tmp_path / "sdks")


def test_uv_makes_the_private_python_where_there_is_one(tmp_path, monkeypatch):
    log = tmp_path / "log"
    program(tmp_path / "bin" / "uv", f'echo "$1 $2" >> {log}')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/bin")

    assert private_python(tmp_path / "sdks") == tmp_path / "sdks" / "bin" / "python"
    assert log.read_text().splitlines() == ["venv --clear", "pip install"]
