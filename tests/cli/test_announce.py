"""How held calls are told, on a real terminal and to a desktop's own program."""

from __future__ import annotations

import os
import tty
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from tollkeeper.core.snapshot import RunRecord
from tollkeeper_cli.announce import Teller, desktop_command, is_drawn_on, terminal_note
from tollkeeper_cli.output import escape

from .conftest import Books, Cli

RUN = "nightly"


@dataclass
class Terminal:
    """A terminal and what has been written to it."""

    ours: int
    theirs: int
    stream: TextIO

    def draws(self) -> None:
        """As a full-screen program sets it."""
        tty.setraw(self.theirs)

    def is_free(self) -> None:
        tty.setcbreak(self.theirs)
        mode = tty.tcgetattr(self.theirs)
        mode[3] |= tty.ICANON
        tty.tcsetattr(self.theirs, tty.TCSANOW, mode)

    def after(self, step: Callable[[], None]) -> str:
        """What a step writes with this terminal as its standard error."""
        with redirect_stderr(self.stream):
            step()
        os.set_blocking(self.ours, False)
        try:
            return os.read(self.ours, 65536).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def running(books: Books) -> Books:
    books.ledger.add_run(RunRecord(RUN, "atlas", created_ns=1), by="tester")
    return books


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    ours, theirs = os.openpty()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "TERM_PROGRAM", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with os.fdopen(os.dup(theirs), "w") as stream:
        yield Terminal(ours, theirs, stream)
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose program writes down what it is told; the file."""
    said, program = tmp_path / "said", tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {said}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return said


def test_a_plain_program_leaves_the_terminal_to_lines(terminal: Terminal, running: Books) -> None:
    name, teller = running.hold(run=RUN), Teller()

    said = terminal.after(lambda: teller.look(running.ledger, RUN))

    assert f"held {name}: gpt-4o, at most $0." in said.replace("\x1b[33m", "").replace(
        "\x1b[0m", ""
    )
    assert f"tollkeeper approve {name}, or tollkeeper reject {name}" in said
    assert "\a" not in said
    assert all(len(line) <= 100 for line in said.splitlines())


def test_a_screen_that_a_program_draws_is_rung_and_not_written_on(
    terminal: Terminal, running: Books
) -> None:
    name, teller = running.hold(run=RUN), Teller()
    terminal.draws()

    note = terminal.after(lambda: teller.look(running.ledger, RUN))

    assert note.startswith("\x1b]777;notify;Tollkeeper: a call is held;atlas: gpt-4o (rule dear).")
    assert note.endswith("\x1b\\\a")
    terminal.is_free()
    assert f"tollkeeper approve {name}" in terminal.after(teller.say_more)


def test_silenced_it_waits_for_the_screen_and_notifies_nobody(
    terminal: Terminal, running: Books, desktop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    name, teller = running.hold(run=RUN), Teller(notify=False)
    terminal.draws()

    said = terminal.after(lambda: teller.look(running.ledger, RUN))

    assert said == ""
    assert terminal.after(teller.end).startswith(f"tollkeeper: held {name}: gpt-4o")
    assert not desktop.exists()


def test_a_desktop_is_told_once_for_many_calls(
    terminal: Terminal, running: Books, desktop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    names = [running.hold(f"hold me {number}", run=RUN) for number in range(3)]
    terminal.draws()
    teller = Teller()

    said = terminal.after(lambda: teller.look(running.ledger, RUN))
    running.hold("hold me later", run=RUN)
    said += terminal.after(lambda: teller.look(running.ledger, RUN))

    assert len(set(names)) == 3
    assert said == ""
    words = desktop.read_text().splitlines()
    assert words[-1].startswith("atlas: gpt-4o (rule dear), and 2 more.")
    assert words.count("Tollkeeper: a call is held") == 1


def test_calls_of_other_runs_are_not_told(terminal: Terminal, running: Books) -> None:
    running.ledger.add_run(RunRecord("another", "atlas", created_ns=1), by="tester")
    running.hold(run="another")

    assert terminal.after(lambda: Teller().look(running.ledger, RUN)) == ""


def test_a_file_is_nothing_that_anybody_draws_on(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        assert not is_drawn_on(file)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm", "TERM_PROGRAM": "WezTerm"}, "\x1b]9;Tollkeeper: a call is held, a;b\x1b\\\a"),
        ({"TERM": "xterm-kitty"}, "\x1b]9;Tollkeeper: a call is held, a;b\x1b\\\a"),
        ({"TERM": "foot"}, "\x1b]777;notify;Tollkeeper: a call is held;a,b\x1b\\\a"),
        ({"TERM": "xterm", "TMUX": "/tmp/x"}, "\a"),
        ({"TERM": "screen-256color"}, "\a"),
        ({"TERM": "linux"}, "\a"),
        ({}, "\a"),
    ],
)  # fmt: skip
def test_each_terminal_is_told_in_the_way_that_it_reads(
    environment: dict[str, str], expected: str
) -> None:
    assert terminal_note("a;b", environment) == expected


def test_a_hostile_rule_or_model_reaches_neither_terminal_nor_markup(desktop: Path) -> None:
    text = escape("\x1b]0;owned\a<b>&'\"$(id)")
    path = {"PATH": os.environ["PATH"], "DISPLAY": ":0"}

    assert "\x1b" not in text
    assert "\a" not in text
    command = desktop_command(text, path, "linux")
    assert command is not None
    assert command[-1].endswith("&lt;b&gt;&amp;'\"$(id)")
    assert command[2] == "--"


def test_without_a_desktop_there_is_no_program(desktop: Path, tmp_path: Path) -> None:
    assert desktop_command("x", {"PATH": os.environ["PATH"]}, "linux") is None
    assert desktop_command("x", {"PATH": str(tmp_path / "empty"), "DISPLAY": ":0"}, "linux") is None
    assert desktop_command("x", {"PATH": str(tmp_path / "empty")}, "darwin") is None


def test_what_was_answered_while_a_program_drew_is_told_as_answered_only(
    terminal: Terminal, running: Books, cli: Cli
) -> None:
    name, teller = running.hold(run=RUN), Teller()
    terminal.draws()
    terminal.after(lambda: teller.look(running.ledger, RUN))
    cli("approve", name)

    said = terminal.after(lambda: teller.look(running.ledger, RUN)) + terminal.after(teller.end)

    assert said.startswith(f"tollkeeper: {name} approved by ")
    assert "in another terminal" not in said
