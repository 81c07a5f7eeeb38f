"""Records of the port as text and back: limits as JSON, rows as dataclasses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from tollkeeper.core.snapshot import AgentRecord, RunRecord, TokenRecord
from tollkeeper.domain import Limits, Window
from tollkeeper.ledger.chain import canonical

_BY_WINDOW = frozenset({"budget_nano_usd", "requests"})
_LISTS = frozenset({"models", "tools"})


def limits_to_plain(limits: Limits) -> dict[str, Any]:
    """Only what limits: missing keys are ``None`` or empty."""
    plain: dict[str, Any] = {}
    for field in fields(limits):
        value = getattr(limits, field.name)
        if field.name in _BY_WINDOW:
            value = {str(window): amount for window, amount in value.items()} or None
        elif field.name in _LISTS and value is not None:
            value = list(value)
        if value is not None:
            plain[field.name] = value
    return plain


def limits_to_json(limits: Limits) -> str:
    """Canonical JSON of ``limits_to_plain``."""
    return canonical(limits_to_plain(limits))


@lru_cache(maxsize=4096)
def limits_from_json(text: str) -> Limits:
    """The limits again; the same text gives the same (frozen) object."""
    plain: dict[str, Any] = json.loads(text)
    for name in _BY_WINDOW & plain.keys():
        plain[name] = {Window(window): amount for window, amount in plain[name].items()}
    for name in _LISTS & plain.keys():
        plain[name] = tuple(plain[name])
    return Limits(**plain)


AGENT_COLUMNS = "name, state, parent, limits, created_ns"
RUN_COLUMNS = "id, agent, state, limits, about, created_ns, ended_ns"
TOKEN_COLUMNS = "id, agent, created_ns, expires_ns, revoked_ns, run, minted_by"  # noqa: S105  # column names


def agent_from_row(row: tuple[Any, ...]) -> AgentRecord:
    """From ``AGENT_COLUMNS``."""
    name, state, parent, limits, created_ns = row
    return AgentRecord(name, state, parent, limits_from_json(limits), created_ns)


def run_from_row(row: tuple[Any, ...]) -> RunRecord:
    """From ``RUN_COLUMNS``."""
    run, agent, state, limits, about, created_ns, ended_ns = row
    said: Mapping[str, str] = json.loads(about)
    return RunRecord(run, agent, state, limits_from_json(limits), said, created_ns, ended_ns)


def token_from_row(row: tuple[Any, ...]) -> TokenRecord:
    """From ``TOKEN_COLUMNS``."""
    return TokenRecord(*row)
