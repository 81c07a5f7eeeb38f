"""Hosts of models that pass undecrypted because no dialect here reads them (``ai_hosts.yaml``)."""

from __future__ import annotations

from functools import cache

from tollkeeper.facts.hosts import provider_for_host
from tollkeeper.facts.tables import read_table


def is_ai_host(name: str) -> bool:
    """Whether models are behind a host, as far as is known.

    Args:
        name: Normalised (``normalise_host``).
    """
    exact, below = _names()
    return name in exact or name.endswith(below) or provider_for_host(name) is not None


@cache
def _names() -> tuple[frozenset[str], tuple[str, ...]]:
    names = [entry["name"] for entry in read_table("ai_hosts")["hosts"]]
    return (
        frozenset(name for name in names if not name.startswith(".")),
        tuple(name for name in names if name.startswith(".")),
    )
