"""Counting one answer while it passes: usage, what was seen of the text, whether it ended.

A meter never holds an answer up. Without ``take_out_usage`` the very chunk that came in goes on;
with it, complete events go on at once and only the usage event that we asked for stays behind.
"""

from __future__ import annotations

import re
from typing import Final

from tollkeeper.domain import Dialect, Usage
from tollkeeper.wire import event_stream
from tollkeeper.wire.made import Made
from tollkeeper.wire.metering import Meter, Outgrows, Reading
from tollkeeper.wire.reading import NAMES_USAGE, NO_CHOICES, ConversationReading, parsed
from tollkeeper.wire.sse import ArraySplitter, Form, Splitter, SseSplitter

MAX_JSON_BYTES: Final = 64 * 1024 * 1024
"""An answer beyond this passes, but its usage is not read."""

_STOPPED: Final = re.compile(rb'"(?:finish_reason|stop_reason|finishReason)"\s*:\s*"\w')


class _Told:
    """What both kinds of answer say comes from reading them."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @property
    def usage(self) -> Usage | None:
        """What the provider said so far; of a document nothing before it was whole."""
        return self._reading.usage()

    @property
    def made(self) -> Made:
        """The objects that the provider keeps from now on."""
        return self._reading.made

    @property
    def done(self) -> bool:
        """Whether the answer's own end was seen."""
        return self._reading.done


class Gathered:
    """A document as it comes in, as far as ``MAX_JSON_BYTES``."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        """Keep some more of it, unless it is too large to be read."""
        self.size_bytes += len(data)
        if self.size_bytes <= MAX_JSON_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()

    def taken(self) -> bytes:
        """All that was kept; nothing is kept any more."""
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


class StreamMeter(_Told):
    """An answer that comes as events.

    Attributes:
        outgrows: Says whether the usage and the least tokens seen are more than the answer may come
            to; the event that makes it so is the last that goes on. None never ends a stream.
        outgrown: Whether it was so ended.
    """

    def __init__(self, reading: Reading, splitter: Splitter, *, take_out_usage: bool) -> None:
        """Nothing came yet."""
        super().__init__(reading)
        self._splitter = splitter
        self._take_out = take_out_usage
        self.outgrows: Outgrows | None = None
        self.outgrown = False

    @property
    def form(self) -> Form:
        """How its events stand one after the other."""
        return self._splitter.form

    def feed(self, data: bytes) -> bytes:
        """What may go on now."""
        if self.outgrown:
            return b""
        events = self._splitter.feed(data)
        for at, (raw, payload) in enumerate(events):
            self._take(raw, payload)
            if self._ends_with(payload):
                self.outgrown = True
                later = sum(len(one) for one, _ in events[at + 1 :]) + self._splitter.kept_bytes
                data, events = data[: len(data) - later], events[: at + 1]
                break
        if not self._take_out:
            return data
        return b"".join(raw for raw, payload in events if not _is_usage_event(payload))

    def _ends_with(self, payload: bytes | None) -> bool:
        """Whether the stream ends with this event; what is written to its end has no more to save."""
        if self.outgrows is None or self.done or _STOPPED.search(payload or b""):
            return False
        return self.outgrows(self.usage, self.seen_output_tokens_least)

    def finish(self) -> bytes:
        """What may still go on."""
        if self.outgrown:
            return b""
        raw, payload = self._splitter.rest()
        self._take(raw, payload)
        return raw if self._take_out and not _is_usage_event(payload) else b""

    def _take(self, raw: bytes, payload: bytes | None) -> None:
        """Read an event; of one that cannot be looked into, every byte may be billed."""
        if payload is None:
            self._reading.seen.most_tokens += len(raw)
        elif payload:
            self._reading.event(payload)

    @property
    def seen_output_tokens_bound(self) -> int:
        """More than the text seen so far can be billed."""
        return self._reading.seen.most_tokens

    @property
    def seen_output_tokens_least(self) -> int:
        """Less than the text seen so far can be billed."""
        return self._reading.seen.least_tokens

    @property
    def begun(self) -> bool:
        """Whether an event could be read."""
        return self._reading.begun


def _is_usage_event(payload: bytes | None) -> bool:
    """The event that ``include_usage`` adds: no choices, and usage.

    Source: https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options
    """
    if not payload or not NAMES_USAGE.search(payload) or not NO_CHOICES.search(payload):
        return False
    event = parsed(payload)
    return (
        isinstance(event, dict)
        and event.get("choices") == []
        and isinstance(event.get("usage"), dict)
        and "error" not in event
    )


class JsonMeter(_Told):
    """An answer that comes as one JSON document; it is read when it ends."""

    def __init__(self, reading: Reading) -> None:
        """Nothing came yet."""
        super().__init__(reading)
        self._document = Gathered()
        self._finished = False

    def feed(self, data: bytes) -> bytes:
        """The very bytes that came in."""
        self._document.add(data)
        return data

    def finish(self) -> bytes:
        """Nothing; the document is read, if it is whole."""
        if not self._finished:
            self._finished = True
            answer = parsed(self._document.taken())
            if isinstance(answer, list):
                for element in answer:
                    self._reading.document(element)
            self._reading.document(answer)
            self._reading.done = isinstance(answer, (dict, list))
        return b""

    @property
    def seen_output_tokens_bound(self) -> int:
        """All bytes so far: of a cut document nothing is known but its length."""
        return self._document.size_bytes

    @property
    def seen_output_tokens_least(self) -> int:
        """Nothing: a document is not read before it is whole."""
        return 0

    @property
    def begun(self) -> bool:
        """Whether the document could be read, which its beginning alone cannot."""
        return self._reading.done


def meter(
    dialect: Dialect, provider: str, content_type: str, stream: bool, *, take_out_usage: bool
) -> Meter:
    """The meter for one answer, by what the answer says it is.

    Args:
        dialect: The call's.
        provider: Its name; some count differently.
        content_type: The answer's header.
        stream: Whether a stream was asked for.
        take_out_usage: True when we put ``include_usage`` into the request.
    """
    if dialect is Dialect.CODE_ASSIST:
        dialect = Dialect.GEMINI  # its figures stand under `response`, where they are found too
    kind = content_type.partition(";")[0].strip().lower()
    unwrap = event_stream.payload_of
    if dialect is Dialect.BEDROCK_INVOKE:
        dialect, unwrap = Dialect.ANTHROPIC, event_stream.chunk_of
    reading = ConversationReading(dialect, provider)
    if kind == event_stream.CONTENT_TYPE:
        splitter = event_stream.EventStreamSplitter(unwrap)
        return StreamMeter(reading, splitter, take_out_usage=False)
    if kind == "text/event-stream":
        take_out = take_out_usage and dialect is Dialect.OPENAI_CHAT
        return StreamMeter(reading, SseSplitter(), take_out_usage=take_out)
    if dialect is Dialect.GEMINI and stream:
        return StreamMeter(reading, ArraySplitter(), take_out_usage=False)
    return JsonMeter(reading)
