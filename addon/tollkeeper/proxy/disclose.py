"""What is told about a decision: headers for the client, comment and marker for mitmproxy's views.

Only plain data goes into ``flow.metadata``; it is saved with the flow.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import http

from tollkeeper.domain import NANO_PER_USD, Admission, Call, Reason, Settlement
from tollkeeper.proxy.station import Caller

KEY = "tollkeeper"


def usd(nano: int) -> str:
    """Nano-USD as USD with as many decimals as it needs, at most nine."""
    sign, rest = ("-", -nano) if nano < 0 else ("", nano)
    text = f"{rest // NANO_PER_USD}.{rest % NANO_PER_USD:09d}".rstrip("0")
    return sign + (text + "00" if text.endswith(".") else text)


def note(flow: http.HTTPFlow, caller: Caller, **facts: Any) -> None:
    """Add plain facts to what mitmproxy shows and saves of this flow."""
    known: dict[str, Any] = flow.metadata.setdefault(KEY, {})
    if caller.principal is not None:
        known.update(agent=caller.principal.agent, run=caller.principal.run)
    known.update(facts)
    who = known.get("agent", caller.user)
    parts = [who, known.get("model") or "", known.get("effect") or "", known.get("why") or ""]
    if "cost_usd" in known:
        parts.append(f"${known['cost_usd']}")
    flow.comment = " · ".join(part for part in parts if part)


def held(flow: http.HTTPFlow, caller: Caller, admission: Admission) -> None:
    """The flow waits for a person."""
    assert admission.approval is not None
    flow.marked = ":hourglass:"
    note(
        flow,
        caller,
        effect="held",
        approval=admission.approval.id,
        why=f"rules.{admission.approval.rule}",
        decision=admission.id,
        reserved_usd=usd(admission.decision.reserve_nano_usd),
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
        decision=admission.id,
        reserved_usd=usd(decision.reserve_nano_usd),
        why=", ".join(observed),
        price=decision.price_source,
    )


def refused(flow: http.HTTPFlow, caller: Caller, call: Call | None, reason: Reason) -> None:
    """The flow ends here."""
    flow.marked = ":no_entry_sign:"
    note(
        flow,
        caller,
        effect="refused",
        model=call.model if call else None,
        why=f"{reason.code} ({reason.source})",
        message=reason.message,
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


def settled(flow: http.HTTPFlow, admission: Admission, made: Settlement) -> None:
    """What it came to: for the client where the headers have not left yet, and for the views."""
    known: dict[str, Any] = flow.metadata.setdefault(KEY, {})
    known.update(
        outcome=made.outcome.value,
        basis=made.basis.value,
        input_tokens=made.usage.input_tokens,
        output_tokens=made.usage.output_tokens,
    )
    if made.cost_nano_usd is None:
        return
    known["cost_usd"] = usd(made.cost_nano_usd)
    flow.comment = f"{flow.comment} · ${known['cost_usd']}"
    if flow.response is None or flow.response.stream:
        return
    headers, decision = flow.response.headers, admission.decision
    headers["x-tollkeeper-cost-usd"] = known["cost_usd"]
    if decision.left_nano_usd is not None:
        left = decision.left_nano_usd + decision.reserve_nano_usd - made.cost_nano_usd
        headers["x-tollkeeper-budget-left-usd"] = usd(left)
