"""What a person decides on is shown whole, and nothing in it can hide or repaint anything."""

from __future__ import annotations

from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.eyes import escape, readable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text, ünïcödé, 日本語, 👍", "plain text, ünïcödé, 日本語, 👍"),
        ("\x1b[2J\x1b[31mred", r"\x1b[2J\x1b[31mred"),
        ("safe\u202etxt.exe", r"safe\u202etxt.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\nforged: yes\r", r"line\nforged: yes\r"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("bell\x07 del\x7f nul\x00", r"bell\x07 del\x7f nul\x00"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("lone\ud800", r"lone\ud800"),
        ("a" + "\u0301" * 9, "a" + "\u0301" * 4 + r"\u0301" * 5),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_shown_as_an_escape(raw: str, shown: str) -> None:
    assert escape(raw) == shown


@given(st.text())
def test_no_text_leaves_a_control_character_behind(text: str) -> None:
    shown = escape(text)

    assert all(one.isprintable() or category(one) == "Zs" for one in shown)


def test_bodies_keep_their_line_breaks_and_nothing_else() -> None:
    assert escape("a\nb\r\n\x1b", lines=True) == "a\nb\\r\n\\x1b"


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"a":1,"a":2}', ["{", '  "a": 1,', '  "a": 2', "}"]),
        (b"[1e400, 0.10000000000000000001]", ["[", "  1e400,", "  0.10000000000000000001", "]"]),
        (b'{"e":{},"l":[],"t":true,"n":null}',
         ["{", '  "e": {},', '  "l": [],', '  "t": true,', '  "n": null', "}"]),
        ('"\\u0048i \\\\u202e ü"'.encode(), ['"Hi \\\\u202e ü"']),
        (b"not json\nat all\t", ["not json", "at all\\t"]),
        (b"\xff" * 33, ["ffffffff " * 7 + "ffffffff", "ff"]),
        (b"[" * 100_000, ["[" * 100_000]),
        (b"", [""]),
    ],
)  # fmt: skip
def test_bodies_are_shown_without_rounding_or_hiding(body: bytes, lines: list[str]) -> None:
    assert readable(body) == lines
