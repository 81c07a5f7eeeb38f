"""Meters for answers that are no conversation in one of the main dialects, and for Cohere and Ollama.

An answer is one JSON document, events, a JSON object a line, or bytes that say nothing (speech, subtitles).
Each dialect has one reader: from an object of the answer to what it says was used, or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect, Usage
from tollkeeper.wire import task_usage
from tollkeeper.wire.made import Made
from tollkeeper.wire.meter import Gathered, StreamMeter
from tollkeeper.wire.metering import Meter
from tollkeeper.wire.reading import OneUsage, parsed_object
from tollkeeper.wire.sse import LineSplitter, SseSplitter

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
"""Events without any of these say nothing of what was used."""

_TEXT: Final = re.compile(
    rb'"type"\s*:\s*"(?:content-delta|tool-plan-delta|tool-call-(?:start|delta)|transcript\.text\.delta)"'
    rb'|"event_type"\s*:\s*"text-generation"|"(?:response|message)"\s*:'
)
"""Events with text that is counted."""

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
        return StreamMeter(EventReading(call), SseSplitter(), take_out_usage=False)
    if kind in ("application/x-ndjson", "application/stream+json") or (
        call.stream and call.dialect in (Dialect.OLLAMA, Dialect.COHERE)
    ):
        return StreamMeter(EventReading(call), LineSplitter(), take_out_usage=False)
    if kind in ("application/json", ""):
        return DocumentMeter(call)
    spoken = call.operation == "speech" and kind.startswith(_SPOKEN)
    return BytesMeter(call.most if spoken else None)


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


class EventReading(OneUsage):
    """What the events of one answer have said; the bytes of all that were seen bound its text."""

    def event(self, data: bytes) -> None:
        """One event; only what may tell of text or usage is read as JSON."""
        self.begun = True
        self.seen.most_tokens += len(data)
        told = _TOLD.search(data) is not None
        if told or _TEXT.search(data):
            event = parsed_object(data)
            self.seen.read(event)
            said = _READERS[self._call.dialect](event, self._call) if told and event else None
            self._usage = said or self._usage
        if _ENDS.search(data):
            self.done = True

    def document(self, value: Any) -> None:
        """A whole answer is read by ``DocumentMeter``."""


class DocumentMeter(_Plain):
    """An answer that is one JSON document; it is read when it ends."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._gathered = Gathered()
        self._document: dict[str, Any] | None = None

    def feed(self, data: bytes) -> bytes:
        """The very bytes that came in."""
        self._gathered.add(data)
        return data

    def finish(self) -> bytes:
        """Nothing; the document is read, if it is whole."""
        self._document = self._document or parsed_object(self._gathered.taken())
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
        return self._gathered.size_bytes

    @property
    def begun(self) -> bool:
        """Whether the document could be read, which its beginning alone cannot."""
        return self.done

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
    def begun(self) -> bool:
        """Whether there was a byte."""
        return self._size > 0

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return self._ended
