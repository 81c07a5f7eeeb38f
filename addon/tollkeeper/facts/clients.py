"""How clients behave: who they are, how long they wait, what makes them hammer (``clients.yaml``).

A family comes from ``user-agent``, which a client may set as it likes: it chooses the form of a
refusal and the length of a silent hold, never what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import re2

from tollkeeper.facts.tables import read_table

AGENTS_REMEMBERED = 256
"""Clients name themselves as they like, so the memory has a bound."""

MAX_PATIENCE_SECONDS = 3600
"""What a client says of its own patience is believed up to here."""

MAX_AGENT_CHARACTERS = 512
"""More of a User-Agent is not looked at; the families name themselves far earlier."""

_SECONDS = re2.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class _Client:
    family: str
    agents: tuple[Any, ...]
    titles: tuple[str, ...]
    patience_seconds: int
    says_patience: bool = False
    retry_joins: bool = False
    heartbeats: bool = False
    final_status: Mapping[int, int] = field(default_factory=dict)


@cache
def _clients() -> tuple[_Client, ...]:
    return tuple(
        _Client(
            family=entry["family"],
            agents=tuple(re2.compile(pattern) for pattern in entry["user_agents"]),
            titles=tuple(entry.get("titles", ())),
            patience_seconds=entry["patience_seconds"],
            says_patience=entry.get("says_patience", False),
            retry_joins=entry.get("retry_joins", False),
            heartbeats=entry.get("heartbeats", False),
            final_status=dict(entry.get("final_status", {})),
        )
        for entry in read_table("clients")["clients"]
    )


@cache
def _by_family() -> Mapping[str, _Client]:
    return {client.family: client for client in reversed(_clients())}


@cache
def _margin() -> tuple[float, int]:
    entry = read_table("clients")["margin"]
    return entry["percent"] / 100, entry["least_seconds"]


@cache
def _javascript_seconds() -> int:
    seconds: int = read_table("clients")["javascript"]["patience_seconds"]
    return seconds


def _client(family: str) -> _Client:
    return _by_family().get(family) or _by_family()["other"]


def client_family(headers: Mapping[str, str]) -> str:
    """The client family by User-Agent; ``other`` for what is not known.

    Args:
        headers: With lower-case names, or a mapping that does not mind the case.
    """
    agent = headers.get("user-agent", "")[:MAX_AGENT_CHARACTERS]
    return _family(agent, headers.get("x-title", "")[:MAX_AGENT_CHARACTERS].lower())


@lru_cache(AGENTS_REMEMBERED)
def _family(agent: str, title: str) -> str:
    for client in _clients():
        if title in client.titles or any(pattern.search(agent) for pattern in client.agents):
            return client.family
    return "other"


def patience_seconds(family: str, headers: Mapping[str, str]) -> int:
    """How long this client bears silence before its answer begins, less a safety margin.

    Whole seconds, at least 1. What a client says of its own timeout is believed where its family
    obeys it, and everywhere else when it is shorter than the table's.
    """
    client = _client(family)
    patience = float(client.patience_seconds)
    said = _said_seconds(headers)
    if said is not None:
        patience = said if client.says_patience else min(said, patience)
    if headers.get("x-stainless-lang") == "js":
        patience = min(patience, _javascript_seconds())
    share, least = _margin()
    held = int(patience - max(patience * share, least))
    return max(1, min(held, MAX_PATIENCE_SECONDS))


_TIMEOUT_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout")


def _said_seconds(headers: Mapping[str, str]) -> float | None:
    values = (headers.get(name, "") for name in _TIMEOUT_HEADERS)
    return min((float(value) for value in values if _SECONDS.fullmatch(value)), default=None)


def final_status(family: str, status: int) -> int:
    """The status that makes this client stop: the given one, or 400 where it would hammer."""
    return _client(family).final_status.get(status, status)


def retry_joins(family: str) -> bool:
    """Whether ``x-should-retry: true`` makes this client send the same call again by itself."""
    return _client(family).retry_joins


def bears_heartbeats(family: str) -> bool:
    """Whether a streaming client skips empty events and raises an error that comes in the stream."""
    return _client(family).heartbeats
