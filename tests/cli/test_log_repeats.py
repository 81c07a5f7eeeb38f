"""How a flood of like lines is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from tollkeeper_cli import log_repeats
from tollkeeper_cli.log_repeats import LINES_A_MINUTE, MOST_KINDS, WINDOW_SECONDS, FewerRepeats


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Sink(logging.Handler):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def made() -> Iterator[tuple[FewerRepeats, Sink, Clock]]:
    sink, clock = Sink(), Clock()
    handler = FewerRepeats([sink], clock)
    yield handler, sink, clock
    handler.close()


def line(text: str, *arguments: object, at: int = 1) -> logging.LogRecord:
    return logging.LogRecord("tollkeeper", logging.WARNING, "x.py", at, text, arguments, None)


def test_flood_is_ten_lines_and_a_number(made: tuple[FewerRepeats, Sink, Clock]) -> None:
    handler, sink, clock = made
    for number in range(1000):
        handler.handle(line("A tunnel of %s was closed", f"agent-{number}"))
    clock.now = WINDOW_SECONDS

    handler.handle(line("Something else", at=2))

    assert len(sink.lines) == LINES_A_MINUTE + 2
    assert sink.lines[-2:] == [
        "990 more like it in the last minute: A tunnel of agent-999 was closed", "Something else",
    ]  # fmt: skip


def test_flood_hides_no_line_of_another_kind(made: tuple[FewerRepeats, Sink, Clock]) -> None:
    handler, sink, _ = made
    for _ in range(1000):
        handler.handle(line("Client TLS handshake failed."))

    handler.handle(line("mitmproxy has crashed!"))
    handler.handle(line("Client TLS handshake failed.", at=2))

    assert len(sink.lines) == LINES_A_MINUTE + 2


def test_kinds_that_a_flood_makes_up_share_one(made: tuple[FewerRepeats, Sink, Clock]) -> None:
    handler, sink, _ = made

    for number in range(10_000):
        handler.handle(line("x" * (number + 1)))

    assert len(handler.windows) == MOST_KINDS + 1
    assert len(sink.lines) == MOST_KINDS + LINES_A_MINUTE


def test_every_line_is_written_or_counted(made: tuple[FewerRepeats, Sink, Clock]) -> None:
    handler, sink, clock = made
    for _ in range(5000):
        clock.now += 0.1
        handler.handle(line("again"))
    handler.flush()

    more = [int(one.partition(" ")[0]) for one in sink.lines if one != "again"]
    assert sum(more) + sink.lines.count("again") == 5000
    assert len(sink.lines) <= (LINES_A_MINUTE + 1) * (500 / WINDOW_SECONDS + 1)


def test_number_is_written_where_nothing_more_is_logged(
    made: tuple[FewerRepeats, Sink, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, sink, _ = made
    monkeypatch.setattr(log_repeats, "WINDOW_SECONDS", 0.05)
    for _ in range(LINES_A_MINUTE + 3):
        handler.handle(line("again"))
    assert handler.timer is not None

    handler.timer.join(10)

    assert sink.lines[-1] == "3 more like it in the last minute: again"


def test_number_is_written_at_the_end_of_the_process(tmp_path: Path) -> None:
    file = RotatingFileHandler(tmp_path / "proxy.log")
    handler = FewerRepeats([file])
    for _ in range(LINES_A_MINUTE + 1):
        handler.handle(line("again"))

    handler.flush()
    handler.close()

    last = (tmp_path / "proxy.log").read_text().splitlines()[-1]
    assert last == "1 more like it in the last minute: again"
