from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.wire import sse
from tollkeeper.wire.sse import ArraySplitter, SseSplitter

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [
        b"data: x",
        b"data:y",
        b"data",
        b": comment",
        b"event: message",
        b"id: 1",
        b"data:  two",
        b"retry: 5",
        b"datum: 3",
    ]
)


def fed(
    splitter: SseSplitter | ArraySplitter, chunks: list[bytes]
) -> list[tuple[bytes, bytes | None]]:
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [*events, splitter.rest()]


@st.composite
def streams(draw) -> tuple[bytes, list[bytes]]:
    text = b""
    for _ in range(draw(st.integers(0, 5))):
        end = draw(LINE_ENDS)
        for line in draw(st.lists(LINES, max_size=4)):
            text += line + end
        text += end
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    borders = [0, *cuts, len(text)]
    return text, [text[a:b] for a, b in pairwise(borders)]


@given(streams())
def test_events_hold_every_byte_and_do_not_depend_on_the_chunks(stream) -> None:
    text, chunks = stream

    whole, cut = fed(SseSplitter(), [text]), fed(SseSplitter(), chunks)

    assert b"".join(raw for raw, _ in cut) == text
    assert cut == whole


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"event: e\ndata: x\nid: 7\n\n", b"x"),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b"data: a\rdata: b\r\r", b"a\nb"),
        (b": ping\n\n", b""),
        (b"\n\n", b""),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b"database: x\n\n", b""),
    ],
)
def test_data_lines_are_joined_and_the_rest_left_out(raw: bytes, data: bytes) -> None:
    assert sse.data_of(raw) == data


def test_an_event_is_there_as_soon_as_its_blank_line_is() -> None:
    splitter = SseSplitter()

    assert splitter.feed(b"data: a\n") == []
    assert splitter.feed(b"\nda") == [(b"data: a\n\n", b"a")]
    assert splitter.feed(b"ta: b\r\n\r") == []
    assert splitter.feed(b"\n") == [(b"data: b\r\n\r\n", b"b")]


def test_an_event_that_is_too_large_passes_unread() -> None:
    splitter = SseSplitter()
    large = b"data: " + b"x" * sse.MAX_EVENT_BYTES

    events = splitter.feed(large)

    assert events == [(large, None)]
    assert splitter.feed(b"\n\ndata: y\n\n")[-1] == (b"data: y\n\n", b"y")


JSON_TEXT = st.text(st.sampled_from('{}[],"\\ a\n漢'), max_size=8)
OBJECTS = st.recursive(
    st.dictionaries(JSON_TEXT, JSON_TEXT, max_size=2),
    lambda inner: st.dictionaries(JSON_TEXT, inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(OBJECTS, max_size=4), st.booleans(), st.integers(1, 7))
def test_elements_of_an_array_are_found_whatever_the_chunks(objects, ascii_only, size) -> None:
    text = (
        "[" + ",\r\n".join(json.dumps(o, ensure_ascii=ascii_only) for o in objects) + "\n]"
    ).encode()
    chunks = [text[i : i + size] for i in range(0, len(text), size)]

    events = fed(ArraySplitter(), chunks)

    assert b"".join(raw for raw, _ in events) == text
    assert [json.loads(data) for _, data in events if data] == objects
