"""Meters for answers that are no conversation in one of the main dialects, and for Cohere and Ollama.

An answer is one JSON document, events, a JSON object a line, or bytes that say nothing (speech, subtitles).
Each dialect has one reader: from an object of the answer to what it says was used, or None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect, Usage
from tollkeeper.wire import task_usage
from tollkeeper.wire.made import Made
from tollkeeper.wire.meter import MAX_JSON_BYTES
from tollkeeper.wire.metering import Meter
from tollkeeper.wire.sse import MAX_EVENT_BYTES, Event, Splitter, SseSplitter

type Reader = Callable[[Mapping[str, Any], Call], Usage | None]

_READERS: Final[Mapping[Dialect, Reader]] = {
    Dialect.EMBEDDINGS: task_usage.embeddings,
    Dialect.GEMINI: task_usage.gemini_embedding,
    Dialect.IMAGES: task_usage.images,
    Dialect.AUDIO: task_usage.audio,
    Dialect.RERANK: task_usage.rerank,
    Dialect.OCR: task_usage.ocr,
    Dialect.COHERE: task_usage.cohere,
    Dialect.OLLAMA: task_usage.ollama,
}

_TOLD: Final = re.compile(rb'"(?:usage|billed_units|eval_count)"')
"""Events without any of these are only counted."""

_NOTHING_MADE: Final = Made(Dialect.EMBEDDINGS)

_SPOKEN: Final = ("audio/", "application/octet-stream")
"""An error page of a gateway is neither."""

_ENDS: Final = re.compile(
    rb'"(?:type|event_type)"\s*:\s*"(?:message-end|stream-end|transcript\.text\.done|speech\.audio\.done'
    rb'|image_(?:generation|edit)\.completed)"|"done"\s*:\s*true'
)


def meter(call: Call, content_type: str) -> Meter:
    """The meter for one answer to a call of these dialects."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return EventMeter(call, SseSplitter())
    if kind in ("application/x-ndjson", "application/stream+json") or (
        call.stream and call.dialect in (Dialect.OLLAMA, Dialect.COHERE)
    ):
        return EventMeter(call, LineSplitter())
    if kind in ("application/json", ""):
        return DocumentMeter(call)
    spoken = call.operation == "speech" and kind.startswith(_SPOKEN)
    return BytesMeter(call.most if spoken else None)


class LineSplitter:
    """One JSON object a line.

    Source: https://github.com/ollama/ollama/blob/main/docs/api.md#streaming-responses
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Event]:
        """The lines that this chunk completes."""
        *lines, rest = (bytes(self._buffer) + chunk).split(b"\n")
        events: list[Event] = [(line + b"\n", line) for line in lines]
        self._buffer = bytearray(rest)
        if len(rest) > MAX_EVENT_BYTES:
            events.append((rest, None))
            self._buffer.clear()
        return events

    @property
    def kept_bytes(self) -> int:
        """How many bytes of the chunks so far are in no event yet."""
        return len(self._buffer)

    def rest(self) -> Event:
        """What is left at the end of the stream: a line without its end, or nothing."""
        raw = bytes(self._buffer)
        self._buffer.clear()
        return raw, raw


class _Plain:
    """Of these answers nothing says how much they are at least, and nothing in them is kept."""

    @property
    def seen_output_tokens_least(self) -> int:
        """Nothing."""
        return 0

    @property
    def made(self) -> Made:
        """Nothing."""
        return _NOTHING_MADE


class EventMeter(_Plain):
    """An answer that comes as events; the bytes of all that were seen bound its text."""

    def __init__(self, call: Call, splitter: Splitter) -> None:
        self._call = call
        self._splitter = splitter
        self._usage: Usage | None = None
        self._seen = 0
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """The very bytes that came in."""
        for _, payload in self._splitter.feed(data):
            self._event(payload)
        return data

    def finish(self) -> bytes:
        """Nothing; what was left over is read."""
        self._event(self._splitter.rest()[1])
        return b""

    def _event(self, payload: bytes | None) -> None:
        if not payload:
            return
        self._seen += len(payload)
        if _TOLD.search(payload):
            event = _parsed(payload)
            said = _READERS[self._call.dialect](event, self._call) if event else None
            self._usage = said or self._usage
        if _ENDS.search(payload):
            self._done = True

    @property
    def usage(self) -> Usage | None:
        """What the provider said so far."""
        return self._usage

    @property
    def seen_output_tokens_bound(self) -> int:
        """More than the text seen so far can be billed."""
        return self._seen

    @property
    def done(self) -> bool:
        """Whether the stream's own end was seen."""
        return self._done


class DocumentMeter(_Plain):
    """An answer that is one JSON document; it is read when it ends."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: list[bytes] = []
        self._size = 0
        self._document: dict[str, Any] | None = None

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
        if self._parts:
            self._document = _parsed(b"".join(self._parts))
            self._parts.clear()
        return b""

    @property
    def usage(self) -> Usage | None:
        """What the document said, once it was whole."""
        if self._document is None or "error" in self._document:
            return None
        said = _READERS[self._call.dialect](self._document, self._call)
        model = self._document.get("model")
        return replace(said, model=model) if said and isinstance(model, str) and model else said

    @property
    def seen_output_tokens_bound(self) -> int:
        """All bytes so far: of a cut document nothing is known but its length."""
        return self._size

    @property
    def done(self) -> bool:
        """Whether the document was whole."""
        return self._document is not None


class BytesMeter(_Plain):
    """An answer that says nothing of what it cost, as speech: the request has said it all.

    Its end cannot be seen in the bytes; whoever settles knows whether the answer was cut.
    """

    def __init__(self, said: Usage | None) -> None:
        self._said = said
        self._size = 0
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """The very bytes that came in."""
        self._size += len(data)
        return data

    def finish(self) -> bytes:
        """Nothing."""
        self._ended = True
        return b""

    @property
    def usage(self) -> Usage | None:
        """The characters that were to be spoken; of all else nothing is known."""
        return self._said if self._size else None

    @property
    def seen_output_tokens_bound(self) -> int:
        """All bytes so far."""
        return self._size

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return self._ended


def _parsed(data: bytes) -> dict[str, Any] | None:
    """A JSON object of an answer, or None; an answer is never refused for being unreadable."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
