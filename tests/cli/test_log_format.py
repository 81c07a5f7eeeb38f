"""How the proxy's log is written, and shown."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tollkeeper.core.identity import new_token
from tollkeeper.home import Home
from tollkeeper_cli.log_format import JsonLines, TextLines, log_to, readable

NASTY = [
    "x\x1b[2J",
    "a\n2026-11-21 ERROR forged",
    "\u202etxt",
    "bell\a",
    "del\x7f",
    "\r\nGET /",
    "\u2028",
]


def record(
    message: str, *, error: BaseException | None = None, **more: object
) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("tollkeeper.x", logging.WARNING, "x.py", 1, message, None, info)
    vars(made).update(more)
    return made


@pytest.mark.parametrize("message", NASTY)
@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_nothing_logged_can_forge_a_line_or_move_the_cursor(
    lines: logging.Formatter, message: str
) -> None:
    for one in (record(message), record("x", error=RuntimeError(message))):
        first, *further = lines.format(one).split("\n")

        assert all(line.startswith("    ") for line in further)
        assert "".join([first, *further]).isprintable()


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_no_key_or_token_is_logged(lines: logging.Formatter) -> None:
    secrets = [new_token(), "sk-proj-0123456789abcdefghij", "AIza" + "x" * 35]

    for secret in secrets:
        for one in (record(f"with {secret}."), record("x", error=RuntimeError(secret))):
            assert secret not in lines.format(one)


def test_json_line_has_time_level_logger_message_and_what_is_known() -> None:
    error = RuntimeError("no")

    said = json.loads(JsonLines().format(record("so", error=error, client=("10.0.0.1", 5, 0, 0))))

    assert datetime.fromisoformat(said.pop("ts")).tzinfo == UTC
    assert "RuntimeError: no" in said.pop("exception")
    assert said == {
        "level": "warning",
        "logger": "tollkeeper.x",
        "message": "so",
        "client": "10.0.0.1:5",
    }


def test_json_line_is_shown_as_a_text_line() -> None:
    line = JsonLines().format(record("so", error=RuntimeError("no \x1b[31m")))

    first, *further = readable(line).split("\n")

    assert first.endswith(" WARNING so")
    assert all(one.startswith("    ") for one in further)
    assert further[-1].endswith(r"RuntimeError: no \x1b[31m")


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"ts": 1}', "[1]", "null", '{"message": "\\u001b"}', "plain \x1b"]
)
def test_line_of_anything_else_is_shown_as_it_is_and_escaped(line: str) -> None:
    assert readable(line) == line.replace("\x1b", r"\x1b")


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_is_a_file_of_its_owner_and_the_terminal_of_a_proxy_in_the_foreground(
    tmp_path: Path, root_logger: logging.Logger
) -> None:
    home = Home(tmp_path)

    log_to(home, json_lines=True, terminal=True)

    logging.getLogger("tollkeeper.x").info("hello")
    assert json.loads(home.log.read_text())["message"] == "hello"
    assert home.log.stat().st_mode & 0o777 == 0o600
    [handler] = root_logger.handlers
    streams = [getattr(one, "stream", None) for one in handler.targets]
    assert sys.stderr in streams
