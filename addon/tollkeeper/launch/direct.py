"""Which of a user's proxy exceptions (``NO_PROXY``) may stay: those that lead past no governed host.

Clients read an entry in different ways: some let ``openai.com`` cover what merely ends in it, some
want a dot before it. Whatever any of them would let go direct is taken out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from tollkeeper import facts
from tollkeeper.domain import OtherHosts, Provider

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Goes direct always: the agent's own servers are there, and the proxy itself."""

_LITERAL = re.compile(r"[a-z0-9.-]+")
_GROUP = re.compile(r"\((?:\?:)?(.*)\)")
_OPTIONAL = re.compile(r"([^()]*)\(([^()]*)\)\?")
_PORT = re.compile(r":[0-9]+$")


def kept_direct(
    base: Mapping[str, str], among: Mapping[str, Provider], others: OtherHosts
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A user's exceptions, sorted: what may go direct, and what must not.

    Args:
        base: The environment that names them, in either case.
        among: The policy's providers; the built-in ones are governed as well.
        others: How the policy treats all other hosts. Where they are not simply tunnelled, nobody
            may go past the proxy.
    """
    said = ",".join(base.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    entries = dict.fromkeys(entry.strip() for entry in said.split(",") if entry.strip())
    own = [entry for entry in entries if entry.lower() not in LOOPBACK]
    if others.default != "tunnel":
        return (), tuple(own)
    hosts, zones = _governed(among, others)
    out = tuple(entry for entry in own if _leads_past(entry, hosts, zones))
    return tuple(entry for entry in own if entry not in out), out


def _governed(
    among: Mapping[str, Provider], others: OtherHosts
) -> tuple[frozenset[str], frozenset[str]]:
    """Exact names, and the ends of names below which something is governed."""
    every = (*among.values(), *facts.providers().values())
    hosts = {host for provider in every for host in provider.hosts}
    zones = {end for p in every for pattern in p.host_patterns for end in _ends(pattern)}
    for entry in (*others.deny, *others.inspect):
        (zones if entry.startswith("*.") else hosts).add(entry.removeprefix("*."))
    return frozenset(hosts), frozenset(zones)


def _ends(pattern: str) -> Iterator[str]:
    """How the names end that a host pattern matches, as far as that is literal; ``""`` for any end."""
    labels: list[list[str]] = []
    for label in reversed(_split(pattern, r"\.")):
        choices = _choices(label)
        if not choices:
            break
        labels.insert(0, choices)
    return (".".join(names) for names in itertools.product(*labels))


def _choices(label: str) -> list[str]:
    """What a label or a group of labels may be; nothing when that is not written out."""
    group = _GROUP.fullmatch(label)
    found: list[str] = []
    for choice in _split(group[1], "|") if group else [label]:
        optional = _OPTIONAL.fullmatch(choice)
        found += [optional[1], optional[1] + optional[2]] if optional else [choice]
    plain = [choice.replace(r"\.", ".") for choice in found]
    return plain if all(_LITERAL.fullmatch(choice) for choice in plain) else []


def _split(pattern: str, mark: str) -> list[str]:
    """The pattern's parts between marks, groups left whole."""
    parts, depth = [""], 0
    for piece in re.split(rf"({re.escape(mark)}|[()])", pattern):
        depth += (piece == "(") - (piece == ")")
        if piece == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _leads_past(entry: str, hosts: Iterable[str], zones: Iterable[str]) -> bool:
    name = _PORT.sub("", entry.lower()).lstrip("*").strip(".")
    if "*" in name:
        return True
    covers = any(known.endswith(name) for known in (*hosts, *zones))
    return covers or any(name.endswith(zone) for zone in zones)
