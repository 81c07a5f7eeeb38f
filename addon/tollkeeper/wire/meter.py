"""Counting one answer while it passes: usage, what was seen of the text, whether it ended.

A meter never holds an answer up. Without ``take_out_usage`` the very chunk that came in goes on;
with it, complete events go on at once and only the usage event that we asked for stays behind.
Events are only read as JSON when they have text or their bytes name a usage object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from tollkeeper.domain import Dialect, Usage
from tollkeeper.wire import event_stream
from tollkeeper.wire import usage as figures
from tollkeeper.wire.made import Made
from tollkeeper.wire.seen import Seen
from tollkeeper.wire.served import Served
from tollkeeper.wire.sse import ArraySplitter, Splitter, SseSplitter

MAX_JSON_BYTES: Final = 64 * 1024 * 1024
"""An answer beyond this passes, but its usage is not read."""

_USAGE: Final = re.compile(rb'"usage(?:Metadata)?"\s*:\s*\{')
_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_DELTA: Final = re.compile(rb'"delta"\s*:\s*(?!\{\s*\}|null)')
_FINISHED: Final = re.compile(rb'"finishReason"\s*:\s*"')
_STOPPED: Final = re.compile(rb'"(?:finish_reason|stop_reason|finishReason)"\s*:\s*"\w')
_ENDS: Final = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')
_STOP: Final = re.compile(rb'"type"\s*:\s*"message_stop"')
_AT_END: Final = re.compile(rb'"type"\s*:\s*"message_delta"')
_STARTED: Final = re.compile(rb'"type"\s*:\s*"content_block_start"')


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
    def made(self) -> Made:
        """The objects that the provider keeps from now on."""


class Reading:
    """What one answer's events have said; a dialect's differences are its branches."""

    def __init__(self, dialect: Dialect, provider: str) -> None:
        self._dialect = dialect
        self._provider = provider
        self._raw: dict[str, Any] = {}
        self._model: str | None = None
        self._tier: str | None = None
        self._served = Served(dialect)
        self._told_at_end = False
        self.seen = Seen(dialect)
        self.made = Made(dialect)
        self.done = False

    def event(self, data: bytes) -> None:
        """One event's payload; of one that was cut, the texts are counted."""
        self._served.event(data)
        names_usage = _USAGE.search(data) is not None
        names_objects = self.made.concerns(data)
        if self._count(data):
            self.done = False
        elif not names_usage and not names_objects:
            self._end(data, names_usage)
            return
        event = _parsed(data)
        self.seen.read(event)
        if names_usage:
            self._absorb(event)
            self._told_at_end = self._told_at_end or _AT_END.search(data) is not None
        if names_objects:
            self.made.read(event)
        if event is not None:
            self._end(data, names_usage)

    def _count(self, data: bytes) -> bool:
        """Bound the texts of an event; whether it may have any."""
        before = self.seen.most_tokens
        match self._dialect:
            case Dialect.OPENAI_CHAT:
                self.seen.bound(data, data.find(b'"choices"'))
            case Dialect.OPENAI_RESPONSES:
                if b'.delta"' in data and not _ENDS.search(data):
                    self.seen.bound(data, 0)
            case Dialect.ANTHROPIC:
                if _DELTA.search(data) or _STARTED.search(data):
                    self.seen.bound(data, 0)
            case Dialect.BEDROCK_CONVERSE:
                self.seen.bound(data, 0)
            case Dialect.GEMINI:
                self.seen.bound(data, 0)
        return self.seen.most_tokens > before

    def _end(self, data: bytes, names_usage: bool) -> None:
        """Whether this is the answer's own end."""
        match self._dialect:
            case Dialect.OPENAI_CHAT:
                told = names_usage and _NO_CHOICES.search(data) is not None
                self.done = self.done or told or data.rstrip() == b"[DONE]"
            case Dialect.OPENAI_RESPONSES:
                self.done = self.done or _ENDS.search(data) is not None
            case Dialect.ANTHROPIC:
                # The first event's usage is not what it came to.
                self.done = self.done or (self._told_at_end and _STOP.search(data) is not None)
            case Dialect.BEDROCK_CONVERSE:
                self.done = self.done or bool(self._raw)
            case Dialect.GEMINI:
                finished = _FINISHED.search(data) is not None
                self.done = self.done or (finished and bool(self._raw))

    def document(self, value: Any) -> None:
        """A whole answer that is not streamed."""
        if isinstance(value, dict):
            self._absorb(value)
            self.made.read(value)

    def _absorb(self, answer: Any) -> None:
        """Take over the figures of an answer or event."""
        if not isinstance(answer, dict):
            return
        for outer in ("message", "response"):
            if isinstance(answer.get(outer), dict) and "usage" not in answer:
                answer = answer[outer]
        self._served.answer(answer)
        usage = _usage_in(answer)
        if usage:
            self._merge(usage)
        model = answer.get("model", answer.get("modelVersion"))
        if isinstance(model, str) and model:
            self._model = model
        tier = answer.get("serviceTier")
        told = tier.get("type") if isinstance(tier, dict) else None
        said = figures.tier_in(usage or {}, answer) or told
        self._tier = said if isinstance(said, str) and said else self._tier

    def _merge(self, usage: Mapping[str, Any]) -> None:
        """Figures only ever grow during an answer; a later 0 takes nothing back."""
        for key, value in usage.items():
            before = figures.number(self._raw.get(key))
            now = figures.number(value)
            if value is not None and not (before is not None and now is not None and now < before):
                self._raw[key] = value

    def usage(self) -> Usage | None:
        """The figures so far, or None when there are none."""
        if not self._raw:
            uses = self._served.uses()
            return Usage(server_tools=uses) if uses else None
        match self._dialect:
            case Dialect.OPENAI_CHAT:
                read = figures.openai_chat(self._raw, self._provider)
            case Dialect.OPENAI_RESPONSES:
                read = figures.openai_responses(self._raw)
            case Dialect.ANTHROPIC:
                read = figures.anthropic(self._raw)
            case Dialect.BEDROCK_CONVERSE:
                read = figures.bedrock(self._raw)
            case _:
                read = figures.gemini(self._raw)
        return figures.named(read, self._model, self._tier, self._served)


