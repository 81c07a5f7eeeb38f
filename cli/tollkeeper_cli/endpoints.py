"""`model list --endpoints`: what of a provider's API is metered, free, or refused and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tollkeeper_cli.output import Column, print_rows

if TYPE_CHECKING:
    from tollkeeper.domain import Mount, Policy

_COLUMNS: Final = [
    Column("api", "api"), Column("method", "method"), Column("path", "path"),
    Column("how", "how"), Column("what", "what"),
]  # fmt: skip

_GROUP: Final = re.compile(r"\(\?P<(\w+)>[^)]*\)")
_CLASS: Final = re.compile(r"\[[A-Z^/][^\]]*\](\[[^\]]*\])?[*+]?")


def show(policy: Policy, provider: str | None, text: str | None, *, json_: bool) -> None:
    """Print the table: of every family, or of one provider with its whole paths."""
    rows = [
        row
        for api, mounts, name in _places(policy, provider)
        for row in _rows(api, mounts, name)
        if text is None or any(text in str(row[key]) for key in ("path", "what", "how"))
    ]
    print_rows(rows, _COLUMNS, json_=json_, empty="No endpoint fits.")


def _places(
    policy: Policy, provider: str | None
) -> Iterator[tuple[str, tuple[Mount, ...], str | None]]:
    """``(family, where it stands, provider)``; without a provider every family at no prefix."""
    from tollkeeper import facts

    if provider is None:
        yield from ((api, (), None) for api in facts.families())
        return
    known = policy.providers.get(provider)
    mounts = facts.mounts(known) if known else ()
    for api in dict.fromkeys(mount.api for mount in mounts):
        yield api, tuple(mount for mount in mounts if mount.api == api), provider


def _rows(api: str, mounts: tuple[Mount, ...], provider: str | None) -> Iterator[dict[str, Any]]:
    from tollkeeper import facts

    prefixes = [mount.prefix for mount in mounts] or [""]
    for known in facts.endpoints(api):
        if not (provider and known.only and provider not in known.only):
            yield {
                "api": api,
                "method": known.method,
                "path": _path(known.path_re, prefixes, root=known.root),
                "how": "metered" if known.metered else "free",
                "what": known.operation + _only(known.only),
                "source": known.source,
                "date": known.date,
            }
    for refused in facts.refused_endpoints(api):
        yield {
            "api": api,
            "method": "any",
            "path": _path(refused.path_re, prefixes, root=refused.root),
            "how": "refused",
            "what": f"{refused.what}: {refused.because}; {refused.instead}",
            "source": refused.source,
            "date": refused.date,
        }


def _only(providers: tuple[str, ...]) -> str:
    return f" (only {', '.join(providers)})" if providers else ""


def _path(pattern: str, prefixes: list[str], *, root: bool) -> str:
    """A pattern as people write a path: ``/models/MODEL:embedContent``, ``/batches…``."""
    plain = _GROUP.sub(lambda found: found[1].upper(), pattern)
    plain = plain.replace("(/.*)?", "…").replace("/.*", "/…").replace("/.+", "/…")
    plain = _CLASS.sub("ID", plain).replace("{0,5}", "?")
    return " ".join(plain if root else prefix + plain for prefix in prefixes)
