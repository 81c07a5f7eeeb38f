"""What a dialect says of the frames on a WebSocket, so that whoever carries them need not read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tollkeeper.domain import Call, Changes, Reason, Usage
from tollkeeper.wire.dialect import Inbound


@dataclass(frozen=True, slots=True)
class Sound:
    """Audio that another model will write down.

    Attributes:
        microseconds: How long the audio lasts at most.
        written_down: What writing down so many microseconds of audio asks for.
    """

    microseconds: int
    written_down: Callable[[int], tuple[Inbound, Call]]


@dataclass(frozen=True, slots=True)
class Written:
    """One piece of audio that was written down, or could not be.

    Attributes:
        item: Its id.
        usage: What it is billed; None where the provider does not say so, empty where it failed.
    """

    item: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client's frame comes to.

    Attributes:
        frame: What goes on, if it may.
        inbound: What a person is shown and the record keeps; None where it costs nothing.
        call: The call that it makes; None where it costs nothing.
        sound: Audio in it that is written down by another model; None where none is.
        commits: Whether it has the audio before it written down.
    """

    frame: bytes
    inbound: Inbound | None = None
    call: Call | None = None
    sound: Sound | None = None
    commits: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider's frame says.

    Attributes:
        passes: Whether it goes on to the client; what answers a frame of our own does not.
        shown: What the client gets instead of it; None for the very frame.
        begins: Whether an answer begins with it.
        ends: Whether an answer ends with it, however.
        failed: Whether that answer failed, so that an error may still come after its end.
        response: The id of the answer that it begins or ends.
        error: Whether it is an error about the call under way, as far as the frame can tell.
        committed: The id of a piece of audio that is written down from now on.
        buffered: Microseconds of audio that were sent and are not committed, where it tells.
        written: A piece that has been.
        asks: Makes the call that is to be made because of it, where none is under way; or None.
    """

    passes: bool = True
    shown: bytes | None = None
    begins: bool = False
    ends: bool = False
    failed: bool = False
    response: str | None = None
    error: bool = False
    committed: str | None = None
    buffered: int | None = None
    written: Written | None = None
    asks: Callable[[], Asked] | None = None


class Talk(Protocol):
    """One connection, as its dialect follows it.

    Attributes:
        opening: A frame of our own that goes before the client's first, or None.
    """

    opening: bytes | None

    def asked(self, frame: bytes, *, busy: bool) -> Asked:
        """Read a client's frame.

        Args:
            frame: As it came.
            busy: Whether a call is held or under way.

        Raises:
            WireError: One sentence on why it goes nowhere.
        """

    def told(self, frame: bytes) -> Told:
        """Read a provider's frame.

        Raises:
            WireError: When the connection cannot be followed any further.
        """

    def changed(self, call: Call, frame: bytes, changes: Changes) -> bytes:
        """A frame that asks for a call, with what was decided put in."""

    def flows(self, frame: bytes) -> bool:
        """Whether such frames come many a second, so that one refusal stands for all of them."""

    def error_frame(self, reason: Reason, call_id: str) -> bytes:
        """A refusal as the provider's own error event."""


def as_event(frame: bytes) -> bytes:
    """The provider's frame as the event of a stream that says the same."""
    return b"data: " + frame.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


def as_frame(event: bytes) -> bytes:
    """The data of one event of a stream."""
    return event.partition(b"data: ")[2].strip()
