"""One answer on its way back: metered while it passes, latched shut when its meter breaks."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import brotli
import zstandard

from tollkeeper.domain import Call, Usage
from tollkeeper.wire import route
from tollkeeper.wire.meter import StreamMeter
from tollkeeper.wire.metering import Meter, Outgrows
from tollkeeper.wire.sse import Form

log = logging.getLogger(__name__)

DECODED_LIMIT_BYTES = 256 * 1024 * 1024
"""Beyond this a compressed answer is no longer metered and its reservation is booked whole."""

SLICE_BYTES = 256
"""Compressed bytes that are decoded at once: even zstd's densest block, 128 KiB from four bytes, makes
no more than 8 MiB of them before the limit is looked at again."""

PIECE_BYTES = 64 * 1024
"""What zlib and brotli, which can be told, put out at once."""


class UnmeteredError(Exception):
    """An answer that cannot be followed any further."""


class Answer:
    """The meter of one answer, and mitmproxy's stream callable.

    Attributes:
        cut: Whether it ends here, though the provider would go on.
        told: Whether its last words say so.
        when_known: Called when something is known of what its provider keeps; must not raise.
    """

    def __init__(
        self,
        call: Call,
        content_type: str,
        encoding: str,
        *,
        take_out_usage: bool,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Choose the meter and the decoder; an unknown encoding is not metered."""
        encoded = encoding.strip().lower() not in ("", "identity")
        self.meter: Meter = route.meter(
            call, content_type, take_out_usage=take_out_usage and not encoded, headers=headers
        )
        self.decode = decoder(encoding) if encoded else None
        self.decoded_bytes = 0
        self.unfollowed = False
        self.shut = False
        self.cut = False
        self.told = False
        self.last_words = b""
        self.known = (False, False)
        self.when_known: Callable[[], None] | None = None

    def __call__(self, data: bytes) -> bytes | list[bytes]:
        """mitmproxy's stream callable: never raises, never returns ``b""`` for a chunk.

        An exception would lose this chunk and let later ones pass; an empty chunk would end the
        client's stream. So nothing at all is returned instead, and after a fault nothing passes.
        """
        if self.shut or self.cut:
            return []
        self.shut = True
        try:
            out = self.follow(data)
            self.tell()
        except Exception:
            log.exception("An answer's meter broke; nothing more of the answer passes")
            return []
        self.shut = False
        return out or []

    def tell(self) -> None:
        """Say when the first objects are known that the provider keeps, and all of them."""
        known = (bool(self.meter.made.ids), self.meter.done)
        if known != self.known:
            self.known = known
            if known[0] and self.when_known is not None:
                self.when_known()

    def follow(self, data: bytes) -> bytes:
        """Meter some bytes (``b""`` is the end) and return what may pass of them."""
        if self.decode is None:
            out = self.meter.feed(data) if data else self.meter.finish()
            if self.outgrown:
                self.cut = self.told = True
                out += self.last_words
            return out
        if not data:
            self.meter.finish()
            return b""
        if not self.unfollowed:
            try:
                for at in range(0, len(data), SLICE_BYTES):
                    for piece in self.decode(data[at : at + SLICE_BYTES]):
                        self.measure(piece)
            except (zlib.error, brotli.error, zstandard.ZstdError, UnmeteredError):
                log.warning("A compressed answer could not be followed; it is booked as reserved")
                self.unfollowed = True
        self.cut = self.outgrown
        return b"" if self.cut else data

    def end_when(self, outgrows: Outgrows, last_words: bytes) -> bool:
        """End the stream with these words when it outgrows something; False where it is no stream.

        An encoded answer cannot be spoken into: it ends without a word (``told`` stays False).
        """
        if not isinstance(self.meter, StreamMeter):
            return False
        self.meter.outgrows, self.last_words = outgrows, last_words
        return True

    @property
    def form(self) -> Form:
        """How its events stand one after the other."""
        return self.meter.form if isinstance(self.meter, StreamMeter) else Form.EVENTS

    @property
    def outgrown(self) -> bool:
        """Whether it was ended by ``end_when``."""
        return isinstance(self.meter, StreamMeter) and self.meter.outgrown

    def measure(self, decoded: bytes) -> None:
        """Feed decoded bytes to the meter within the bound."""
        self.decoded_bytes += len(decoded)
        if self.decoded_bytes > DECODED_LIMIT_BYTES:
            raise UnmeteredError
        self.meter.feed(decoded)

    @property
    def broken(self) -> bool:
        """Whether what was seen of the answer says nothing about all of it."""
        return self.unfollowed or self.shut

    @property
    def usage(self) -> Usage | None:
        """What the provider said it used, so far."""
        return None if self.broken else self.meter.usage


Decode = Callable[[bytes], Iterator[bytes]]


def decoder(encoding: str) -> Decode:
    """An incremental decoder, in bounded pieces, for a content encoding that came unasked."""
    match encoding.strip().lower():
        case "gzip" | "x-gzip":
            return inflating(16 + zlib.MAX_WBITS)
        case "deflate":
            return inflating(zlib.MAX_WBITS)
        case "br":
            return unbrotli()
        case "zstd":
            undone = zstandard.ZstdDecompressor().decompressobj()
            return lambda data: iter((undone.decompress(data),))
        case _:
            return unmetered


def inflating(window_bits: int) -> Decode:
    """Of zlib's formats; what follows the end of the stream is not followed."""
    undone = zlib.decompressobj(window_bits)

    def decode(data: bytes) -> Iterator[bytes]:
        while data and not undone.eof:
            yield undone.decompress(data, PIECE_BYTES)
            data = undone.unconsumed_tail
        if data or undone.unused_data:
            raise UnmeteredError

    return decode


def unbrotli() -> Decode:
    """Of brotli, which keeps what it could not put out yet."""
    undone = brotli.Decompressor()

    def decode(data: bytes) -> Iterator[bytes]:
        piece = undone.process(data, output_buffer_limit=PIECE_BYTES)
        while piece:
            yield piece
            piece = (
                b""
                if undone.is_finished()
                else undone.process(b"", output_buffer_limit=PIECE_BYTES)
            )

    return decode


def unmetered(_data: bytes) -> Iterator[bytes]:
    """For encodings nobody asked for and nobody knows."""
    raise UnmeteredError
