from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.core import catalogue
from tollkeeper.core.pricing import owners_rates
from tollkeeper.core.sheet import STANDARD, Rates
from tollkeeper.facts.tables import read_table

QUARTER = 1_795_176_000 // 900
"""Friday 2026-11-20, 12:00 UTC."""

TABLE = read_table("prices")
ALIASES: list[dict[str, Any]] = TABLE["aliases"]
PRICES: list[dict[str, Any]] = TABLE["prices"]


def listed(provider: str, model: str) -> list[catalogue.Brackets]:
    """What the catalogue itself says of a name, each quarter of the next hour."""
    known = facts.providers()[provider].catalogue
    entry = catalogue.find(known, model) if known else None
    tariffs = entry.tariffs(QUARTER) if entry else None
    return [tariff[STANDARD] for tariff in tariffs or ()]


@pytest.mark.parametrize(
    ("provider", "name", "billed"),
    [
        ("xai", "grok-4-fast-reasoning", "grok-4.3"),
        ("xai", "Grok-Code-Fast-1", "grok-4.3"),
        ("deepseek", "deepseek-chat", "deepseek-flash"),
        ("mistral", "mistral-medium", "mistral-medium-latest"),
        ("mistral", "mistral-medium-2505", "mistral-medium-2505"),
        ("xai", "grok-4.5", "grok-4.5"),
        ("openrouter", "deepseek-chat", "deepseek-chat"),
        ("my-vllm", "grok-3", "grok-3"),
    ],
)
def test_a_retired_name_is_billed_as_what_serves_it_and_any_other_as_itself(
    provider: str, name: str, billed: str
) -> None:
    assert facts.billed_as(provider, name) == billed


def test_a_published_rate_says_where_it_is_from() -> None:
    known = facts.published_rates("cohere", "embed-v4.0")

    assert known is not None
    assert known[0] == {"input": 120_000_000, "output": 0, "image_input": 470_000_000}
    assert known[1].startswith("https://")
    assert facts.published_rates("cohere", "embed-v9") is None
    assert facts.published_rates("my-vllm", "embed-v4.0") is None


def test_whole_names_of_the_table_are_listed_and_globs_are_not() -> None:
    assert {"grok-3", "grok-4-0709"} <= set(facts.published_models("xai"))
    assert "mistral-large-4" in facts.published_models("mistral")
    assert not any("*" in name for name in facts.published_models("openai"))
    assert facts.published_models("my-vllm") == []


@pytest.mark.parametrize("row", ALIASES + PRICES, ids=lambda row: row["models"][0])
def test_every_entry_has_its_source_and_names_what_is_known(row: dict[str, Any]) -> None:
    assert row["source"].startswith("https://")
    assert row["date"]
    assert set(row["providers"]) <= facts.providers().keys()
    assert all(glob == glob.lower() for glob in row["models"])
    assert row.get("rates", {}).keys() <= set(Rates._fields)
    assert ("as" in row) is not ({"input", "output"} <= row.get("rates", {}).keys())


@pytest.mark.parametrize("row", ALIASES, ids=lambda row: row["as"])
def test_an_alias_leads_to_a_price_that_the_name_itself_does_not_have(row: dict[str, Any]) -> None:
    for provider in row["providers"]:
        billed = listed(provider, row["as"])
        assert billed
        for glob in row["models"]:
            assert listed(provider, glob.replace("-*", "-reasoning")) != billed, glob
            assert not fnmatchcase(row["as"], glob)


@pytest.mark.parametrize("row", PRICES, ids=lambda row: row["models"][0])
def test_an_entry_goes_as_soon_as_the_catalogue_says_the_same(row: dict[str, Any]) -> None:
    for provider in row["providers"]:
        known = facts.published_rates(provider, row["models"][0])
        assert known is not None
        ours = owners_rates(known[0])

        assert ((0, ours),) not in listed(provider, row["models"][0])
