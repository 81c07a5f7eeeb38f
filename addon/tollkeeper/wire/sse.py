"""Splitting a stream into events, whatever the chunks are.

Server-sent events end with a blank line; a line ends with LF, CRLF or CR.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

Gemini without ``alt=sse`` streams one JSON array instead, whose elements are the events.
Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Protocol

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
"""The largest event known is the last of a Responses stream, which repeats the whole answer."""

_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?=[^\n]))(?:\r\n|\n|\r(?=[^\n]))")
_TOKEN: Final = re.compile(rb'["\\{}]')

Event = tuple[bytes, bytes | None]
"""The bytes as they came, and what the event says; None where it is too large to be looked at."""


class Form(StrEnum):
    """How the events of a stream stand one after the other."""

    EVENTS = "events"
    LINES = "lines"
    ARRAY = "array"


class Splitter(Protocol):
    """Takes chunks, gives complete events; the bytes of all events and of ``rest`` are the chunks.

    Attributes:
        form: Of the stream.
    """

    form: Form

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes."""

    @property
    def kept_bytes(self) -> int:
        """How many bytes of the chunks so far are in no event yet."""

    def rest(self) -> Event:
        """What is left at the end of the stream."""


class Remainder:
    """What every splitter keeps: the bytes that are in no event yet."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._buffer = bytearray()

    @property
    def kept_bytes(self) -> int:
        """How many bytes of the chunks so far are in no event yet."""
        return len(self._buffer)

    def taken(self) -> bytes:
        """All of them; none are kept any more."""
        raw = bytes(self._buffer)
        self._buffer.clear()
        return raw


class SseSplitter(Remainder):
    """Events of ``text/event-stream``.

    A CR at the end of a chunk waits for the next byte, because an LF after it belongs to it.
    """

    form = Form.EVENTS

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes."""
        buffer = self._buffer
        if not buffer and chunk.find(b"\n\n") == len(chunk) - 2 >= 0 and b"\r" not in chunk:
            return [(chunk, data_of(chunk))]
        searched = max(0, len(buffer) - 3)
        buffer += chunk
        events: list[Event] = []
        start = 0
        while found := _BLANK_LINE.search(buffer, searched):
            raw = bytes(buffer[start : found.end()])
            events.append((raw, data_of(raw)))
            start = searched = found.end()
        if start:
            del buffer[:start]
        if len(buffer) > MAX_EVENT_BYTES:
            events.append((self.taken(), None))
        return events

    def rest(self) -> Event:
        """What is left at the end of the stream: an event without its blank line, or nothing."""
        raw = self.taken()
        return raw, data_of(raw)


def data_of(raw: bytes) -> bytes:
    """The data lines of one event, joined; comments and other fields left out."""
    if raw[:6] == b"data: " and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return raw[6:-2]
    lines = []
    for line in raw.splitlines():
        if line.startswith(b"data"):
            if line[4:6] == b": ":
                lines.append(line[6:])
            elif line[4:5] == b":":
                lines.append(line[5:])
        elif line.startswith(b"\xef\xbb\xbfdata:"):
            lines.append(line[8:].removeprefix(b" "))
    return b"\n".join(lines)


class LineSplitter(Remainder):
    """One JSON object a line.

    Source: https://github.com/ollama/ollama/blob/main/docs/api.md#streaming-responses
    """

    form = Form.LINES

    def feed(self, chunk: bytes) -> list[Event]:
        """The lines that this chunk completes."""
        *lines, rest = (bytes(self._buffer) + chunk).split(b"\n")
        events: list[Event] = [(line + b"\n", line) for line in lines]
        self._buffer = bytearray(rest)
        if len(rest) > MAX_EVENT_BYTES:
            events.append((rest, None))
            self._buffer.clear()
        return events

    def rest(self) -> Event:
        """What is left at the end of the stream: a line without its end, or nothing."""
        raw = self.taken()
        return raw, raw


class ArraySplitter(Remainder):
    """Elements of one JSON array, each an object; what stands between them belongs to the next."""

    form = Form.ARRAY

    def __init__(self) -> None:
        """Nothing is open yet."""
        super().__init__()
        self._seen = 0
        self._depth = 0
        self._open = 0
        self._in_text = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The elements that this chunk completes."""
        buffer = self._buffer
        buffer += chunk
        events: list[Event] = []
        start = 0
        at = self._seen
        while found := _TOKEN.search(buffer, at):
            at = found.end()
            mark = found[0]
            if self._in_text:
                if mark == b"\\":
                    if at == len(buffer):
                        at -= 1
                        break
                    at += 1
                elif mark == b'"':
                    self._in_text = False
            elif mark == b'"':
                self._in_text = True
            elif mark == b"{":
                if self._depth == 0:
                    self._open = found.start()
                self._depth += 1
            elif mark == b"}":
                self._depth -= 1
                if self._depth == 0:
                    events.append((bytes(buffer[start:at]), bytes(buffer[self._open : at])))
                    start = at
        else:
            at = len(buffer)
        if start:
            del buffer[:start]
        self._open -= start
        self._seen = at - start
        if len(buffer) > MAX_EVENT_BYTES:
            events.append((self.taken(), None))
            self._seen = 0
            self._open = 0
        return events

    def rest(self) -> Event:
        """What is left at the end of the stream: the closing bracket, or an element that was cut."""
        raw = self.taken()
        return raw, raw[self._open :] if self._depth else b""
