"""How the calls of a run that are held are told: on the agent's terminal, and on the desktop.

A line on standard error, unless a program draws on the terminal: that one would be spoilt. It is
recognised by the terminal's mode, in which keys arrive one by one. Then a notification of the
terminal's own and its bell say it, which draw nothing, and the line follows when the program is
done with the screen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TextIO

from tollkeeper.errors import LedgerError
from tollkeeper_cli import state
from tollkeeper_cli.output import escape, paint, say
from tollkeeper_cli.units import dollars

if TYPE_CHECKING:
    from tollkeeper.domain import Approval
    from tollkeeper.home import Home
    from tollkeeper.ledger.port import Ledger

_LOOK_SECONDS: Final = 0.2
_QUIET_SECONDS: Final = 10.0  # between two notifications: an agent may have a thousand calls held
_DESKTOP_SECONDS: Final = 3.0
_WIDTH: Final = 100
_MARK: Final = "tollkeeper: "
_TITLE: Final = "Tollkeeper: a call is held"

# Terminals that notify by OSC 9; the others that can do so by OSC 777, and the rest ignore it.
# Source: https://iterm2.com/documentation-escape-codes.html
# Source: https://sw.kovidgoyal.net/kitty/desktop-notifications/
# Source: https://codeberg.org/dnkl/foot/src/branch/master/doc/foot-ctlseqs.7.scd
_OSC_9: Final = frozenset({"iTerm.app", "WezTerm", "ghostty", "kitty"})
_ONLY_BELL: Final = frozenset({"linux", "dumb", ""})


@contextmanager
def announced(at: Home, run: str, *, notify: bool) -> Iterator[None]:
    """Meanwhile tell when a call of this run is held, and how it is answered."""
    over = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(at, run, Teller(notify), over), name="holds", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _watch(at: Home, run: str, teller: Teller, over: threading.Event) -> None:
    try:
        with state.open_ledger(at) as ledger:
            ledger.changed()
            teller.look(ledger, run)
            while not over.wait(_LOOK_SECONDS):
                if ledger.changed():
                    teller.look(ledger, run)
                teller.say_more()
            teller.look(ledger, run)
    except LedgerError as e:
        say(f"tollkeeper: holds cannot be watched: {escape(e)}")
    teller.end()


@dataclass(slots=True)
class Teller:
    """What has been told of a run, and what must wait until the screen is free.

    Attributes:
        notify: Whether to notify beside the lines.
        told: The last known state of each approval, by id.
        unsaid: Open, and not yet said because a program draws on the terminal.
        answers: Likewise.
        fresh: Held since the last notification.
        notified: When that was, monotonic seconds.
    """

    notify: bool = True
    told: dict[str, str] = field(default_factory=dict)
    unsaid: list[Approval] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    fresh: list[Approval] = field(default_factory=list)
    notified: float = -_QUIET_SECONDS

    def look(self, ledger: Ledger, run: str) -> None:
        """Take in what is new: answers first, because a program asks again when it has one."""
        still_open = [name for name, known in self.told.items() if known == "open"]
        for name, approval in ledger.verdicts(still_open).items():
            self.told[name] = approval.state
            self.answers.append(_answered_line(approval))
            self.unsaid = [one for one in self.unsaid if one.id != name]
            self.fresh = [one for one in self.fresh if one.id != name]
        for approval in ledger.approvals(open_only=True):
            if approval.run == run and approval.id not in self.told:
                self.told[approval.id] = "open"
                self.unsaid.append(approval)
                self.fresh.append(approval)
        self.say_more()

    def say_more(self) -> None:
        """Say what may be said now, without spoiling a screen that somebody draws."""
        drawn = is_drawn_on(sys.stderr)
        if not drawn:
            self._say(question)
        now = time.monotonic()
        if self.notify and self.fresh and now - self.notified >= _QUIET_SECONDS:
            self.notified = now
            text = note(self.fresh)
            self.fresh = []
            if not on_desktop(text) and drawn:
                sys.stderr.write(terminal_note(text, os.environ))
                sys.stderr.flush()

    def end(self) -> None:
        """Say what waits, when the program is over and answers help it no more."""
        self._say(held_line)

    def _say(self, told: Callable[[Approval], str]) -> None:
        for line in (*self.answers, *map(told, self.unsaid)):
            say(line)
        self.answers, self.unsaid = [], []


def held_line(approval: Approval) -> str:
    """That a call waits and what it would cost, in one line."""
    worst = approval.summary.get("worst_nano_usd")
    notional = "notional " if "billing" in approval.summary else ""
    cost = f", at most {notional}{dollars(worst)}" if isinstance(worst, int) else ""
    what = escape(approval.summary.get("model") or "a call")
    return f"{_MARK}held {approval.id}: {what}{cost} (rule {escape(approval.rule)})"


def question(approval: Approval) -> str:
    """That, and how to answer; lines of at most 100 columns."""
    line = held_line(approval)
    wrapped = textwrap.fill(line, _WIDTH, subsequent_indent=_MARK, break_on_hyphens=False)
    head = f"{_MARK}held {approval.id}"
    return (
        f"{wrapped.replace(head, paint(head, '33', sys.stderr), 1)}\n{_MARK}in another terminal:"
        f" tollkeeper approve {approval.id}, or tollkeeper reject {approval.id}"
    )


def _answered_line(approval: Approval) -> str:
    verdict = approval.verdict
    by = f" by {escape(verdict.by)}" if verdict else ""
    said = f": {escape(verdict.note)}" if verdict and verdict.note else ""
    word = "approved" if approval.state == "used" else approval.state
    return f"{_MARK}{approval.id} {word}{by}{said}"


def is_drawn_on(stream: TextIO) -> bool:
    """Whether a program draws on this terminal: it reads keys one by one, as editors do."""
    try:
        return not termios.tcgetattr(stream.fileno())[3] & termios.ICANON
    except (termios.error, OSError, ValueError):
        return False


def note(held: Sequence[Approval]) -> str:
    """One sentence about calls that wait, without anything that a terminal obeys."""
    first = held[0]
    what = escape(first.summary.get("model") or "a call")
    more = f", and {len(held) - 1} more" if len(held) > 1 else ""
    return f"{escape(first.agent)}: {what} (rule {escape(first.rule)}){more}. Answer: tollkeeper approval list"


def terminal_note(text: str, environment: Mapping[str, str]) -> str:
    """What makes the terminal notify and ring, and draws nothing."""
    program, kind = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if "TMUX" in environment or kind in _ONLY_BELL or kind.startswith("screen"):
        return "\a"
    if program in _OSC_9 or "kitty" in kind:
        return f"\x1b]9;{_TITLE}, {text}\x1b\\\a"
    return f"\x1b]777;notify;{_TITLE};{text.replace(';', ',')}\x1b\\\a"


def on_desktop(text: str) -> bool:
    """Notify on the desktop where there is one; whether that worked."""
    command = desktop_command(text, os.environ, sys.platform)
    if command is None:
        return False
    try:
        done = subprocess.run(  # noqa: S603 - the desktop's own program, text as an argument
            command, capture_output=True, timeout=_DESKTOP_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def desktop_command(text: str, environment: Mapping[str, str], platform: str) -> list[str] | None:
    """The program that notifies on this desktop, or None where there is none.

    Source: https://specifications.freedesktop.org/notification/latest/markup.html (the body is markup)
    """
    if platform == "darwin":
        script = "display notification (item 1 of argv) with title (item 2 of argv)"
        words = ["-e", "on run argv", "-e", script, "-e", "end run", text, _TITLE]
        program = shutil.which("osascript", path=environment.get("PATH"))
        return [program, *words] if program else None
    if not environment.get("DISPLAY") and not environment.get("WAYLAND_DISPLAY"):
        return None
    program = shutil.which("notify-send", path=environment.get("PATH"))
    body = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return [program, "--app-name=tollkeeper", "--", _TITLE, body] if program else None
