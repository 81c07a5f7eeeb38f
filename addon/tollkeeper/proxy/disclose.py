"""What is told about a decision: headers for the client, comment and marker for mitmproxy's views.

Only plain data goes into ``flow.metadata``; it is saved with the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from mitmproxy import http

from tollkeeper.domain import (
    NANO_PER_USD,
    NS_PER_SECOND,
    Admission,
    Billing,
    Call,
    Reason,
    Settlement,
    Usage,
)
from tollkeeper.proxy.station import Caller

KEY = "tollkeeper"

COUNTED = tuple(
    one.name for one in fields(Usage) if one.name not in ("model", "service_tier", "unknown")
)
"""The counts of a usage, in the order in which they are told."""

PAID = {
    Billing.FLAT_COUNTED: "a plan at a flat rate; its notional cost counts on budgets",
    Billing.FLAT: "a plan at a flat rate; its notional cost counts on no budget",
}
"""Who pays, where it is not simply money."""


def usd(nano: int) -> str:
    """Nano-USD as USD with as many decimals as it needs, at most nine."""
    sign, rest = ("-", -nano) if nano < 0 else ("", nano)
    text = f"{rest // NANO_PER_USD}.{rest % NANO_PER_USD:09d}".rstrip("0")
    return sign + (text + "00" if text.endswith(".") else text)


def note(flow: http.HTTPFlow, caller: Caller, **facts: Any) -> None:
    """Add plain facts to what mitmproxy shows and saves of this flow."""
    known: dict[str, Any] = flow.metadata.setdefault(KEY, {})
    if caller.principal is None:
        known["claims"] = caller.user
    else:
        known.update(agent=caller.principal.agent, run=caller.principal.run)
    known.update(facts)
    flow.comment = at_a_glance(known)


def at_a_glance(known: Mapping[str, Any]) -> str:
    """Who, which model, what became of it, the cost, and why: a flow's comment."""
    effect, why = known.get("effect"), known.get("why")
    cost = f"${known['cost_usd']}" if "cost_usd" in known else ""
    if "notional_usd" in known:
        cost = f"notional ${known['notional_usd']}"
    if effect == "held":
        effect = f"held until {clock(known['lapses_ns'])}"
        worst = (
            f"notional ${known['worst_usd']}"
            if "worst_usd" in known
            else f"${known['reserved_usd']}"
        )
        cost, why = f"at most {worst}", f"{why}, {known['approval']}"
    who = known.get("agent") or known.get("claims")
    parts = [who, known.get("model"), effect, cost, why, known.get("answered")]
    return " · ".join(part for part in parts if part)


def clock(at_ns: int) -> str:
    """The time of day, for a person."""
    return f"{datetime.fromtimestamp(at_ns // NS_PER_SECOND, UTC):%H:%M:%S} UTC"


def decided(admission: Admission) -> dict[str, Any]:
    """What a decision says, whatever its effect."""
    decision, approval = admission.decision, admission.approval
    facts: dict[str, Any] = {
        "decision": admission.id,
        "reasons": "\n".join(
            f"{'observed: ' if one.observed else ''}{one.code} ({one.source}): {one.message}"
            for one in decision.reasons
        ),
        "price": decision.price_source,
    }
    if decision.changes:
        changes = asdict(decision.changes).items()
        facts["changes"] = ", ".join(f"{name} = {to}" for name, to in changes if to is not None)
    if decision.billing is not Billing.METERED:
        facts["billing"] = PAID[decision.billing]
        if decision.worst_nano_usd is not None:
            facts["worst_usd"] = usd(decision.worst_nano_usd)
    if decision.expected_nano_usd is not None:
        facts["expected_usd"] = usd(decision.expected_nano_usd)
    if decision.left_nano_usd is not None:
        facts["left_usd"] = usd(decision.left_nano_usd)
    if approval is not None:
        facts |= {"approval": approval.id, "rule": approval.rule}
        if approval.verdict is not None:
            verdict = approval.verdict
            facts["answered"] = f"{verdict.answer} by {verdict.by} ({verdict.origin})"
            facts["answer_note"] = verdict.note
    return facts


