"""An answer on its way back: metered in every encoding, bounded, latched shut when its meter breaks."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from proxy.house import ANSWER
from tollkeeper.domain import Call, Dialect
from tollkeeper.proxy.answer import DECODED_LIMIT_BYTES, Answer, decoder

CALL = Call("openai", Dialect.OPENAI_CHAT, "chat", metered=True, model="gpt-4o-mini")
STREAM = Call("openai", Dialect.OPENAI_CHAT, "chat", metered=True, model="gpt-4o-mini", stream=True)
BODY = json.dumps(ANSWER).encode()
EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)
ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def answer(encoding: str = "", call: Call = CALL, kind: str = "application/json") -> Answer:
    return Answer(call, kind, encoding, take_out_usage=False)


def fed(meter: Answer, data: bytes, size: int) -> bytes:
    """What passes of the data, in chunks of this size; no chunk ever comes back as ``b""``."""
    out = b""
    for at in range(0, len(data), size):
        passed = meter(data[at : at + size])
        assert passed != b""
        out += passed if isinstance(passed, bytes) else b"".join(passed)
    last = meter(b"")
    return out + (last if isinstance(last, bytes) else b"".join(last))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("encoding", ["", "identity", " Identity ", *ENCODERS, "GZIP"])
def test_answer_passes_byte_for_byte_and_its_usage_is_known(encoding: str, size: int) -> None:
    encode = ENCODERS.get(encoding.lower(), lambda data: data)
    meter, data = answer(encoding), encode(BODY)

    passed = fed(meter, data, size)

    assert passed == data
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (9, 5)
    assert not meter.broken


@pytest.mark.parametrize("encoding", ["", *ENCODERS])
def test_stream_passes_byte_for_byte_and_its_usage_is_known(encoding: str) -> None:
    encode = ENCODERS.get(encoding, lambda data: data)
    meter, data = answer(encoding, STREAM, "text/event-stream"), encode(EVENTS)

    assert fed(meter, data, 11) == data
    assert meter.usage is not None
    assert meter.usage.output_tokens == 5


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "x-made-up", "zstd2"])
def test_unknown_encoding_passes_unread_and_nothing_is_known_of_it(encoding: str) -> None:
    meter = answer(encoding)

    assert fed(meter, BODY, 100) == BODY
    assert meter.broken
    assert meter.usage is None


@pytest.mark.parametrize("encoding", ENCODERS)
def test_encoding_that_is_not_what_it_says_passes_and_nothing_is_known_of_it(encoding: str) -> None:
    meter = answer(encoding)

    assert fed(meter, BODY, 100) == BODY
    assert meter.broken


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_second_stream_behind_the_first_is_not_followed(encoding: str) -> None:
    meter = answer(encoding)

    fed(meter, ENCODERS[encoding](BODY) * 2, 100)

    assert meter.broken


def bomb(encoding: str) -> bytes:
    """Few bytes that become more than the limit."""
    block = bytes(16 * 1024 * 1024)
    rounds = DECODED_LIMIT_BYTES // len(block) + 2
    match encoding:
        case "gzip":
            maker = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        case "deflate":
            maker = zlib.compressobj(9)
        case "zstd":
            maker = zstandard.ZstdCompressor(level=1).compressobj()
        case _:
            packer = brotli.Compressor(quality=1)
            return b"".join(packer.process(block) for _ in range(rounds)) + packer.finish()
    return b"".join(maker.compress(block) for _ in range(rounds)) + maker.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_bomb_passes_as_it_came_and_is_never_unpacked_beyond_the_bound(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 32 * 1024 * 1024
    monkeypatch.setattr("tollkeeper.proxy.answer.DECODED_LIMIT_BYTES", limit)
    data, meter = bomb(encoding), answer(encoding, STREAM, "text/event-stream")
    tracemalloc.start()

    passed = meter(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(data) < 3_000_000
    assert passed == data
    assert meter.broken
    assert limit < meter.decoded_bytes <= limit + 9 * 1024 * 1024
    assert peak < 3 * limit


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_decoder_that_can_be_told_puts_out_bounded_pieces(encoding: str) -> None:
    data = ENCODERS[encoding](bytes(5_000_000))

    pieces = [len(piece) for piece in decoder(encoding)(data)]

    assert sum(pieces) == 5_000_000
    assert max(pieces) <= 1024 * 1024


class Breaking:
    """A stretch of bytes whose reading fails: a meter meets it as it would a bug."""

    def __len__(self) -> int:
        raise RecursionError


def test_meter_that_raises_latches_shut_and_later_chunks_do_not_pass() -> None:
    meter = answer("", STREAM, "text/event-stream")
    first = meter(EVENTS[:30])
    broke = meter(Breaking())  # type: ignore[arg-type]

    later = [meter(EVENTS[30:]), meter(b"")]

    assert first in (EVENTS[:30], [])
    assert broke == []
    assert later == [[], []]
    assert meter.usage is None
    assert meter.broken


def test_chunk_that_is_held_back_is_no_bytes_at_all() -> None:
    meter = Answer(STREAM, "text/event-stream", "", take_out_usage=True)

    held = meter(b'data: {"choices":[],"usa')

    assert held != b""
