from __future__ import annotations

import json

import pytest

from tollkeeper_cli.output import Column, as_json, fact_lines, fitting, plain, print_rows, table


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
    rows = [{"a": "atlas", "b": "x" * 50, "n": 7}]

    line = table(rows, [Column("a", "a"), Column("b", "b"), Column("n", "n")], width=24)[1]

    assert line == "atlas  xxxxxxxxxxxxx…  7"


@pytest.mark.parametrize("key", ["id", "at_ns", "day"])
def test_what_tells_rows_apart_is_never_cut(key: str) -> None:
    rows = [{"name": "n" * 30, key: 10**18 if key == "at_ns" else "i" * 30}]

    cut, whole = (table(rows, [Column("name", "n"), Column(key, "k")], width=w) for w in (20, None))

    assert cut == whole


def test_a_name_that_an_agent_makes_up_does_not_burst_the_table() -> None:
    rows = [{"model": "m" * 200, "calls": 1}]

    lines = table(rows, [Column("model", "model"), Column("calls", "calls")], width=80)

    assert {len(line) for line in lines} == {80}
    assert lines[1] == "m" * 72 + "…      1"


def test_a_table_that_is_too_wide_loses_what_is_empty_then_what_is_spare() -> None:
    rows = [{"a": "aaaa", "b": "bbbb", "none": None, "c": "cccc", "d": "dddd"}]
    columns = [
        Column("a", "a"), Column("b", "b", spare=1), Column("none", "none"), Column("c", "c", spare=2),
        Column("d", "d"),
    ]  # fmt: skip

    def keys(width: int | None) -> str:
        return " ".join(column.key for column in fitting(rows, columns, width))

    assert keys(None) == keys(28) == "a b none c d"
    assert keys(27) == keys(22) == "a b c d"
    assert keys(21) == keys(16) == "a b d"
    assert keys(15) == keys(3) == "a d"


def test_a_column_that_is_empty_and_spare_goes_once() -> None:
    rows = [{"a": "aaaa", "none": None}]

    assert fitting(rows, [Column("a", "a"), Column("none", "none", spare=1)], 2) == [
        Column("a", "a")
    ]


def test_what_a_narrow_terminal_leaves_out_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "10")
    columns = [Column("a", "a"), Column("b", "bee", spare=1), Column("none", "none")]

    print_rows([{"a": "aaaaaa", "b": "bbbbbb"}], columns, json_=False)

    told = capsys.readouterr()
    assert "bbb" not in told.out
    assert told.err == "A wider window shows too: bee.\n"


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
