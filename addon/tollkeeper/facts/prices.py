"""Prices that the catalogue lacks or has wrong, as providers publish them (``prices.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any

from tollkeeper.domain import NANO_PER_USD
from tollkeeper.facts.tables import read_table


@cache
def _table() -> Mapping[str, list[dict[str, Any]]]:
    table: Mapping[str, list[dict[str, Any]]] = read_table("prices")
    return table


def _find(rows: str, provider: str, model: str) -> dict[str, Any] | None:
    name = model.lower()
    for row in _table()[rows]:
        if provider in row["providers"] and any(fnmatchcase(name, glob) for glob in row["models"]):
            return row
    return None


@lru_cache(maxsize=4096)
def billed_as(provider: str, model: str) -> str:
    """The model whose price a provider asks for this name: another one's where the name is retired.

    Args:
        provider: A name of ``providers()``; others have no table.
        model: As the provider names it.
    """
    row = _find("aliases", provider, model)
    return model if row is None else str(row["as"])


@lru_cache(maxsize=4096)
def published_rates(provider: str, model: str) -> tuple[Mapping[str, int], str] | None:
    """Rates that count before the catalogue's, as nano-USD by name, and their source; None elsewhere.

    Args:
        provider: A name of ``providers()``; others have no table.
        model: As the provider names it.
    """
    row = _find("prices", provider, model)
    if row is None:
        return None
    rates = {name: _nano(usd) for name, usd in row["rates"].items()}
    return rates, f"{row['source']} ({row['date']})"


def published_models(provider: str) -> list[str]:
    """The models of a provider that the table has by their whole name."""
    rows = (row for table in _table().values() for row in table if provider in row["providers"])
    return [name for row in rows for name in row["models"] if not set(name) & set("*?[")]


def _nano(usd: str) -> int:
    return int((Decimal(usd) * NANO_PER_USD).to_integral_value(ROUND_CEILING))
