"""mitmproxy run by hand with our script governs as our own entry point does, or does not run."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mitmproxy.io import FlowReader

import tollkeeper.proxy
from e2e.world import PATIENCE_SECONDS, Proxy, World, wait

SCRIPT = Path(tollkeeper.proxy.__file__).with_name("script.py")
MITMDUMP = Path(sys.executable).with_name("mitmdump")


def start(world: World, *arguments: str, script: Path = SCRIPT, home: Path | None = None) -> Proxy:
    """mitmdump with the script; its port is open or it has ended."""
    log = world.folder / "mitmdump.log"
    process = subprocess.Popen(
        [
            str(MITMDUMP),
            "-s",
            str(script),
            "-p",
            "0",
            "--set",
            f"confdir={world.home.ca}",
            *arguments,
        ],
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TOLLKEEPER_HOME": str(home or world.home.root), "PYTHONUNBUFFERED": "1"},
    )
    world.stack.callback(lambda: process.poll() is not None or process.kill())

    def listening() -> str | None:
        found = re.search(r"listening at \S+:(\d+)\.", log.read_text())
        return found[1] if found else "0" if process.poll() is not None else None

    return Proxy(process, int(wait(listening)), log)


def test_script_governs_a_call(world: World) -> None:
    world.agent(rpm=1)
    proxy = start(world)

    [first] = world.calls(proxy)
    [second] = world.calls(proxy)

    assert (first["status"], second["status"]) == (200, 429)
    assert world.books()["open"] == 0
    assert len(world.lab.calls()) == 1


def test_script_lets_nobody_in_without_credentials(world: World) -> None:
    world.agent()
    proxy = start(world)

    [answer] = world.calls(proxy, auth="")

    assert answer["status"] == 0
    assert "407" in answer["error"]


def test_file_that_mitmdump_saves_holds_no_credential(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAL_KEY", "sk-the-real-one")
    world.agent()
    world.policy({"providers": {"openai": {"key": {"env": "REAL_KEY"}}}})
    saved = world.folder / "flows"
    proxy = start(world, "-w", str(saved))

    [answer] = world.calls(proxy)
    proxy.process.send_signal(signal.SIGTERM)
    proxy.process.wait(timeout=PATIENCE_SECONDS)

    [call] = world.lab.calls(ended=1)
    assert answer["status"] == 200
    assert dict(call["headers"])["Authorization"] == "Bearer sk-the-real-one"
    content = saved.read_bytes()
    with saved.open("rb") as file:
        assert "atlas" in [flow.comment.split(" ")[0] for flow in FlowReader(file).stream()]
    token = world.tokens["atlas"]
    for secret in ("sk-the-real-one", "sk-agent", token):
        assert secret.encode() not in content
        assert base64.b64encode(f"atlas:{token}".encode()) not in content


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "ssl_insecure=true"),
        ("--ignore-hosts", "openai"),
        ("--set", "stream_large_bodies=1"),
        ("--mode", "socks5"),
        ("--mode", "reverse:https://api.openai.com"),
        ("--map-remote", "|a|b"),
        ("--set", "proxyauth=any"),
    ],
)
def test_dangerous_option_on_the_command_line_stops_mitmproxy_with_its_name(
    world: World, arguments: tuple[str, ...]
) -> None:
    world.agent()
    proxy = start(world, *arguments)

    assert proxy.process.wait(timeout=PATIENCE_SECONDS) != 0
    name = arguments[1].partition("=")[0] if arguments[0] == "--set" else arguments[0].strip("-")
    assert name.replace("-", "_") in proxy.log.read_text()


def test_script_without_a_state_folder_stops_mitmproxy(world: World) -> None:
    proxy = start(world, home=world.folder / "nowhere")

    assert proxy.process.wait(timeout=PATIENCE_SECONDS) != 0
    assert "init" in proxy.log.read_text()


@pytest.mark.parametrize("edit", ["broken", "touched", "deleted"])
def test_edit_of_the_script_while_it_runs_leaves_calls_governed(world: World, edit: str) -> None:
    world.agent(models=("gpt-4o",))
    script = world.folder / "script.py"
    shutil.copy(SCRIPT, script)
    proxy = start(world, script=script)
    assert world.calls(proxy)[0]["status"] == 403

    match edit:
        case "broken":
            script.write_text("raise RuntimeError('an edit')\n")
        case "touched":
            os.utime(script, (time.time() + 5,) * 2)
        case "deleted":
            script.unlink()
    time.sleep(2.5)

    [answer] = world.calls(proxy)
    assert answer["status"] in (0, 403)
    assert world.lab.calls() == []
