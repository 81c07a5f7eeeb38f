"""What providers bill beside the list price of tokens: their own tools' uses, regions (``fees.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any

from tollkeeper.domain import NANO_PER_USD
from tollkeeper.facts.tables import read_table


@cache
def _rows() -> Mapping[str, list[dict[str, Any]]]:
    table = read_table("fees")["fees"]
    return {name: group["tools"] for group in table for name in group["providers"]}


@cache
def _regions() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_table("fees")["regions"]
    return found


@lru_cache(maxsize=4096)
def tool_fees(provider: str, model: str) -> Mapping[str, int]:
    """Nano-USD per thousand uses, by tool; a tool that is missing has no known price.

    Args:
        provider: A name of ``providers()``; others have no table.
        model: As the provider names it.
    """
    found: dict[str, int] = {}
    for row in _rows().get(provider, ()):
        if any(fnmatchcase(model.lower(), glob) for glob in row["models"]):
            nano = int(Decimal(str(row["usd_per_thousand"])) * NANO_PER_USD)
            found.setdefault(row["tool"], nano)
    return found


@lru_cache(maxsize=4096)
def cache_storage(provider: str, model: str) -> int:
    """What keeping a million tokens of a cache costs an hour, in nano-USD; 0 when it is not known.

    Args:
        provider: A name of ``providers()``.
        model: As the provider names it.
    """
    for row in read_table("fees")["cache_storage"]:
        fits = any(fnmatchcase(model.lower(), glob) for glob in row["models"])
        if row["provider"] == provider and fits:
            return int(Decimal(str(row["usd"])) * NANO_PER_USD)
    return 0


@lru_cache(maxsize=4096)
def region_percent(provider: str, model: str) -> int:
    """What a model's tokens cost at this provider, in percent of the list price.

    Args:
        provider: A name of ``providers()`` that stands for a region.
        model: As the provider names it.
    """
    name = model.lower().removeprefix("ft:")
    for row in _regions():
        if row["provider"] == provider and any(fnmatchcase(name, glob) for glob in row["models"]):
            return int(row["percent"])
    return 100
