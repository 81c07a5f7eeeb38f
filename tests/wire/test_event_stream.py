"""Amazon's framing: checked, bounded, and never a byte lost."""

from __future__ import annotations

import base64
import itertools
import json
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.domain import Dialect
from tollkeeper.wire.event_stream import (
    CONTENT_TYPE,
    EventStreamSplitter,
    chunk_of,
    message,
    payload_of,
)
from tollkeeper.wire.meter import meter
from tollkeeper.wire.sse import MAX_EVENT_BYTES

TWO = message({":event-type": "a"}, b'{"one":1}') + message({":event-type": "b"}, b'{"two":2}')


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(TWO)), max_size=8))
def test_any_chunking_gives_the_same_messages(cuts: list[int]) -> None:
    splitter = EventStreamSplitter(payload_of)
    borders = sorted({0, len(TWO), *cuts})

    events = [
        event
        for start, end in itertools.pairwise(borders)
        for event in splitter.feed(TWO[start:end])
    ]

    assert [payload for _, payload in events] == [b'{"one":1}', b'{"two":2}']
    assert b"".join(raw for raw, _ in events) == TWO
    assert splitter.rest() == (b"", b"")


@pytest.mark.parametrize("at", [0, 4, 8, 13, 20, len(TWO) // 2 - 1])
def test_after_a_wrong_byte_every_chunk_is_an_event_of_its_own(at: int) -> None:
    bad = bytearray(TWO)
    bad[at] ^= 1
    splitter = EventStreamSplitter(payload_of)

    events = [*splitter.feed(bytes(bad)), *splitter.feed(b"more")]

    assert b"".join(raw for raw, _ in events) == bytes(bad) + b"more"
    assert events[-1] == (b"more", None)
    assert b'{"one":1}' not in [payload for _, payload in events]


@pytest.mark.parametrize("total", [0, 15, MAX_EVENT_BYTES + 1, 2**32 - 1])
def test_a_length_that_cannot_be_is_not_waited_for(total: int) -> None:
    prelude = struct.pack(">II", total, 0)
    start = prelude + struct.pack(">I", zlib.crc32(prelude))
    splitter = EventStreamSplitter(payload_of)

    assert splitter.feed(start) == [(start, None)]
    assert splitter.feed(b"x") == [(b"x", None)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=8))
def test_no_bytes_whatsoever_are_lost_or_make_it_fail(chunks: list[bytes]) -> None:
    splitter = EventStreamSplitter(payload_of)

    raw = b"".join(raw for chunk in chunks for raw, _ in splitter.feed(chunk))

    assert raw + splitter.rest()[0] == b"".join(chunks)


def test_a_models_own_event_is_taken_out_of_its_base64() -> None:
    inner = b'{"type":"message_stop"}'

    assert chunk_of(json.dumps({"bytes": base64.b64encode(inner).decode()}).encode()) == inner


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"bytes":1}', b'{"bytes":"*"}', b"\xff"])
def test_what_is_no_chunk_stays_as_it_is(payload: bytes) -> None:
    assert chunk_of(payload) == payload


def test_bytes_that_cannot_be_split_are_all_counted() -> None:
    counting = meter(Dialect.BEDROCK_INVOKE, "bedrock", CONTENT_TYPE, True, take_out_usage=False)

    assert counting.feed(b"no message at all") == b"no message at all"

    assert counting.seen_output_tokens_bound == len(b"no message at all")
    assert not counting.done
