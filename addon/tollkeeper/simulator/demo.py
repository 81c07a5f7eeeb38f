"""The demo's story: simulated providers, a real proxy, real SDKs, and what each of them saw.

``story`` yields steps as they happen; whoever prints them decides how. Everything is a child
process, as it would be on a user's machine, in a state folder that is gone afterwards.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper.simulator import demo_agents
from tollkeeper.simulator.lab import Lab, in_process
from tollkeeper.simulator.sdks import private_python
from tollkeeper.simulator.wiring import providers

START_S = 30.0
AGENT_S = 60.0
_GOODBYE_S = 10.0
_LOOK_S = 0.05
_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_REAL = {"OPENAI_API_KEY": "sk-simulated-openai", "ANTHROPIC_API_KEY": "sk-ant-simulated"}
_HOSTS = {"api.openai.com": "OPENAI_API_KEY", "api.anthropic.com": "ANTHROPIC_API_KEY"}
_NOTE = "Take a backup first."


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened.

    Attributes:
        title: What it shows.
        command: As a user would type it; empty when nobody typed anything.
        lines: What came of it.
        as_told: False when it went otherwise than the story says.
        begins: It takes a while from here on; nothing has come of it yet.
    """

    title: str
    command: str = ""
    lines: tuple[str, ...] = ()
    as_told: bool = True
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One agent's call, how it must end, and what a person makes of it who is asked first."""

    name: str
    agent: str
    title: str
    ends: str
    verdict: Literal["approve", "reject"] | None = None


SCENES = (
    Scene("allowed", "atlas", "An allowed call, streamed (OpenAI SDK)", "answer: Hello"),
    Scene("refused", "atlas", "A model that atlas may not use (Anthropic SDK)", "PermissionDenied"),
    Scene("over-budget", "scout", "More than scout has left (OpenAI SDK)", "APIStatusError 402"),
    Scene(
        "approved", "atlas", "A call that a rule holds (Anthropic SDK)", "answer: The", "approve"
    ),
    Scene("rejected", "atlas", "Another is held (OpenAI SDK)", "PermissionDenied", "reject"),
)


def policy(lab: Lab) -> dict[str, Any]:
    """The demo's policy, its providers pointed at the simulator."""
    return {
        "version": 1,
        "providers": providers(lab.port, lab.certificate, _KEYS, keys=_KEYS),
        "agents": {
            "atlas": {
                "budget_usd": {"day": 1},
                "models": ["gpt-4o-mini", "claude-haiku-4-5"],
                "max_output_tokens": 500,
                "key": "injected",
            },
            "scout": {"budget_usd": {"total": 0.001}, "key": "injected"},
        },
        "rules": [
            {
                "name": "production-needs-a-person",
                "call": {"prompt": {"matches": "(?i)production"}},
                "hold": {"lapses_after": "10m"},
            }
        ],
    }


def story() -> Iterator[Step]:
    """Plays the demo; closing the iterator early stops everything it started.

    Raises:
        UsageError: The proxy did not start, or the SDKs cannot be had.
    """
    if all(importlib.util.find_spec(name) for name in _KEYS):
        python = Path(sys.executable)
    else:
        fetching = "Fetching the OpenAI and Anthropic SDKs, once"
        yield Step(fetching, "pip install openai anthropic", begins=True)
        python = private_python()
    with tempfile.TemporaryDirectory(prefix="tollkeeper-demo-") as folder:
        home = Home(Path(folder) / "home")
        home.make()
        with in_process(Path(folder) / "lab") as lab:
            lab.expect_keys({host: [_REAL[name]] for host, name in _HOSTS.items()})
            home.policy.write_text(yaml.safe_dump(policy(lab), sort_keys=False))
            with _proxy(home) as port:
                yield Step(
                    "Simulated OpenAI and Anthropic behind real TLS, Tollkeeper before them",
                    "tollkeeper up",
                    (f"providers on 127.0.0.1:{lab.port}, proxy on 127.0.0.1:{port}",),
                )
                for scene in SCENES:
                    yield from _play(scene, home, python)
                yield from _books(home, lab)


