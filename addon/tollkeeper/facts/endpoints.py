"""What may be asked of a provider, and which of it is free (``endpoints.yaml``).

A path is looked at as it stands on the wire, without its query. What no entry matches is unknown,
and an unknown endpoint of a provider is refused: percent-encoding, dot segments, doubled slashes
and anything after the known path never match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import re2

from tollkeeper.domain import Dialect, Mount, Provider
from tollkeeper.facts.tables import read_table

MAX_PATH_BYTES = 1024
"""The longest known path is a Gemini model with its method, far below this."""


SEGMENT = "[A-Za-z0-9][A-Za-z0-9._:~-]*"
"""What a ``{name}`` in a prefix may be: deployments, projects (``example.com:name``), locations."""

_NAME = re2.compile(r"\{[a-z]+\}")

PATHS_REMEMBERED = 1024
"""A client calls few different paths; what it makes up pushes out only what it made up before."""


@dataclass(frozen=True, slots=True)
class EndpointFact:
    """One known endpoint of a family of dialects.

    Attributes:
        method: Upper case.
        path_re: RE2 that must match the whole path after the mount's prefix, or the whole path
            when ``root``. A group named ``model`` holds the model where the path names it.
        operation: ``chat``, ``responses``, ``messages``, ``generate``, ``stream_generate``,
            ``count_tokens``, ``models`` …
        dialect: How to read its body and answer; None when there is nothing to read.
        metered: True when it may cost money.
        source: URL of the page on the matter.
        date: When it was last held to be so, ISO 8601.
        root: True when the path does not follow the mount's prefix (telemetry).
        only: Providers for which it holds; empty for all that mount this family.
        inject: True when an injected key may reach it. Telemetry never gets one.
    """

    method: str
    path_re: str
    operation: str
    dialect: Dialect | None
    metered: bool
    source: str
    date: str
    root: bool = False
    only: tuple[str, ...] = ()
    inject: bool = True


@dataclass(frozen=True, slots=True)
class RefusedFact:
    """Endpoints that are known and never forwarded.

    Attributes:
        path_re: As in ``EndpointFact``, for every method.
        what: What stands there, for people.
        because: Why it is not forwarded.
        instead: What to do.
        source: URL of the page on the matter.
        date: When it was last held to be so, ISO 8601.
        root: As in ``EndpointFact``.
    """

    path_re: str
    what: str
    because: str
    instead: str
    source: str
    date: str
    root: bool = False


@cache
def _families() -> Mapping[str, tuple[EndpointFact, ...]]:
    return {
        api: tuple(_fact(entry) for entry in entries)
        for api, entries in read_table("endpoints")["endpoints"].items()
    }


def _fact(entry: Mapping[str, Any]) -> EndpointFact:
    dialect = entry.get("dialect")
    return EndpointFact(
        method=entry["method"],
        path_re=entry["path"],
        operation=entry["operation"],
        dialect=Dialect(dialect) if dialect else None,
        metered=entry["metered"],
        source=entry["source"],
        date=str(entry["date"]),
        root=entry.get("root", False),
        only=tuple(entry.get("only", ())),
        inject=entry.get("inject", True),
    )


@cache
def _default_mounts() -> Mapping[str, tuple[Mount, ...]]:
    return {
        api: tuple(Mount(m.get("api", api), m["prefix"], m["auth"]) for m in mounts)
        for api, mounts in read_table("endpoints")["default_mounts"].items()
    }


@cache
def _refused() -> Mapping[str, tuple[RefusedFact, ...]]:
    return {
        api: tuple(
            RefusedFact(
                path_re=entry["path"],
                what=entry["what"],
                because=entry["because"],
                instead=entry["instead"],
                source=entry["source"],
                date=str(entry["date"]),
                root=entry.get("root", False),
            )
            for entry in entries
        )
        for api, entries in read_table("endpoints")["refused"].items()
    }


def families() -> tuple[str, ...]:
    """The families of dialects, in the order of the table."""
    return tuple(_families())


def refused_endpoints(api: str) -> tuple[RefusedFact, ...]:
    """The endpoints of a family that are known and never forwarded, paths relative to a mount."""
    return _refused().get(api, ())


def refused(provider: Provider, path: str) -> RefusedFact | None:
    """Why a path of a provider is not forwarded, and what to do instead; None when it is unknown."""
    if len(path) > MAX_PATH_BYTES:
        return None
    for mount in mounts(provider):
        for fact in refused_endpoints(mount.api):
            rest = path if fact.root else below(mount, path)
            if rest is not None and _compiled(fact.path_re).fullmatch(rest):
                return fact
    return None


def endpoints(api: str) -> tuple[EndpointFact, ...]:
    """The known endpoints of a family, paths relative to a mount; empty for ``none``."""
    return _families().get(api, ())


def mounts(provider: Provider) -> tuple[Mount, ...]:
    """Where the families that a provider speaks stand on its hosts, first match first."""
    return provider.mounts or _default_mounts().get(provider.api, ())


class _Match(NamedTuple):
    """A known endpoint that a path is, where it stands, and what the path names."""

    mount: Mount
    fact: EndpointFact
    named: Mapping[str, str]


def _matches(provider: Provider, method: str, path: str) -> tuple[_Match, ...]:
    if len(path) > MAX_PATH_BYTES:
        return ()
    return _matching(provider.name, mounts(provider), method, path)


@lru_cache(PATHS_REMEMBERED)
def _matching(name: str, mounts: tuple[Mount, ...], method: str, path: str) -> tuple[_Match, ...]:
    found = []
    for mount in mounts:
        for fact in endpoints(mount.api):
            if fact.method != method or (fact.only and name not in fact.only):
                continue
            rest = path if fact.root else below(mount, path)
            matched = _compiled(fact.path_re).fullmatch(rest) if rest is not None else None
            if matched:
                above: dict[str, str] = {}
                if "{" in mount.prefix and not fact.root:
                    above = _compiled(_template(mount.prefix)).fullmatch(path).groupdict()
                found.append(_Match(mount, fact, above | matched.groupdict()))
    return tuple(found)


def below(mount: Mount, path: str) -> str | None:
    """What follows the mount's prefix in a path, or None when the path is not below it."""
    if "{" not in mount.prefix:
        return path.removeprefix(mount.prefix) if path.startswith(mount.prefix) else None
    found = _compiled(_template(mount.prefix)).fullmatch(path)
    return found["rest"] if found else None


