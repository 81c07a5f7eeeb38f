"""Faults at every line: an error that strikes before the n-th line which our proxy code executes.

Nothing of ours is replaced. The interpreter's own tracing raises where a bug, a full memory or a
cancel could, so that no line is forgotten when the code changes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import tollkeeper.proxy

FOLDER = str(Path(tollkeeper.proxy.__file__).parent)

THE_GUARD_ITSELF = "fail_closed.py"

IN_A_CALLBACK_OF_ITS_OWN = "writer.py"
"""The writer works in a callback of the loop, not in a hook, where no cancel can strike;
``test_writer.py`` looks after it."""


@dataclass(slots=True)
class Strike:
    """Strikes once, before line number ``at`` of those executed."""

    at: int
    error: type[BaseException]
    seen: int = 0
    where: str = field(default="nowhere")

    def enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        ours = name.startswith(FOLDER)
        caller = frame.f_back.f_code.co_filename if frame.f_back else ""
        spared = name.endswith((THE_GUARD_ITSELF, IN_A_CALLBACK_OF_ITS_OWN)) or (
            self.error is asyncio.CancelledError and caller.endswith(IN_A_CALLBACK_OF_ITS_OWN)
        )
        return self.line if ours and not spared else None

    def line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                sys.settrace(None)
                raise self.error
        return self.line


@contextmanager
def striking(strike: Strike) -> Iterator[Strike]:
    before = sys.gettrace()
    sys.settrace(strike.enter)
    try:
        yield strike
    finally:
        sys.settrace(before)