def _play(scene: Scene, home: Home, python: Path) -> Iterator[Step]:
    # -P: the script's own folder has modules of ours that an SDK could take for others.
    agent = [str(python), "-P", demo_agents.__file__, scene.name]
    command = ["run", "--agent", scene.agent, "--", *agent]
    shown = f"tollkeeper run --agent {scene.agent} -- python agent.py {scene.name}"
    with _cli(home, *command) as process:
        try:
            if scene.verdict:
                yield from _decide(scene, home, process, shown)
            said, complaint = process.communicate(timeout=AGENT_S)
        finally:
            _end(process)
    lines = tuple(said.strip().splitlines()) or tuple(complaint.strip().splitlines())
    told = bool(lines) and lines[-1].startswith(scene.ends)
    if scene.verdict:
        yield Step(_AFTER[scene.verdict], lines=lines, as_told=told)
    else:
        yield Step(scene.title, shown, lines, told)


def _decide(scene: Scene, home: Home, process: subprocess.Popen[str], asked: str) -> Iterator[Step]:
    """Waits for the question and answers it as an operator would, from another process."""
    deadline = time.monotonic() + AGENT_S
    while not (waiting := _open_approvals(home)):
        if time.monotonic() > deadline or process.poll() is not None:
            yield Step("No call was held", "tollkeeper approval list", as_told=False)
            return
        time.sleep(_LOOK_S)
    held = waiting[-1]
    yield Step(
        scene.title,
        asked,
        (f"waits: {held['model']}, at most ${held['worst_usd']} (rule {held['rule']})",),
    )
    command = [scene.verdict or "approve", held["id"]]
    command += ["--note", _NOTE] if scene.verdict == "reject" else []
    done = _run(home, *command)
    shown = " ".join(["tollkeeper", *(f'"{w}"' if " " in w else w for w in command)])
    lines = tuple((done.stdout or done.stderr).strip().splitlines())
    title = f"A person {_ANSWERS[scene.verdict or 'approve']}, in another terminal"
    yield Step(title, shown, lines, done.returncode == 0)


_ANSWERS: Final = {"approve": "approves it", "reject": "rejects it"}
_AFTER: Final = {"approve": "The call goes on", "reject": "The agent is told why not"}


def _books(home: Home, lab: Lab) -> Iterator[Step]:
    reached = lab.bill()
    answered = sum(scene.ends.startswith("answer") for scene in SCENES)
    yield Step(
        "What the providers saw",
        lines=(
            f"{reached['received']} of {len(SCENES)} calls reached them, each with the real key"
            " that no agent ever had",
        ),
        as_told=reached["received"] == reached["calls"] == answered,
    )
    for title, command in (
        ("What the ledger says", ("budget", "show")),
        ("And that it adds up", ("audit", "verify")),
    ):
        done = _run(home, *command)
        lines = tuple((done.stdout or done.stderr).rstrip().splitlines())
        yield Step(title, f"tollkeeper {' '.join(command)}", lines, done.returncode == 0)


def _open_approvals(home: Home) -> list[dict[str, Any]]:
    done = _run(home, "approval", "list", "--json")
    if done.returncode != 0:
        raise UsageError(f"tollkeeper approval list: {done.stderr.strip()}")
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return [approval for approval in listed if approval["state"] == "open"]


@contextmanager
def _proxy(home: Home) -> Iterator[int]:
    """A proxy of its own; its port."""
    log = home.root / "demo-proxy.log"
    with log.open("wb") as output, _cli(home, "up", "--port", "0", log=output) as process:
        try:
            deadline = time.monotonic() + START_S
            while (port := _port(home)) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise UsageError(f"The demo's proxy did not start: {_last_line(log)}")
                time.sleep(_LOOK_S)
            yield port
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Asks a child to stop, so that it can end its own children, and then makes it."""
    process.terminate()
    try:
        process.wait(_GOODBYE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _port(home: Home) -> int | None:
    try:
        return int(json.loads(home.process.read_text())["port"])
    except (OSError, ValueError, KeyError):
        return None


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."


def _environment(home: Home) -> dict[str, str]:
    return os.environ | _REAL | {"TOLLKEEPER_HOME": str(home.root), "NO_COLOR": "1"}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tollkeeper_cli", *arguments]


def _cli(home: Home, *arguments: str, log: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own command line
        _command(*arguments),
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log if log is not subprocess.PIPE else subprocess.PIPE,
        text=True,
    )


def _run(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command line
        _command(*arguments),
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=AGENT_S,
        check=False,
    )
