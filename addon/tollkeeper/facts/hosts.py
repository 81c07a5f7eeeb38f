"""Who is governed: exact hosts and anchored patterns of model providers (``hosts.yaml``).

This list, not a price catalogue, decides where calls are judged and where a key is injected. Names
are compared in one form only (``normalise_host``), and a pattern must match the whole of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

import idna
import re2

from tollkeeper.domain import Mount, Provider
from tollkeeper.facts.plans import plans
from tollkeeper.facts.tables import read_table

AUTH_HEADERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "bearer": ("authorization", "Bearer "),
        "x-api-key": ("x-api-key", ""),
        "x-goog-api-key": ("x-goog-api-key", ""),
        "api-key": ("api-key", ""),
    }
)
"""Header name and what stands before the key, by ``Mount.auth``."""

HOUSE = "tollkeeper.local"
"""The proxy's own name, at which agents talk to it through it; nothing of it is ever forwarded."""

NAMES_REMEMBERED = 1024
"""Clients choose the names that are asked about, so the memory has a bound."""

_LABEL = re2.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re2.compile(r"[0-9]+|0x[0-9a-f]*")


@cache
def providers() -> Mapping[str, Provider]:
    """The built-in providers by name, in the order of the list."""
    return MappingProxyType(
        {str(entry["name"]): _provider(entry) for entry in read_table("hosts")["providers"]}
    )


def _provider(entry: Mapping[str, Any]) -> Provider:
    return Provider(
        name=entry["name"],
        hosts=tuple(entry.get("hosts", ())),
        host_patterns=tuple(entry.get("patterns", ())),
        api=entry["api"],
        catalogue=entry.get("catalogue"),
        mounts=tuple(
            Mount(api=mount["api"], prefix=mount["prefix"], auth=mount["auth"])
            for mount in entry.get("mounts", ())
        ),
        billing="flat" if entry["name"] in plans() else "metered",
        anyones_hosts=bool(entry.get("anyones_hosts")),
    )


def takes_key(provider: Provider, host: str) -> bool:
    """Whether the policy's key may go to this host of a provider."""
    return not provider.anyones_hosts or normalise_host(host) in provider.hosts


@cache
def credential_headers() -> frozenset[str]:
    """Lower-case request headers that carry or qualify a key; all go when we inject one."""
    return frozenset(entry["name"] for entry in read_table("hosts")["credential_headers"])


@cache
def credential_query() -> frozenset[str]:
    """Query parameters that carry a key; all go when we inject one."""
    return frozenset(entry["name"] for entry in read_table("hosts")["credential_query"])


def key_header(mount: Mount, key: str) -> tuple[str, str]:
    """The header, name and value, that hands ``key`` to this mount.

    Where Azure takes an ``api-key`` it takes a token of Entra ID as bearer; those are JSON web tokens,
    which keys never look like.
    Source: https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference#authentication
    """
    is_token = key.startswith("eyJ") and key.count(".") == 2
    auth = "bearer" if mount.auth == "api-key" and is_token else mount.auth
    name, before = AUTH_HEADERS[auth]
    return name, before + key


@lru_cache(NAMES_REMEMBERED)
def normalise_host(host: str) -> str | None:
    """The one form in which host names are compared: A-labels, lower case, no dot at the end.

    Returns:
        None for what is no DNS name: addresses in any spelling, ports, empty or overlong labels,
        names that IDNA 2008 forbids.
    """
    name = host[:-1] if host.endswith(".") else host
    if not name or len(name) > 253:
        return None
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    name = name.lower()
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return None
    # A last label that is a number is read as an IPv4 address by resolvers: 127.1, 0x7f.1.
    if _NUMBER.fullmatch(labels[-1]) or _is_address(name):
        return None
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_house(name: str) -> bool:
    """Whether a name, normalised, is the proxy's own or below it."""
    return name == HOUSE or name.endswith(f".{HOUSE}")


def provider_for_host(host: str, among: Mapping[str, Provider] | None = None) -> Provider | None:
    """Whose host this is, or None when it is not governed.

    Args:
        host: As a client names it; normalised here.
        among: The policy's providers, which the built-in ones complete: an entry of the policy
            stands before a built-in one and replaces the one of its name.
    """
    name = normalise_host(host)
    if name is None:
        return None
    own = among or {}
    candidates = [*own.values(), *(p for n, p in providers().items() if n not in own)]
    for provider in candidates:
        if name in provider.hosts:
            return provider
    for provider in candidates:
        if any(_pattern(p).fullmatch(name) for p in provider.host_patterns):
            return provider
    return None


@cache
def _pattern(pattern: str) -> Any:
    return re2.compile(pattern)
