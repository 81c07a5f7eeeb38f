"""The providers' own columns; the amounts in the samples are made up."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.statement import Figures, Key, Statement
from tollkeeper.core.statement_csv import FORMATS, model_of_sku, read_csv
from tollkeeper.errors import StatementError

SAMPLES = Path(__file__).parent / "statements"
DAY, NEXT = "2026-11-20", "2026-11-21"


def read(name: str) -> Statement:
    with (SAMPLES / name).open(encoding="utf-8-sig", newline="") as file:
        return read_csv(file, name)


def usd(text: str, **more: int) -> Figures:
    return Figures(cost_usd=Decimal(text), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind", "days", "lines"),
    [
        ("openai_costs.csv", "openai-costs", ("2026-11-19", DAY),
         {Key("openai", DAY, "gpt-5-nano"): usd("0.00383598")}),
        ("openai_usage.csv", "openai-usage", (DAY, NEXT),
         {Key("openai", DAY, "gpt-5-mini"): Figures(None, 3, 1500, 250)}),
        ("anthropic_costs.csv", "anthropic-costs", (DAY, DAY),
         {Key("anthropic", DAY, "claude-haiku-4-5"): usd("0.07")}),
        ("anthropic_usage.csv", "anthropic-usage", (DAY, DAY),
         {Key("anthropic", DAY, "claude-haiku-4-5"): Figures(None, None, 100_060, 5000)}),
        ("openrouter_activity.csv", "openrouter-activity", (DAY, NEXT),
         {Key("openrouter", DAY, "gpt-4o-mini"): usd("0.1200034", requests=2, input_tokens=25, output_tokens=45),
          Key("openrouter", NEXT, "deepseek-r1:free"): usd("0", requests=1, input_tokens=1, output_tokens=1)}),
        ("google_billing.csv", "google-billing", (DAY, DAY),
         {Key("google", DAY, "gemini-2.5-flash-lite"): usd("0.104321"),
          Key("vertex", DAY, "claude-sonnet-4-5"): usd("1000.50")}),
        ("google_bigquery.csv", "google-bigquery", (DAY, DAY),
         {Key("google", DAY, "gemini-2.5-pro"): usd("0.25")}),
        ("plain.csv", "plain", (DAY, DAY), {Key("openai", DAY, "gpt-4o"): usd("1.75", requests=4)}),
    ],
)  # fmt: skip
def test_every_format_is_told_by_its_columns(
    name: str, kind: str, days: tuple[str, str], lines: dict[Key, Figures]
) -> None:
    statement = read(name)

    for figures in statement.lines.values():
        figures.rounding_usd = Decimal(0)
    assert (statement.kind, statement.lines) == (kind, lines)
    assert (statement.first_day, statement.last_day) == days


def test_every_format_has_a_sample() -> None:
    kinds = {read(path.name).kind for path in SAMPLES.glob("*.csv")}

    assert kinds == {one.kind for one in FORMATS}


def test_what_is_left_out_of_a_bill_is_told() -> None:
    assert read("google_billing.csv").notes == [
        "Credits, taxes and what is no Gemini or Claude model are left out."
    ]
    assert read("google_billing.csv").timezone == "America/Los_Angeles"


def test_a_line_over_a_month_is_of_no_day() -> None:
    text = (
        (SAMPLES / "google_billing.csv")
        .read_text()
        .replace("2026-11-20,2026-11-20", "2026-11-01,2026-11-30")
    )

    statement = read_csv(text.splitlines(keepends=True), "bill.csv")

    assert not statement.daily
    assert (statement.first_day, statement.last_day) == ("2026-11-01", "2026-11-30")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "f.csv:1:1: the file is empty"),
        ("a" * 200_000, "f.csv:1:1: field larger than field limit"),
        ("a,b\n1,2\n", "f.csv:1:1: no known export has the columns a, b"),
        ("day,model,cost_usd\n2026-11-20,x,much\n", "f.csv:2:3: 'much' is no amount in USD"),
        ("day,model,cost_usd\n2026-11-20,x,1\nsoon,x,1\n", "f.csv:3:1: 'soon' is no date or time"),
        ("day,model,cost_usd,requests\n2026-11-20,x,1,-2\n", "f.csv:2:4: '-2' is no count"),
        ('day,model,cost_usd\n2026-11-20,"a\nb",1\n2026-11-20,x,?\n', "f.csv:4:3: '?'"),
        ("start_time,amount_value,amount_currency\n1795132800,1,eur\n", "f.csv:2:3: amounts are in 'eur'"),
        ("SKU description,Usage start date,Usage end date,Cost (€)\n", "f.csv:1:1: no known"),
        ("SKU description,Usage start date,Usage end date,Cost ($),Unrounded cost (€)\n", "f.csv:1:5: amounts are in €"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place(text: str, place: str) -> None:
    with pytest.raises(StatementError) as raised:
        read_csv(text.splitlines(keepends=True), "f.csv")

    assert str(raised.value).startswith(place)


@given(st.text(max_size=300), st.sampled_from(FORMATS))
def test_whatever_stands_below_known_columns_is_read_or_refused(text: str, format_: object) -> None:
    columns = ",".join(format_.columns)  # type: ignore[attr-defined]
    for whole in (text, f"{columns}\n{text}"):
        with suppress(StatementError):
            assert read_csv(whole.splitlines(keepends=True), "f.csv").kind


@pytest.mark.parametrize(
    ("sku", "model"),
    [
        (
            "Generate content input token count gemini 2.5 flash short input text",
            "gemini-2.5-flash",
        ),
        (
            "Generate content cached input token count Gemini 2.5 Flash-Lite",
            "gemini-2.5-flash-lite",
        ),
        ("Gemini 2.5 Pro Thinking Text Output - Predictions", "gemini-2.5-pro"),
        ("GenerateContent text output token count for Gemini 2.0 Flash", "gemini-2.0-flash"),
        ("Claude 3.5 Sonnet Input Tokens", "claude-sonnet-3-5"),
        ("Standard Storage US", None),
    ],
)
def test_models_are_found_in_lines_of_a_bill(sku: str, model: str | None) -> None:
    assert model_of_sku(sku) == model
