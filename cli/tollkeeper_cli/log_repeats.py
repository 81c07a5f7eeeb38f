"""What many connections say alike is written a few times a minute and then counted.

Whoever can connect can make the proxy log, so that without a bound a flood would rotate away what
matters. Nothing is lost that counts: refusals and their numbers are in the record.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

LINES_A_MINUTE: Final = 10
"""Of one kind, as they are; enough to see what they have in common."""

WINDOW_SECONDS: Final = 60.0

MOST_KINDS: Final = 256
"""Kinds are places in the source, of which a proxy reaches a few dozen; what is beyond shares one."""

SHOWN: Final = 120
"""Characters of the newest line that the summary of its kind repeats."""

type Kind = tuple[str, int, int, str]


@dataclass(slots=True)
class Window:
    """One minute of one kind."""

    began: float
    written: int = 0
    unwritten: int = 0
    newest: logging.LogRecord | None = None


def kind_of(record: logging.LogRecord) -> Kind:
    """Where a line comes from.

    mitmproxy logs everything about connections in one place, so that there the first word tells
    its lines apart.
    """
    word = str(record.msg).partition(" ")[0]
    return record.pathname, record.lineno, record.levelno, word if word.isalpha() else ""


class FewerRepeats(logging.Handler):
    """Hands lines on to other handlers, ten of a kind a minute, and says how many more there were."""

    def __init__(
        self, targets: Sequence[logging.Handler], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep where lines are written, and seconds that only go forward."""
        super().__init__()
        self.targets = targets
        self.clock = clock
        self.windows: dict[Kind, Window] = {}
        self.timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it."""
        self.sum_up()
        window = self.window_of(kind_of(record))
        if window.written < LINES_A_MINUTE:
            window.written += 1
            self.hand_on(record)
            return
        window.unwritten += 1
        window.newest = record
        if self.timer is None:
            self.timer = threading.Timer(WINDOW_SECONDS, self.at_the_end)
            self.timer.daemon = True
            self.timer.start()

    def window_of(self, kind: Kind) -> Window:
        """The minute of a kind."""
        if kind not in self.windows and len(self.windows) >= MOST_KINDS:
            kind = ("", 0, 0, "")
        return self.windows.setdefault(kind, Window(self.clock()))

    def sum_up(self, *, before_their_end: bool = False) -> None:
        """End the minutes that are over, with a line for what they left unwritten."""
        now = self.clock()
        for kind, window in list(self.windows.items()):
            if before_their_end or now - window.began >= WINDOW_SECONDS:
                del self.windows[kind]
                if window.newest is not None:
                    self.hand_on(summary(window.unwritten, window.newest))

    def at_the_end(self) -> None:
        """Sum up where no further line comes that would."""
        self.acquire()
        try:
            self.timer = None
            self.sum_up(before_their_end=True)
        finally:
            self.release()

    def hand_on(self, record: logging.LogRecord) -> None:
        """To all targets."""
        for target in self.targets:
            target.handle(record)

    def flush(self) -> None:
        """Say what is still unsaid: the process ends."""
        self.sum_up(before_their_end=True)
        for target in self.targets:
            target.flush()

    def close(self) -> None:
        """Close the targets too."""
        if self.timer is not None:
            self.timer.cancel()
        for target in self.targets:
            target.close()
        super().close()


def summary(count: int, newest: logging.LogRecord) -> logging.LogRecord:
    """A line for many."""
    text = "%d more like it in the last minute: %s"
    told = (count, newest.getMessage()[:SHOWN])
    return logging.LogRecord(
        newest.name, newest.levelno, newest.pathname, newest.lineno, text, told, None
    )