def held(flow: http.HTTPFlow, caller: Caller, call: Call, admission: Admission) -> None:
    """The flow waits for a person."""
    assert admission.approval is not None
    flow.marked = ":hourglass:"
    note(
        flow,
        caller,
        effect="held",
        model=call.model,
        why=f"rules.{admission.approval.rule}",
        reserved_usd=usd(admission.decision.reserve_nano_usd),
        lapses_ns=admission.approval.lapses_ns,
        **decided(admission),
    )


def forwarded(flow: http.HTTPFlow, caller: Caller, call: Call, admission: Admission) -> None:
    """The flow goes on to the provider."""
    decision = admission.decision
    observed = [reason.source for reason in decision.reasons if reason.observed]
    flow.marked = ":warning:" if observed else ""
    note(
        flow,
        caller,
        effect="changed" if decision.changes else "allowed",
        model=call.model,
        reserved_usd=usd(decision.reserve_nano_usd),
        why=", ".join(observed),
        **decided(admission),
    )


def refused(
    flow: http.HTTPFlow,
    caller: Caller,
    call: Call | None,
    reason: Reason,
    admission: Admission | None = None,
) -> None:
    """The flow ends here: it was refused, or somebody killed it while it was held."""
    flow.marked = ":no_entry_sign:"
    note(
        flow,
        caller,
        effect="killed" if flow.error else "refused",
        model=call.model if call else None,
        why=f"{reason.code} ({reason.source})",
        message=reason.message,
        **(decided(admission) if admission else {}),
    )


def answered(flow: http.HTTPFlow, admission: Admission) -> None:
    """Headers that are known before the answer's first byte."""
    assert flow.response is not None
    headers, decision = flow.response.headers, admission.decision
    headers["x-tollkeeper-id"] = admission.id
    if decision.changes.model:
        headers["x-tollkeeper-model"] = decision.changes.model
    if decision.changes.max_output_tokens is not None:
        headers["x-tollkeeper-max-output-tokens"] = str(decision.changes.max_output_tokens)
    if decision.left_nano_usd is not None:
        headers["x-tollkeeper-budget-left-usd"] = usd(decision.left_nano_usd)


def goes_on(flow: http.HTTPFlow) -> None:
    """The call goes on behind its answer; what it comes to is told by whoever asks for it."""
    known: dict[str, Any] = flow.metadata.setdefault(KEY, {})
    known["why"] = "in the background"
    flow.comment = at_a_glance(known)


def settled(flow: http.HTTPFlow, admission: Admission, made: Settlement) -> None:
    """What it came to: for the client where the headers have not left yet, and for the views."""
    known: dict[str, Any] = flow.metadata.setdefault(KEY, {})
    known.update(
        outcome=made.outcome.value,
        basis=made.basis.value,
        **{name: count for name in COUNTED if (count := getattr(made.usage, name))},
        **({"unknown_usage": ", ".join(made.usage.unknown)} if made.usage.unknown else {}),
    )
    if made.cost_nano_usd is None:
        return
    decision = admission.decision
    by_plan = decision.billing is not Billing.METERED and made.billing is None
    if decision.billing is not Billing.METERED and not by_plan:
        known["billing"] = f"money: {made.note}"
    price = made.notional_nano_usd if by_plan else made.cost_nano_usd
    kind = "notional_usd" if by_plan else "cost_usd"
    known[kind] = usd(price or 0)
    flow.comment = at_a_glance(known)
    if flow.response is None or flow.response.stream:
        return
    headers = flow.response.headers
    headers["x-tollkeeper-notional-usd" if by_plan else "x-tollkeeper-cost-usd"] = known[kind]
    if decision.left_nano_usd is not None:
        left = decision.left_nano_usd + decision.reserve_nano_usd - made.cost_nano_usd
        headers["x-tollkeeper-budget-left-usd"] = usd(left)
