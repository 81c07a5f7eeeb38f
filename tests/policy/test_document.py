from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.policy.document import (
    MAX_ALIASES,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    MAX_SCALAR,
    looks_secret,
    read,
    resolve,
    shown,
)


def plain(text: str) -> Any:
    root, problems = read(text.encode(), "p.yaml")
    assert problems == []
    assert root is not None
    return root.plain()


def problem(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    _, problems = read(data, "p.yaml")
    [one] = problems
    return str(one).removeprefix("p.yaml:")


@pytest.mark.parametrize(
    "text",
    [
        "no", "No", "NO", "yes", "on", "off", "y", "n", "10:30", "22:30", "06:00", "1:20:30",
        "2026-11-21", "1_000", "0b11", "1e", ".", "--", "=", "<<x", "12e", "0x", "0o8", ".inf", "-.INF",
        ".nan", "1.2.3", "tRUE", "nUll", "+", "1,000", "５",
    ],
)  # fmt: skip
def test_surprises_of_yaml_1_1_are_plain_text(text: str) -> None:
    assert plain(f"key: {text}") == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("null", None), ("~", None),
        ("", None), ("0", 0), ("-7", -7), ("+7", 7), ("010", 10), ("0o10", 8), ("0x1F", 31),
        ("0.50", Decimal("0.50")), (".5", Decimal("0.5")), ("5.", Decimal(5)), ("1e3", Decimal(1000)),
        ("-1.25E-2", Decimal("-0.0125")), ("0.1", Decimal("0.1")),
    ],
)  # fmt: skip
def test_core_schema_scalars_have_their_type(text: str, value: Any) -> None:
    found = plain(f"key: {text}")["key"]

    assert found == value
    assert type(found) is type(value)


def test_quoted_scalars_are_always_text() -> None:
    assert plain("[\"true\", '5', \"\", 'null']") == ["true", "5", "", "null"]


def test_fractions_keep_every_digit() -> None:
    assert plain("0.1234567890123456789") == Decimal("0.1234567890123456789")


def test_key_written_like_a_merge_key_in_quotes_is_text() -> None:
    assert plain('{"<<": a}') == {"<<": "a"}


def test_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert plain("\ufeffversion: 1") == {"version": 1}


def test_small_aliases_stand_for_their_anchor() -> None:
    assert plain("a: &x [1, 2]\nb: *x\nc: *x") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


def test_tabs_inside_of_quoted_and_block_text_stay() -> None:
    assert plain('a: "x\n\ty"\nb: |\n  one\n  \ttwo\n') == {"a": "x y", "b": "one\n\ttwo\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "3:1: duplicate key 'a'; it stands in line 1 already"),
        ("a:\n\tb: 1", "2:1: indent with spaces, found a tab"),
        ("a:\n  b: 1\n \tc: 1", "3:2: indent with spaces, found a tab"),
        ("1: a", "1:1: expected a text key, found the number 1; put it in quotes"),
        ("null: a", "1:1: expected a text key, found nothing; put it in quotes"),
        ("{a: 1, {b: 2}: 3}", "1:8: expected a text key, found a mapping"),
        ("<<: {a: 1}", "1:1: merge keys (<<) are not read; write the keys out"),
        ("a: 1\n---\nb: 2", "2:1: expected one YAML document, found a second one"),
        ("a: !!str 5", "1:4: tags are not read; take away 'tag:yaml.org,2002:str'"),
        ("a: !mine {b: 1}", "1:4: tags are not read; take away '!mine'"),
        ("a: &x {b: *x}", "1:11: alias *x contains itself"),
        (f"a: {'9' * 61}", "1:4: expected a number of at most 60 characters"),
        (b"a: 1\nb: \xff\xfe", "2:1: expected UTF-8 text, found other bytes"),
        (b"a: \x00", "1:"),
    ],
)
def test_fault_is_told_with_its_position(text: str | bytes, expected: str) -> None:
    assert problem(text).startswith(expected)


def test_several_duplicates_are_all_told() -> None:
    _, problems = read(b"a: 1\na: 2\nb: {c: 1, c: 2}", "p.yaml")

    assert [(one.line, one.column) for one in problems] == [(2, 1), (3, 11)]


def bomb(levels: int, width: int) -> str:
    lines = [f"a0: &a0 [{', '.join('x' * width)}]"]
    lines += [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]"
        for level in range(1, levels)
    ]
    return "\n".join(lines)


def test_aliases_that_expand_beyond_the_bound_are_refused_before_they_do() -> None:
    assert f"at most {MAX_NODES} values" in problem(bomb(12, 10))


def test_many_aliases_are_refused() -> None:
    text = "a: &x 1\nb: [" + ", ".join(["*x"] * (MAX_ALIASES + 1)) + "]"

    assert f"at most {MAX_ALIASES} aliases" in problem(text)


def test_deep_nesting_is_refused_without_recursion() -> None:
    assert f"at most {MAX_DEPTH} levels" in problem("[" * 100_000)


def test_aliases_cannot_build_a_deep_tree() -> None:
    chain = ["a0: &a0 [[[[[[[[1]]]]]]]]"]
    chain += [f"a{n}: &a{n} [[[[[[[[*a{n - 1}]]]]]]]]" for n in range(1, 10)]

    assert f"at most {MAX_DEPTH} levels" in problem("\n".join(chain))


def test_too_many_bytes_are_refused() -> None:
    assert f"at most {MAX_BYTES} bytes" in problem(b"#" * (MAX_BYTES + 1))


def test_too_long_text_is_refused() -> None:
    assert f"at most {MAX_SCALAR} characters" in problem(f"a: {'x' * (MAX_SCALAR + 1)}")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_told_with_a_position(text: str) -> None:
    root, problems = read(text.encode("utf-8", "surrogatepass"), "p.yaml")

    assert root is not None or problems
    assert all(one.line >= 1 and one.column >= 1 for one in problems)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_a_yaml_writer_quotes_comes_back_the_same(value: Any) -> None:
    class Quoting(yaml.SafeDumper):
        def represent_text(self, text: str) -> Any:
            return self.represent_scalar("tag:yaml.org,2002:str", text, style='"')

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Quoting.add_representer(str, Quoting.represent_text)
    text = yaml.dump(value, Dumper=Quoting, allow_unicode=False)

    root, problems = read(text.encode(), "p.yaml")

    assert problems == []
    assert root is not None
    assert root.plain() == value


@settings(max_examples=300, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=0, max_value=10**9))
def test_amounts_are_read_to_the_last_digit(amount: Decimal) -> None:
    assert resolve(f"{amount:f}") == amount


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnopqrstuv", "sk-ant-api03-abcdefghijklmnop", "tk_" + "a1" * 20,
        "AIzaSyA0123456789abcdefghijklmnopqrstu", "gsk_abcdefghijklmnopqrstuvwx", "xai-" + "a1" * 20,
    ],
)  # fmt: skip
def test_secrets_are_known_and_never_shown(secret: str) -> None:
    assert looks_secret(secret)
    assert secret not in shown(secret)


@pytest.mark.parametrize(
    "name", ["sk-learn", "gpt-4o-mini-2024-07-18", "task_runner", "OPENAI_API_KEY"]
)
def test_ordinary_names_are_no_secrets(name: str) -> None:
    assert not looks_secret(name)


def test_shown_text_is_short_and_harmless() -> None:
    assert shown("a\x1b[31m\nb" + "c" * 100) == "'a\ufffd[31m\ufffdb" + "c" * 52 + "…'"