def _usage_in(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object, wherever a provider puts it.

    Source: https://console.groq.com/docs/api-reference (``x_groq.usage``)
    """
    for holder in (answer, answer.get("x_groq")):
        if isinstance(holder, dict):
            for key in ("usage", "usageMetadata"):
                if isinstance(holder.get(key), dict):
                    return dict(holder[key])
    return None


def _parsed(data: bytes) -> Any:
    """JSON of an answer, or None; an answer is never refused for being unreadable."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


class StreamMeter:
    """An answer that comes as events.

    Attributes:
        outgrows: Says whether the usage and the least tokens seen are more than the answer may come
            to; the event that makes it so is the last that goes on. None never ends a stream.
        outgrown: Whether it was so ended.
    """

    def __init__(
        self, dialect: Dialect, provider: str, splitter: Splitter, take_out_usage: bool
    ) -> None:
        self._reading = Reading(dialect, provider)
        self._splitter = splitter
        self._take_out = take_out_usage
        self.outgrows: Outgrows | None = None
        self.outgrown = False

    @property
    def in_array(self) -> bool:
        """Whether the events are the elements of one JSON array."""
        return isinstance(self._splitter, ArraySplitter)

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
    def usage(self) -> Usage | None:
        """What the provider said so far."""
        return self._reading.usage()

    @property
    def seen_output_tokens_bound(self) -> int:
        """More than the text seen so far can be billed."""
        return self._reading.seen.most_tokens

    @property
    def seen_output_tokens_least(self) -> int:
        """Less than the text seen so far can be billed."""
        return self._reading.seen.least_tokens

    @property
    def made(self) -> Made:
        """The objects that the provider keeps from now on."""
        return self._reading.made

    @property
    def done(self) -> bool:
        """Whether the stream's own end was seen."""
        return self._reading.done


def _is_usage_event(payload: bytes | None) -> bool:
    """The event that ``include_usage`` adds: no choices, and usage.

    Source: https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options
    """
    if not payload or not _USAGE.search(payload) or not _NO_CHOICES.search(payload):
        return False
    event = _parsed(payload)
    return (
        isinstance(event, dict)
        and event.get("choices") == []
        and isinstance(event.get("usage"), dict)
        and "error" not in event
    )


class JsonMeter:
    """An answer that comes as one JSON document; it is read when it ends."""

    def __init__(self, dialect: Dialect, provider: str) -> None:
        self._reading = Reading(dialect, provider)
        self._parts: list[bytes] = []
        self._size = 0
        self._finished = False

    def feed(self, data: bytes) -> bytes:
        """The very bytes that came in."""
        self._size += len(data)
        if self._size <= MAX_JSON_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()
        return data

    def finish(self) -> bytes:
        """Nothing; the document is read, if it is whole."""
        if not self._finished:
            self._finished = True
            answer = _parsed(b"".join(self._parts))
            self._parts.clear()
            if isinstance(answer, list):
                for element in answer:
                    self._reading.document(element)
            self._reading.document(answer)
            self._reading.done = isinstance(answer, (dict, list))
        return b""

    @property
    def usage(self) -> Usage | None:
        """What the document said, once it was whole."""
        return self._reading.usage()

    @property
    def seen_output_tokens_bound(self) -> int:
        """All bytes so far: of a cut document nothing is known but its length."""
        return self._size

    @property
    def seen_output_tokens_least(self) -> int:
        """Nothing: a document is not read before it is whole."""
        return 0

    @property
    def made(self) -> Made:
        """The objects that the provider keeps from now on."""
        return self._reading.made

    @property
    def done(self) -> bool:
        """Whether the document was whole."""
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
    if kind == event_stream.CONTENT_TYPE:
        splitter = event_stream.EventStreamSplitter(unwrap)
        return StreamMeter(dialect, provider, splitter, take_out_usage=False)
    if kind == "text/event-stream":
        take_out = take_out_usage and dialect is Dialect.OPENAI_CHAT
        return StreamMeter(dialect, provider, SseSplitter(), take_out)
    if dialect is Dialect.GEMINI and stream:
        return StreamMeter(dialect, provider, ArraySplitter(), take_out_usage=False)
    return JsonMeter(dialect, provider)
