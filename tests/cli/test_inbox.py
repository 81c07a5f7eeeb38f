from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import pytest
from rich.console import Console

from tollkeeper.home import Home
from tollkeeper_cli.inbox import Inbox

from .conftest import Books, Cli, Shell


@pytest.fixture
def inbox(made: Home, books: Books) -> Inbox:
    return Inbox(made, books.ledger)


def screen(inbox: Inbox, width: int = 100, height: int = 40) -> str:
    console = Console(width=width, height=height, no_color=True, color_system=None)
    with console.capture() as captured:
        console.print(inbox.draw(width, height))
    return captured.get()


def test_the_oldest_question_is_chosen_and_shown_whole(inbox: Inbox, books: Books) -> None:
    first, second = books.hold("hold me 1"), books.hold("hold me 2")
    inbox.refresh()

    shown = screen(inbox)

    assert inbox.chosen == first
    assert first in shown
    assert second in shown
    assert '"prompt": "hold me 1"' in shown
    assert inbox.hidden == 0


def test_a_approves_the_chosen_one_and_moves_on(inbox: Inbox, books: Books) -> None:
    first, second = books.hold("hold me 1"), books.hold("hold me 2")
    inbox.refresh()
    screen(inbox)

    assert inbox.press("a")

    assert books.ledger.approval(first).state == "approved"
    assert books.ledger.approval(second).state == "open"
    assert inbox.chosen == second
    assert f"{first} approved" in screen(inbox)


def test_a_question_that_disappears_takes_the_choice_with_it(
    inbox: Inbox, books: Books, cli: Cli
) -> None:
    first, second = books.hold("hold me 1"), books.hold("hold me 2")
    inbox.refresh()
    cli("reject", first)
    inbox.refresh()
    screen(inbox)

    inbox.press("a")

    assert books.ledger.approval(second).state == "open"
    assert "Nothing is chosen" in screen(inbox)
    inbox.press("j")
    assert inbox.chosen == second


def test_what_does_not_fit_is_said_and_a_alone_does_not_approve_it(
    inbox: Inbox, books: Books
) -> None:
    body = b'{"list": [' + b", ".join(b"%d" % n for n in range(200)) + b"]}"
    held = books.hold(body=body)
    inbox.refresh()
    assert "lines are cut or not shown" in screen(inbox)

    inbox.press("a")
    assert books.ledger.approval(held).state == "open"
    assert "lines are not shown: v shows them, A approves without" in screen(inbox)
    inbox.press("A")

    assert books.ledger.approval(held).state == "approved"


def test_a_line_wider_than_the_screen_counts_as_hidden(inbox: Inbox, books: Books) -> None:
    books.hold("hold me " + "x" * 300)
    inbox.refresh()
    screen(inbox)

    assert inbox.hidden == 1


def test_an_answer_given_elsewhere_is_told(inbox: Inbox, books: Books, cli: Cli) -> None:
    held = books.hold()
    inbox.refresh()
    screen(inbox)
    cli("reject", held)

    inbox.press("a")

    assert "was rejected by" in inbox.message
    assert inbox.waiting == []


def test_q_and_ctrl_c_leave(inbox: Inbox) -> None:
    assert not inbox.press("q")
    assert not inbox.press("\x03")


def test_an_empty_inbox_says_so(inbox: Inbox) -> None:
    inbox.refresh()

    assert "Nothing waits for you." in screen(inbox)


def test_nothing_from_a_request_reaches_the_screen_raw(inbox: Inbox, books: Books) -> None:
    books.hold("hold me \x1b]0;title\x07[bold]\u202e")
    inbox.refresh()

    shown = screen(inbox)

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]" in shown


def read_until(terminal: int, text: str) -> str:
    seen = ""
    deadline = time.monotonic() + 60
    while text not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    assert text in seen, seen
    return seen


def test_on_a_terminal_keys_answer(books: Books, shell: Shell) -> None:
    first, second = books.hold("hold me 1"), books.hold("hold me 2")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tollkeeper_cli", "approval", "watch"],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**shell.environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )  # fmt: skip
    os.close(theirs)

    try:
        read_until(ours, "2 waiting")
        os.write(ours, b"a")
        read_until(ours, f"{first} approved")
        os.write(ours, b"r")
        read_until(ours, f"Reject {second}")
        os.write(ours, b"no\n")
        read_until(ours, f"{second} rejected")
        os.write(ours, b"q")
        assert process.wait(timeout=90) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    verdict = books.ledger.approval(second).verdict
    assert verdict is not None
    assert verdict.note == "no"


def test_without_a_terminal_each_new_question_is_a_line(books: Books, shell: Shell) -> None:
    first = books.hold("hold me 1")
    process = shell.start("approval", "watch")
    assert process.stdout is not None

    try:
        assert f"held {first}: gpt-4o" in process.stdout.readline()
        second = books.hold("hold me 2")
        assert f"held {second}: gpt-4o" in process.stdout.readline()
    finally:
        process.terminate()
        process.communicate()
