from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.statement import Figures, Key, Statement
from tollkeeper.core.statement_json import read_json
from tollkeeper.errors import StatementError

SAMPLES = Path(__file__).parent / "statements"
DAY = "2026-11-20"


def read(name: str) -> Statement:
    return read_json((SAMPLES / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize(
    ("name", "kind", "lines"),
    [
        ("openai_costs_api.json", "openai-costs",
         {Key("openai", DAY, "gpt-4o"): Figures(Decimal("0.88080438"))}),
        ("openai_usage_api.json", "openai-usage",
         {Key("openai", DAY, "gpt-4o"): Figures(None, 5, 1000, 500)}),
        ("anthropic_costs_api.json", "anthropic-costs",
         {Key("anthropic", DAY, "claude-sonnet-4"): Figures(Decimal("1.2378912")),
          Key("anthropic", DAY, "web_search"): Figures(Decimal("0.02"))}),
        ("anthropic_usage_api.json", "anthropic-usage",
         {Key("anthropic", DAY, "claude-sonnet-4"): Figures(None, None, 3200, 500)}),
        ("openrouter_activity_api.json", "openrouter-activity",
         {Key("openrouter", DAY, "gpt-4.1"): Figures(Decimal("0.015"), 5, 50, 125)}),
    ],
)  # fmt: skip
def test_every_answer_is_told_by_its_fields(
    name: str, kind: str, lines: dict[Key, Figures]
) -> None:
    statement = read(name)

    assert (statement.kind, statement.lines) == (kind, lines)


def test_days_without_usage_and_pages_to_come_are_noticed() -> None:
    statement = read("openai_costs_api.json")

    assert (statement.first_day, statement.last_day) == (DAY, "2026-11-21")
    assert "fetch all pages" in statement.notes[0]


def test_pages_may_be_a_list_or_lines() -> None:
    page = (SAMPLES / "openai_usage_api.json").read_text()
    twice = Figures(None, 10, 2000, 1000)

    for text in (f"[{page},{page}]", "\n".join([json.dumps(json.loads(page))] * 2)):
        assert list(read_json(text, "f").lines.values()) == [twice]


def test_tools_billed_apart_are_told() -> None:
    assert "rows of their own" in read("anthropic_costs_api.json").notes[0]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "f:1:2: no JSON"),
        ('{"data": [],\n "x": }', "f:2:7: no JSON"),
        ("[]", "f:1:1: no known export"),
        ("9" * 5000, "f: a number in it has too many digits"),
        ('{"data": []}\n' + "9" * 5000, "f:2: a number has too many digits"),
        ("[" * 100_000, "f: nested too deep"),
        ('{"data": [{"start_time": 1795132800, "results": [{"input_tokens": 1e999999}]}]}',
         "f: $.data[0].results[0].input_tokens: expected a count"),
        ("{}", "f: $: expected a page"),
        ('{"data": [1]}', "f: $.data[0]: expected an object, found 1"),
        ('{"data": [{"start_time": "soon", "results": []}]}', "f: $.data[0].start_time: expected a time"),
        ('{"data": [{"start_time": 1795132800, "results": [{"amount": {"value": "x", "currency": "usd"}}]}]}',
         "f: $.data[0].results[0].amount.value: expected an amount, found 'x'"),
        ('{"data": [{"start_time": 1795132800, "results": [{"amount": {"value": 1, "currency": "eur"}}]}]}',
         "f: $.data[0].results[0].amount.currency: only USD"),
        ('{"data": [{"start_time": 1795132800, "results": [{"input_tokens": -1}]}]}',
         "f: $.data[0].results[0].input_tokens: expected a count"),
        ('{"data": [{"start_time": 1795132800, "results": [{"input_tokens": 1}, {"amount": {}}]}]}',
         "f: $.data[0].results[1]: openai-costs among openai-usage"),
        ('{"data": []}\n{"data": [}', "f:2:11: no JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place(text: str, place: str) -> None:
    with pytest.raises(StatementError) as raised:
        read_json(text, "f")

    assert str(raised.value).startswith(place)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda one: st.lists(one, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["data", "results", "start_time", "starting_at", "amount", "value", "currency", "model",
             "usage", "model_permaslug", "date", "cache_creation", "uncached_input_tokens"]
        ),
        one, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for whole in (
        value,
        {"data": [value]},
        {"data": [{"start_time": 1795132800, "results": [value]}]},
    ):
        with suppress(StatementError):
            read_json(json.dumps(whole), "f")
