"""The full-screen inbox of `approval watch`; without a terminal, a line for each new question.

A verdict only ever goes to the call that the person chose: when that one disappears, nothing is
chosen until the person chooses again. What the screen cannot show is said, and approving a call of
which something is hidden takes another key.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tollkeeper.core.eyes import readable
from tollkeeper.domain import Approval
from tollkeeper.errors import ApprovalError
from tollkeeper.home import Home
from tollkeeper_cli import state
from tollkeeper_cli.announce import held_line
from tollkeeper_cli.approval import COLUMNS, WHOLE, facts_of, give, row_of, sentence
from tollkeeper_cli.output import escape, fact_lines, fitting, table
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tollkeeper.ledger.port import Ledger

_LOOK_SECONDS: Final = 0.2
_MOST_LISTED: Final = 10
_KEYS: Final = "↑↓ choose   a approve   r reject   v whole call   q quit"
_ARROWS: Final = {"\x1b[A": "k", "\x1b[B": "j", "\x1bOA": "k", "\x1bOB": "j"}


def follow(at: Home) -> None:
    """A line on standard output for each call that is held from now on, and those held already."""
    told: set[str] = set()
    with state.open_ledger(at) as ledger:
        while True:
            for approval in ledger.approvals():
                if approval.id not in told:
                    told.add(approval.id)
                    print(held_line(approval), flush=True)
            while not ledger.changed():
                time.sleep(_LOOK_SECONDS)


@dataclass(slots=True)
class Inbox:
    """What is on the screen.

    Attributes:
        chosen: Id of the approval that keys act on, None when there is none.
        seen: Ids of those whose whole body was looked at.
        hidden: Lines of the chosen one's body that the screen has no room for.
    """

    at: Home
    ledger: Ledger
    waiting: list[Approval] = field(default_factory=list)
    chosen: str | None = None
    message: str = ""
    seen: set[str] = field(default_factory=set)
    hidden: int = 0
    _bodies: dict[str, list[str]] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def refresh(self) -> None:
        """Read what waits; a chosen one that is gone leaves nothing chosen."""
        first = not self.waiting and self.chosen is None
        self.waiting = self.ledger.approvals()
        known = {approval.id for approval in self.waiting}
        if self.chosen is not None and self.chosen not in known:
            self.message = f"{self.chosen} no longer waits."
            self.chosen = None
        elif first and self.waiting:
            self.chosen = self.waiting[0].id
        self._bodies = {name: lines for name, lines in self._bodies.items() if name in known}

    def approval(self) -> Approval | None:
        """The chosen one."""
        return next((one for one in self.waiting if one.id == self.chosen), None)

    def body(self, approval: Approval) -> list[str]:
        """Its whole body, as lines."""
        if approval.id not in self._bodies:
            body = self.ledger.approval_body(approval.id)
            self._bodies[approval.id] = readable(body)
            self._sizes[approval.id] = len(body)
        return self._bodies[approval.id]

    def size(self, approval: Approval) -> int:
        """Of its body, in bytes."""
        self.body(approval)
        return self._sizes[approval.id]

    def move(self, by: int) -> None:
        """Choose another."""
        names = [approval.id for approval in self.waiting]
        if not names:
            return
        place = names.index(self.chosen) + by if self.chosen in names else 0
        self.chosen = names[max(0, min(place, len(names) - 1))]
        self.message = ""

    def answer(self, answer: str, note: str = "") -> None:
        """Give a verdict on the chosen one."""
        approval = self.approval()
        if approval is None:
            self.message = "Nothing is chosen: choose with ↑ and ↓."
            return
        try:
            given = give(self.at, self.ledger, approval.id, answer, note)
        except ApprovalError as e:
            self.message = escape(e)
        else:
            self.message = sentence(given)
            place = self.waiting.index(approval)
            rest = [one for one in self.waiting if one.id != approval.id]
            self.chosen = rest[min(place, len(rest) - 1)].id if rest else None
        message = self.message
        self.refresh()
        self.message = message

    def press(self, key: str) -> bool:
        """Do what a key that needs no line of input means; False to quit."""
        approval = self.approval()
        match key:
            case "q" | "\x03" | "\x04":
                return False
            case "j":
                self.move(1)
            case "k":
                self.move(-1)
            case "a" if approval is not None and self.hidden and approval.id not in self.seen:
                self.message = (
                    f"{self.hidden} lines are not shown: v shows them, A approves without."
                )
            case "a" | "A":
                self.answer("approved")
            case _:
                pass
        return True

    # ------------------------------------------------------------------------------ drawing

    def draw(self, width: int, height: int) -> RenderableType:
        """The screen's lines."""
        from rich.console import Group
        from rich.text import Text

        lines = [Text(f"{len(self.waiting)} waiting", style="bold"), Text()]
        lines += (
            self._list(width) if self.waiting else [Text("Nothing waits for you.", style="dim")]
        )
        approval = self.approval()
        if approval is not None:
            lines += [Text(), *self._chosen(approval, height - len(lines) - 4, width)]
        lines = lines[: height - 2]
        lines += [Text()] * (height - 2 - len(lines))
        lines += [Text(self.message, style="yellow"), Text(_KEYS, style="dim")]
        for line in lines:
            line.no_wrap = True
            line.overflow = "ellipsis"
        return Group(*lines)

    def _list(self, width: int) -> list[Any]:
        from rich.text import Text

        at_ns = now_ns()
        names = [approval.id for approval in self.waiting]
        place = names.index(self.chosen) if self.chosen in names else 0
        first = max(0, min(place - _MOST_LISTED // 2, len(names) - _MOST_LISTED))
        shown = self.waiting[first : first + _MOST_LISTED]
        listed = [row_of(approval, at_ns) for approval in shown]
        head, *rows = table(listed, fitting(listed, COLUMNS, width), width=width)
        lines = [Text(head, style="dim")]
        for approval, row in zip(shown, rows, strict=True):
            lines.append(Text(row, style="reverse" if approval.id == self.chosen else ""))
        rest = len(names) - len(shown)
        return [*lines, Text(f"and {rest} more", style="dim")] if rest > 0 else lines

    def _chosen(self, approval: Approval, room: int, width: int) -> list[Any]:
        from rich.cells import cell_len
        from rich.text import Text

        facts = facts_of(approval, self.size(approval), now_ns())
        shown = ("run", "costs at most", "expected cost", "operation", "tools_offered", "body")
        lines = [Text(line) for line in fact_lines({key: facts.get(key) for key in shown})]
        body = self.body(approval)
        space = max(0, room - len(lines) - 2)
        fits = [line for line in body[:space] if cell_len(line) <= width]
        cut = len(body) - len(fits)
        self.hidden = cut
        lines += [Text(), *(Text(line) for line in body[:space])]
        if cut:
            lines.append(
                Text(f"{cut} of {len(body)} lines are cut or not shown: v", style="yellow")
            )
        return lines


def sit(at: Home) -> None:
    """The inbox on this terminal, until q."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with state.open_ledger(at) as ledger:
        inbox = Inbox(at, ledger)
        inbox.refresh()
        going_on = True
        while going_on:
            key = ""
            with _single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
                while going_on and key not in ("r", "v"):
                    live.update(inbox.draw(console.width, console.height), refresh=True)
                    key = _key(_LOOK_SECONDS)
                    going_on = inbox.press(key) if key else True
                    if not key and ledger.changed():
                        inbox.refresh()
            if going_on:
                _with_lines(inbox, key, console)


def _with_lines(inbox: Inbox, key: str, console: Any) -> None:
    """What needs the terminal in its usual mode: reading a note, or the whole call."""
    approval = inbox.approval()
    if approval is None:
        inbox.message = "Nothing is chosen: choose with ↑ and ↓."
        return
    if key == "v":
        body = inbox.body(approval)
        heads = fact_lines(facts_of(approval, inbox.size(approval), now_ns()))
        with console.pager(styles=False, links=False):
            whole = "\n".join([*heads, "", *body, "", WHOLE])
            console.print(whole, markup=False, soft_wrap=True)
        inbox.seen.add(approval.id)
        return
    try:
        note = input(
            f"Reject {approval.id}: a note for the agent (empty for none, Ctrl-C to go back): "
        )
    except (KeyboardInterrupt, EOFError):
        inbox.message = "Not rejected."
        return
    if "\x1b" in note:  # Esc, pressed to go back
        inbox.message = "Not rejected."
        return
    inbox.answer("rejected", note)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come at once and unseen."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _key(seconds: float) -> str:
    """The next key within this time, or nothing."""
    handle = sys.stdin.fileno()
    if not select.select([handle], [], [], seconds)[0]:
        return ""
    text = os.read(handle, 16).decode(errors="replace")
    if not text:
        return "q"
    return _ARROWS.get(text, text[0])
