"""Plans at a flat rate: which credentials are theirs, and what an answer says of it (``plans.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

from tollkeeper.facts.tables import read_table


@dataclass(frozen=True, slots=True)
class Plan:
    """How one provider's plan is told from what is paid by use.

    Attributes:
        credential: Pattern of the whole ``authorization`` of a plan; None where nothing else is taken.
        says: The answer's header that names the limit of the plan which it counts on; None when
            answers do not say who pays.
        never: Values of it that stand for real money.
        unless: A header that says ``true`` when real money pays after all.
        login: Hosts of the tokens.
    """

    provider: str
    credential: Any
    says: str | None
    never: tuple[str, ...]
    unless: str | None
    login: tuple[str, ...]


@cache
def plans() -> Mapping[str, Plan]:
    """By provider."""
    return {entry["provider"]: _plan(entry) for entry in read_table("plans")["plans"]}


def _plan(entry: Mapping[str, Any]) -> Plan:
    shape, proof = entry["credential"], entry.get("proof", {})
    return Plan(
        provider=entry["provider"],
        credential=None if shape == "any" else re2.compile(shape),
        says=proof.get("says"),
        never=tuple(proof.get("never", ())),
        unless=proof.get("unless"),
        login=tuple(entry["login"]),
    )


def is_of_plan(provider: str, credentials: Sequence[tuple[str, str]]) -> bool:
    """Whether a plan's credential is all that could pay for a request.

    A request with two credentials is not a plan's, because nobody knows which of them is billed.

    Args:
        provider: A name; the owner's own provider has no credentials but its plan's.
        credentials: Headers that may carry a key, name and value as sent.
    """
    plan = plans().get(provider)
    if plan is None or plan.credential is None:
        return True
    if len(credentials) != 1:
        return False
    name, value = credentials[0]
    return name.lower() == "authorization" and bool(plan.credential.fullmatch(value))


def paid_by_plan(provider: str, headers: Mapping[str, str]) -> bool:
    """Whether an answer says that the plan paid, or comes from where answers never say it.

    Args:
        provider: A name.
        headers: Of the answer, lower-case names.
    """
    plan = plans().get(provider)
    if plan is None or plan.says is None:
        return True
    claim = headers.get(plan.says, "")
    beyond = headers.get(plan.unless or "", "").lower() == "true"
    return bool(claim) and claim not in plan.never and not beyond


@cache
def login_hosts() -> Mapping[str, str]:
    """The provider of each host that plans' logins need."""
    return {host: plan.provider for plan in plans().values() for host in plan.login}
