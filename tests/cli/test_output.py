from __future__ import annotations

import json

import pytest

from tollkeeper_cli.output import Column, as_json, fact_lines, plain, print_rows, table


def test_json_turns_units_into_those_that_people_read() -> None:
    row = {
        "spent_nano_usd": 1_500_000_000,
        "left_nano_usd": None,
        "limits": {"budget_nano_usd": {"day": 1}},
        "at_ns": 0,
        "created_ns": 1_000_000_000,
        "calls": 3,
    }

    assert plain(row) == {
        "spent_usd": "1.50",
        "left_usd": None,
        "limits": {"budget_usd": {"day": "0.000000001"}},
        "at": "1970-01-01T00:00:00.000Z",
        "created_at": "1970-01-01T00:00:01.000Z",
        "calls": 3,
    }


def test_json_is_ascii_and_free_of_control_characters() -> None:
    text = as_json({"who": "\x1b\x7f\u202e日"})

    assert text.isascii()
    assert "\x7f" not in text
    assert json.loads(text) == {"who": "\x1b\x7f\u202e日"}


def test_amounts_of_a_column_have_their_points_under_each_other_and_lose_nothing() -> None:
    rows = [{"x_nano_usd": 5_000_000_000}, {"x_nano_usd": 62_500}, {"x_nano_usd": None}]

    lines = table(rows, [Column("x_nano_usd", "x")])

    assert lines == ["         x", "$5.0000000", "$0.0000625", "         -"]


def test_wide_characters_keep_columns_aligned() -> None:
    rows = [{"a": "日本", "b": "x"}, {"a": "abcd", "b": "y"}]

    assert table(rows, [Column("a", "a"), Column("b", "b")])[1:] == ["日本  x", "abcd  y"]


def test_a_narrow_terminal_cuts_the_widest_text_and_says_so() -> None:
    rows = [{"a": "x" * 50, "n": 7}]

    line = table(rows, [Column("a", "a"), Column("n", "n")], width=20)[1]

    assert line == "x" * 16 + "…  7"


def test_rows_from_a_request_cannot_forge_lines_of_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows([{"a": "x\nforged\x1b[1A"}], [Column("a", "a")], json_=False)

    assert capsys.readouterr().out == "a\nx\\nforged\\x1b[1A\n"


def test_facts_leave_out_what_is_empty() -> None:
    assert fact_lines({"a": 0, "bee": None, "c": [], "d_nano_usd": 5}) == [
        "a  0",
        "d  $0.000000005",
    ]
