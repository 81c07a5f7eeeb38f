"""Quick headers answer as mitmproxy's own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from tollkeeper.proxy.quick_headers import QuickHeaders

NAMES = st.sampled_from(
    [b"host", b"Host", b"HOST", b"x", b"X-Y", b"x-y", b"\xc3\xa4", b"\xff", b""]
)
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"", b"1", b"a, b", b"\xff\xc3"])), max_size=6)
ASKED = st.sampled_from(["host", "HOST", "x-Y", "missing", "\u00e4", b"host", b"X-Y", "\udcff", ""])


def pair(fields: list[tuple[bytes, bytes]]) -> tuple[http.Headers, http.Headers]:
    plain, quick = http.Headers(fields), http.Headers(fields)
    QuickHeaders.install(quick)
    return plain, quick


@given(FIELDS, ASKED)
def test_every_question_has_the_same_answer(fields: list[tuple[bytes, bytes]], name: Any) -> None:
    plain, quick = pair(fields)

    assert type(quick) is QuickHeaders
    for ask in (
        lambda headers: headers.get_all(name),
        lambda headers: headers.get(name),
        lambda headers: headers.get(name, "other"),
        lambda headers: name in headers,
        lambda headers: list(headers),
        lambda headers: bytes(headers),
        lambda headers: headers.pop(name, None),
        lambda headers: headers.__setitem__(name, "set"),
        lambda headers: headers.__setitem__(name, b"set as bytes"),
        lambda headers: headers.fields,
        lambda headers: headers.copy().fields,
    ):
        assert ask(quick) == ask(plain)


def test_what_is_missing_is_a_key_error_and_no_other_kind_of_key_is_in_it() -> None:
    _, quick = pair([(b"host", b"here")])

    with pytest.raises(KeyError):
        quick["missing"]
    assert quick["HOST"] == "here"
    assert 1 not in quick


def test_what_is_more_than_mitmproxys_own_stays_what_it_is() -> None:
    class Theirs(http.Headers):
        pass

    theirs = Theirs()
    QuickHeaders.install(theirs)

    assert type(theirs) is Theirs