def named_in(provider: Provider, method: str, path: str) -> Mapping[str, str]:
    """What a known path names: ``model``, ``deployment``, ``project``, ``location``; as it is sent."""
    found = _matches(provider, method, path)
    return found[0].named if found else {}


@cache
def _template(prefix: str) -> str:
    """A pattern for all paths below a prefix with ``{names}``, each of which is one segment."""
    literals = _NAME.split(prefix)
    names = _NAME.findall(prefix)
    pattern: str = re2.escape(literals[0])
    for name, literal in zip(names, literals[1:], strict=True):
        pattern += f"(?P<{name[1:-1]}>{SEGMENT}){re2.escape(literal)}"
    return pattern + "(?P<rest>/.*)"


def endpoint(provider: Provider, method: str, path: str) -> EndpointFact | None:
    """The known endpoint that this request asks for, or None: unknown, to be refused.

    Args:
        provider: Built in or the policy's own.
        method: As sent; methods are case-sensitive.
        path: As sent, without the query.
    """
    found = next(iter(_matches(provider, method, path)), None)
    return found.fact if found else None


def mount_of(provider: Provider, method: str, path: str) -> Mount | None:
    """The mount whose known endpoint this request asks for: it says how a key is handed over."""
    found = next(iter(_matches(provider, method, path)), None)
    return found.mount if found else None


def reroute(source: Provider, method: str, path: str, target: Provider) -> str | None:
    """The same endpoint's path at another provider, for an alias that lives elsewhere.

    Returns:
        None when the endpoint is unknown, free of a dialect, or the target does not speak it.
    """
    for mount, fact, _ in _matches(source, method, path):
        if fact.dialect is None or fact.root:
            continue
        rest = below(mount, path)
        for other in mounts(target):
            if other.api != mount.api or rest is None or "{" in other.prefix:
                continue
            moved = other.prefix + rest
            if endpoint(target, method, moved) == fact:
                return moved
    return None


@cache
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern)
