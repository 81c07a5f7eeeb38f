"""Every entry of every table says where it is known from and when that was looked up."""

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from tollkeeper.facts.tables import read_table

TODAY_AT_MOST = datetime.date(2100, 1, 1)
TABLES = ("hosts", "endpoints", "clients", "models", "fees")


def entries(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping that stands in a list or that carries facts of its own."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict) and "providers" in item:
                rows = item.get("limits", item.get("tools"))
                yield from entries(rows, f"{place}[{number}]")
            elif isinstance(item, dict):
                yield f"{place}[{number}]", item
    elif isinstance(value, dict):
        if any(not isinstance(item, dict | list) for item in value.values()):
            yield place, value
        else:
            for key, item in value.items():
                yield from entries(item, f"{place}.{key}")


ALL = [found for table in TABLES for found in entries(read_table(table), table)]


def test_the_tables_are_read_whole() -> None:
    assert len(ALL) > 150


@pytest.mark.parametrize(("place", "entry"), ALL, ids=[place for place, _ in ALL])
def test_an_entry_has_its_source_and_date(place: str, entry: dict[str, Any]) -> None:
    assert str(entry["source"]).startswith("https://")
    assert isinstance(entry["date"], datetime.date)
    assert datetime.date(2024, 1, 1) <= entry["date"] < TODAY_AT_MOST


@pytest.mark.parametrize("table", ["images", "hidden_input", "hidden_reasoning"])
def test_each_family_ends_with_an_entry_for_all_models(table: str) -> None:
    families = read_table("models")[table]

    assert set(families) == {"openai", "anthropic", "gemini", "bedrock"}
    assert all(rows[-1]["models"] == ["*"] for rows in families.values())


def test_client_families_are_unique_and_end_with_other() -> None:
    families = [entry["family"] for entry in read_table("clients")["clients"]]

    assert len(families) == len(set(families))
    assert families[-1] == "other"


def test_provider_names_are_unique() -> None:
    names = [entry["name"] for entry in read_table("hosts")["providers"]]

    assert len(names) == len(set(names))
