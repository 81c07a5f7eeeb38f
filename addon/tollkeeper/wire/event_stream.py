"""Amazon's event stream: binary messages with lengths, headers and two checksums.

A message is its total length, the length of its headers, a CRC-32 of those two, the headers, the
payload, and a CRC-32 of all before it; numbers are big-endian.

Source: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html,
https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from tollkeeper.wire.sse import MAX_EVENT_BYTES, Event, Form, Remainder

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

_PRELUDE: Final = struct.Struct(">II")
_NUMBER: Final = struct.Struct(">I")
_HEAD_BYTES: Final = 12
_FRAME_BYTES: Final = 16
_TEXT: Final = 7
"""The type of a header's value that is text, the only one that is written here."""


class EventStreamSplitter(Remainder):
    """Messages of an event stream; the payload of each is its event.

    What is no event stream, or has a wrong checksum or a message too large to keep, cannot be split
    any further: from there on every chunk is an event of its own that is not looked into.

    Args:
        unwrap: What an event says, from a payload.
    """

    form = Form.EVENTS

    def __init__(self, unwrap: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._unwrap = unwrap
        self._lost = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The messages that this chunk completes."""
        if self._lost:
            return [(chunk, None)]
        buffer = self._buffer
        buffer += chunk
        events: list[Event] = []
        start = 0
        while len(buffer) - start >= _HEAD_BYTES:
            total, headers = _PRELUDE.unpack_from(buffer, start)
            sound = _NUMBER.unpack_from(buffer, start + 8)[0] == zlib.crc32(
                buffer[start : start + 8]
            )
            if not sound or not headers + _FRAME_BYTES <= total <= MAX_EVENT_BYTES:
                self._lost = True
                break
            if len(buffer) - start < total:
                break
            raw = bytes(buffer[start : start + total])
            if _NUMBER.unpack_from(raw, total - 4)[0] != zlib.crc32(raw[:-4]):
                self._lost = True
                break
            events.append((raw, self._unwrap(raw[_HEAD_BYTES + headers : -4])))
            start += total
        del buffer[:start]
        if self._lost:
            events.append(self.rest())
        return events

    def rest(self) -> Event:
        """What is left at the end of the stream: part of a message, or nothing."""
        raw = self.taken()
        return raw, None if raw else b""


def payload_of(payload: bytes) -> bytes:
    """What a Converse event says: its payload as it is."""
    return payload


def chunk_of(payload: bytes) -> bytes:
    """What a model's own event says, which ``InvokeModelWithResponseStream`` wraps in base64.

    Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html
    """
    try:
        wrapped = json.loads(payload)["bytes"]
        return base64.b64decode(wrapped, validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return payload


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message, for errors and for the simulator."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + bytes([_TEXT]) + struct.pack(">H", len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )  # fmt: skip
    prelude = _PRELUDE.pack(_FRAME_BYTES + len(packed) + len(payload), len(packed))
    whole = prelude + _NUMBER.pack(zlib.crc32(prelude)) + packed + payload
    return whole + _NUMBER.pack(zlib.crc32(whole))
