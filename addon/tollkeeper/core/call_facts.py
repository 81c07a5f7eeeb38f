"""What rules may read of a call, by name; None is unknown and matches nothing.

    agent, team, run                  who calls; asked about each ancestor of a child too
    project, priority                 what the run's starter said, else what the agent says
    step, step_type                   what the agent says of itself
    provider, model, tier             where the call goes, aliases resolved
    operation, stream, vision         what it asks for
    tools_offered                     names, the client's own tools and the provider's
    input_tokens                      the bound
    max_output_tokens                 as the call names it
    expected_cost_usd, worst_cost_usd Decimal; None without a price, 0 for free calls
    budget_left_percent               Decimal, the least of all budgets, before this call
    prompt                            at most 64 KiB of text
    time, weekday                     "22:30", "monday", in the policy's timezone

``Rule.fields`` name these, ``CallCase.facts`` holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from tollkeeper.core.bounds import Bounds
from tollkeeper.core.layers import starters_word
from tollkeeper.core.purses import Price, Purse, left_percent
from tollkeeper.core.snapshot import Snapshot
from tollkeeper.core.tiers import tier_of
from tollkeeper.domain import NS_PER_SECOND, Call, Policy, Principal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WEEKDAYS: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)


def known_facts(
    call: Call,
    principal: Principal,
    said: Mapping[str, str],
    policy: Policy,
    reads: Set[str],
    goes_to: tuple[str, str | None],
    now_ns: int,
) -> dict[str, Any]:
    """All facts that need no ledger, and what the agent says where the starter may know better.

    Args:
        said: What the agent says of itself.
        reads: What some rule reads; other facts are not worked out where that takes time.
        goes_to: Provider and model, aliases resolved.
    """
    provider, model = goes_to
    facts: dict[str, Any] = {
        "agent": principal.agent,
        "team": policy.members.get(principal.agent),
        "run": principal.run,
        "project": said.get("project"),
        "priority": said.get("priority"),
        "step": said.get("step"),
        "step_type": said.get("step_type"),
        "provider": provider,
        "model": model,
        "operation": call.operation,
        "stream": call.stream,
        "vision": "vision" in call.features,
        "tools_offered": (*call.tools_offered, *call.server_tools),
        "max_output_tokens": call.max_output_tokens,
        "prompt": call.prompt,
    }
    if "tier" in reads and model is not None:
        facts["tier"] = tier_of(policy.tiers, model)
    if "time" in reads or "weekday" in reads:
        facts["time"], facts["weekday"] = clock(now_ns // (60 * NS_PER_SECOND), policy.timezone)
    return facts


def late_facts(
    call: Call,
    snapshot: Snapshot,
    said: Mapping[str, str],
    bounds: Bounds,
    price: Price,
    purses: Sequence[Purse],
    reads: Set[str],
) -> dict[str, Any]:
    """What the ledger knows besides, and what follows from it."""
    facts: dict[str, Any] = {
        "input_tokens": bounds.input_tokens if call.metered else None,
        "expected_cost_usd": decimal_usd(price.expected_nano_usd),
        "worst_cost_usd": decimal_usd(price.worst_nano_usd),
    }
    if snapshot.standing.run is not None:
        facts |= starters_word(snapshot.standing.run, said)
    if "budget_left_percent" in reads:
        facts["budget_left_percent"] = left_percent(purses)
    return facts


@lru_cache(maxsize=16)
def clock(minute: int, timezone: str) -> tuple[str, str]:
    """Time of day and weekday in a zone, at a minute since the epoch."""
    local = (_EPOCH + timedelta(minutes=minute)).astimezone(ZoneInfo(timezone))
    return f"{local.hour:02d}:{local.minute:02d}", _WEEKDAYS[local.weekday()]


def decimal_usd(nano_usd: int | None) -> Decimal | None:
    """Exact USD for matchers."""
    return None if nano_usd is None else Decimal(nano_usd).scaleb(-9)
