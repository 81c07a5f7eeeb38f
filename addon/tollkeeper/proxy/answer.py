"""One answer on its way back: metered while it passes, latched shut when its meter breaks."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable

import brotli
import zstandard

from tollkeeper.domain import Call, Usage
from tollkeeper.wire import route
from tollkeeper.wire.meter import Meter

log = logging.getLogger(__name__)

DECODED_LIMIT_BYTES = 256 * 1024 * 1024
"""Beyond this a compressed answer is no longer metered and its reservation is booked whole."""


class UnmeteredError(Exception):
    """An answer that cannot be followed any further."""


class Answer:
    """The meter of one answer, and mitmproxy's stream callable."""

    def __init__(
        self, call: Call, content_type: str, encoding: str, *, take_out_usage: bool
    ) -> None:
        """Choose the meter and the decoder; an unknown encoding is not metered."""
        encoded = encoding.strip().lower() not in ("", "identity")
        self.meter: Meter = route.meter(
            call, content_type, take_out_usage=take_out_usage and not encoded
        )
        self.decode = decoder(encoding) if encoded else None
        self.decoded_bytes = 0
        self.broken = False
        self.shut = False

    def __call__(self, data: bytes) -> bytes | list[bytes]:
        """mitmproxy's stream callable: never raises, never returns ``b""`` for a chunk.

        An exception would lose this chunk and let later ones pass; an empty chunk would end the
        client's stream. So nothing at all is returned instead, and after a fault nothing passes.
        """
        if self.shut:
            return []
        try:
            out = self.follow(data)
        except Exception:
            log.exception("An answer's meter broke; nothing more of the answer passes")
            self.shut = self.broken = True
            return []
        return out or []

    def follow(self, data: bytes) -> bytes:
        """Meter some bytes (``b""`` is the end) and return what may pass of them."""
        if self.decode is None:
            return self.meter.feed(data) if data else self.meter.finish()
        if not data:
            self.meter.finish()
            return b""
        if not self.broken:
            try:
                self.measure(self.decode(data))
            except (zlib.error, brotli.error, zstandard.ZstdError, UnmeteredError):
                log.warning("A compressed answer could not be followed; it is booked as reserved")
                self.broken = True
        return data

    def measure(self, decoded: bytes) -> None:
        """Feed decoded bytes to the meter within the bound."""
        self.decoded_bytes += len(decoded)
        if self.decoded_bytes > DECODED_LIMIT_BYTES:
            raise UnmeteredError
        self.meter.feed(decoded)

    @property
    def usage(self) -> Usage | None:
        """What the provider said it used, so far."""
        return None if self.broken else self.meter.usage


def decoder(encoding: str) -> Callable[[bytes], bytes]:
    """An incremental decoder for a content encoding that came unasked."""
    match encoding.strip().lower():
        case "gzip" | "x-gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress
        case "deflate":
            return zlib.decompressobj().decompress
        case "br":
            process: Callable[[bytes], bytes] = brotli.Decompressor().process
            return process
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress
        case _:
            return unmetered


def unmetered(_data: bytes) -> bytes:
    """For encodings nobody asked for and nobody knows."""
    raise UnmeteredError
