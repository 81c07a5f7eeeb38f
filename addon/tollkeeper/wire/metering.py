"""What a meter of one answer promises, and what it wants of whoever reads the answer's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tollkeeper.domain import Usage
from tollkeeper.wire.made import Made
from tollkeeper.wire.seen import Seen

type Outgrows = Callable[[Usage | None, int], bool]


class Meter(Protocol):
    """Counts one answer."""

    def feed(self, data: bytes) -> bytes:
        """What may go on now, after these bytes came in; never raises."""

    def finish(self) -> bytes:
        """What may still go on at the end of the answer, complete or cut; may be called twice."""

    @property
    def usage(self) -> Usage | None:
        """What the provider said so far; final only when ``done``."""

    @property
    def seen_output_tokens_bound(self) -> int:
        """More than the text seen so far can be billed; reasoning kept hidden is not in it."""

    @property
    def seen_output_tokens_least(self) -> int:
        """Less than the text seen so far can be billed."""

    @property
    def done(self) -> bool:
        """Whether the answer's own end was seen, so that ``usage`` is whole."""

    @property
    def begun(self) -> bool:
        """Whether anything of the answer could be read; else what was seen says nothing about it."""

    @property
    def made(self) -> Made:
        """The objects that the provider keeps from now on."""


class Reading(Protocol):
    """What one answer has said so far, event by event or as a whole; never raises.

    Attributes:
        seen: The text of it.
        made: The objects that the provider keeps from now on.
        begun: Whether an event could be read.
        done: Whether the answer's own end was seen.
    """

    seen: Seen
    made: Made
    begun: bool
    done: bool

    def event(self, data: bytes) -> None:
        """Take in one event's payload, which may have been cut."""

    def document(self, value: Any) -> None:
        """Take in a whole answer that is not streamed."""

    def usage(self) -> Usage | None:
        """The figures so far, or None when there are none."""
