from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.errors import WireError
from tollkeeper.wire.document import MAX_DEPTH, canonical, encoded, read, splice

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(TEXT, VALUES, max_size=5)
STYLES = st.sampled_from([(None, (", ", ": ")), (None, (",", ":")), (2, (",", ": "))])


def written(body: object, style: tuple[int | None, tuple[str, str]], ascii_only: bool) -> bytes:
    indent, separators = style
    text = json.dumps(body, indent=indent, separators=separators, ensure_ascii=ascii_only)
    return f" \n{text}\t ".encode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        ('{"a": "ä"}'.encode("latin-1"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": 1, "a": 2}', '"a" twice'),
        (b'{"a": {"b": [{"c": 1, "c": 1}]}}', '"c" twice'),
        (b'{"a": 1, "\\u0061": 2}', '"a" twice'),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": 1} {"b": 2}', "goes on"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": }', "a value was expected at character 6"),
        (b'{"a" 1}', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": "\x00"}', "not valid JSON"),
        (b'{"a": ' + b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2) + b"}", "nested deeper"),
        (b'{"a": ' + b"[" * 500_000 + b"}", "nested deeper"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says) as caught:
        read(body)

    assert "\n" not in str(caught.value)


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 1

    document = read(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")

    assert "a" in document.members


def test_half_a_surrogate_pair_is_refused_when_its_text_is_encoded() -> None:
    value = read(b'{"a": "\\ud83d"}').values()

    with pytest.raises(WireError, match="surrogate"):
        encoded(canonical(value))


@given(BODIES, STYLES, st.booleans())
def test_a_read_body_says_what_json_says(body: dict[str, object], style, ascii_only) -> None:
    raw = written(body, style, ascii_only)

    document = read(raw)

    assert document.values() == json.loads(raw)
    for member in document.members.values():
        assert json.loads(document.text[member.start : member.end]) == member.value


@settings(max_examples=200)
@given(
    BODIES,
    STYLES,
    st.booleans(),
    st.dictionaries(
        st.tuples(TEXT) | st.tuples(st.just("options"), TEXT),
        VALUES.filter(lambda v: v is not None),
        max_size=4,
    ),
    st.sampled_from([..., None, {}, {"kept": 1}]),
)
def test_splice_sets_members_and_touches_nothing_else(
    body: dict[str, object], style, ascii_only, edits, options
) -> None:
    edits = {path: value for path, value in edits.items() if path != ("options",)}
    body = {key: value for key, value in body.items() if key != "options"}
    if options is not ...:
        body["options"] = options
    raw = written(body, style, ascii_only)
    document = read(raw)
    expected = json.loads(raw)
    for path, value in edits.items():
        if len(path) == 1:
            expected[path[0]] = value
        else:
            expected["options"] = {**(expected.get("options") or {}), path[1]: value}

    spliced = splice(document, edits)

    assert json.loads(spliced) == expected
    after = read(spliced)
    for key, member in document.members.items():
        if all(path[0] != key for path in edits):
            kept = after.members[key]
            assert after.text[kept.start : kept.end] == document.text[member.start : member.end]
    first = next(
        (m.start for k, m in document.members.items() if any(p[0] == k for p in edits)), None
    )
    untouched = len(document.text) if first is None else first
    last = max((m.end for m in document.members.values()), default=document.opens)
    same = min(untouched, last)
    assert after.text[:same] == document.text[:same]
    assert after.text.endswith(document.text[last:])


def test_splice_without_edits_gives_the_same_bytes() -> None:
    raw = b' { "b" :1.0, "a":"\\u00e9\\/" } \n'

    assert splice(read(raw), {}) == raw


def test_splice_refuses_an_outer_member_that_is_no_object() -> None:
    with pytest.raises(WireError, match="stream_options must be an object"):
        splice(read(b'{"stream_options": 3}'), {("stream_options", "include_usage"): True})


@given(BODIES, STYLES, st.booleans())
def test_canonical_text_does_not_depend_on_how_a_body_was_written(body, style, ascii_only) -> None:
    again = read(written(dict(reversed(body.items())), style, ascii_only))

    assert canonical(again.values()) == canonical(read(json.dumps(body).encode()).values())
