"""How a held call waits: its window by its client's patience, heartbeats beyond it, what it is told."""

from __future__ import annotations

from functools import partial

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.domain import Admission, Code, Dialect, Effect, Reason
from tollkeeper.errors import WireError
from tollkeeper.proxy import disclose
from tollkeeper.proxy.layers import STREAMS, GovernedStream
from tollkeeper.proxy.passage import Passage, dialect_of
from tollkeeper.proxy.settling import Books
from tollkeeper.proxy.waiting_room import WaitingRoom, Wake
from tollkeeper.wire.refusal import AMAZONS, error_event

BEAT_SECONDS = 4
"""Between two heartbeats; a client that gives up sooner is sent them at half its patience."""


_LINES = frozenset({Dialect.OLLAMA, Dialect.COHERE})
"""Dialects that may stream a JSON object a line, where a heartbeat would be no object."""


class Holding:
    """Lets held flows wait, and sees to it that none that nobody waits for reserves anything."""

    def __init__(self, room: WaitingRoom, books: Books) -> None:
        """Keep the rooms it works with."""
        self.room = room
        self.books = books

    async def wait(self, flow: http.HTTPFlow, passage: Passage, admission: Admission) -> Wake:
        """Wait for a person, for as long as the client bears it; the reservation stands so long.

        A streaming client that bears heartbeats is set to wait on when its window ends.
        """
        assert admission.approval is not None
        assert passage.call is not None
        disclose.held(flow, passage.caller, passage.call, admission)
        seconds: float = facts.patience_seconds(passage.family, flow.request.headers)
        stream = kept_waiting(flow, passage)
        if stream is not None and stream.opened:
            seconds = min(seconds / 2, BEAT_SECONDS)
        wake = Wake.GONE
        try:
            wake = await self.room.wait(admission.approval.id, flow, seconds)
        finally:
            closing = self.room.station.shut is not None
            if wake is Wake.WINDOW and stream is not None and not closing:
                stream.wait_on(partial(in_events, dialect_of(flow, passage)))
            elif wake is not Wake.DECIDED:
                await self.books.let_go(admission.id)
        return wake


def kept_waiting(flow: http.HTTPFlow, passage: Passage) -> GovernedStream | None:
    """The stream to send heartbeats on; None where the client reads no events or chokes on empty ones.

    Gemini answers with events only where ``alt=sse`` asks for them.
    Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
    """
    call, request = passage.call, flow.request
    if call is None or not call.stream or not facts.bears_heartbeats(passage.family):
        return None
    if call.dialect in AMAZONS:
        return None
    if call.dialect in (Dialect.GEMINI, Dialect.CODE_ASSIST) and request.query.get_all("alt") != [
        "sse"
    ]:
        return None
    if call.dialect in _LINES or request.http_version == "HTTP/1.0":
        return None
    return STREAMS.get(flow.id)


def in_events(dialect: Dialect | None, answer: http.Response) -> bytes:
    """An answer that comes too late to have a status of its own."""
    return error_event(dialect, answer.get_content(strict=False) or b"")


def fits_begun_stream(flow: http.HTTPFlow) -> None:
    """An event stream that has begun without a content encoding cannot go on with one.

    Raises:
        WireError: When the provider encoded its answer, which it was asked not to.
    """
    stream = STREAMS.get(flow.id)
    assert flow.response is not None
    encoding = flow.response.headers.get("content-encoding", "identity")
    if stream is not None and stream.opened and encoding.strip().lower() != "identity":
        raise WireError(f"The answer is encoded ({encoding[:20]}), its client's stream is not.")


def pending(admission: Admission) -> Reason:
    """What a client is told whose window ended before a person answered."""
    assert admission.approval is not None
    approval = admission.approval
    return Reason(
        Effect.HOLD,
        Code.APPROVAL_PENDING,
        f"rules.{approval.rule}",
        f"This call waits for a person (approval {approval.id}, rule {approval.rule}). "
        "Send the same call again to go on waiting.",
    )
