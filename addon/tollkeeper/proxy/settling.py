"""What a call came to: from an answer, whole or cut, to the settlement of its reservation."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.pricing import PriceSheet
from tollkeeper.domain import Basis, Call, Decision, Outcome, Settlement, Usage
from tollkeeper.ledger.spool import append
from tollkeeper.proxy.answer import Answer

NOT_SENT = Settlement(Outcome.NOT_SENT, Basis.MEASURED, 0)
"""No byte reached the provider: everything is given back."""


def settlement(
    flow: http.HTTPFlow,
    call: Call,
    decision: Decision,
    sheet: PriceSheet | None,
    answer: Answer | None,
    *,
    cut: bool,
) -> Settlement:
    """Judge what the provider may bill.

    Measured when the answer is whole and names its usage; nothing when the provider answered with an
    error, or when no byte had left; estimated from what was seen of a cut answer; the whole
    reservation where neither is known, never zero.
    """
    status = flow.response.status_code if flow.response and answer else None
    if not call.metered:
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, 0, status=status)
    if answer is None:
        return reserved(decision, sheet, None) if had_left(flow) else NOT_SENT
    usage = answer.usage
    if status is not None and status >= 400 and usage is None and not cut:
        return Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0, status=status)
    whole = answer.meter.done and not cut and usage is not None
    if whole and usage is not None and usage.output_tokens is not None:
        cost = sheet.cost_nano_usd(usage, call) if sheet else None
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, cost, usage, status)
    outcome = Outcome.CUT if cut or not answer.meter.done else Outcome.COMPLETE
    return replace(estimated(call, decision, sheet, answer, status), outcome=outcome)


def had_left(flow: http.HTTPFlow) -> bool:
    """Whether any byte of the request may have reached the provider."""
    server = flow.server_conn
    ready = (
        server.timestamp_tls_setup if flow.request.scheme == "https" else server.timestamp_tcp_setup
    )
    return ready is not None


def estimated(
    call: Call, decision: Decision, sheet: PriceSheet | None, answer: Answer, status: int | None
) -> Settlement:
    """From what was seen: never below what the provider reported or the client received.

    Text that was seen bounds the output from above, a byte a token. Where a model thinks unseen,
    nothing that was seen bounds what it may bill, so the reservation is booked whole.
    """
    asked = "reasoning" in call.features
    hidden = facts.hides_reasoning(call.dialect, call.model or "", asked=asked)
    if answer.broken or hidden:
        return reserved(decision, sheet, status)
    seen = answer.usage or Usage()
    output = max(seen.output_tokens or 0, answer.meter.seen_output_tokens_bound)
    usage = replace(
        seen,
        input_tokens=seen.input_tokens or decision.bound_input_tokens,
        output_tokens=min(output, max(decision.bound_output_tokens, seen.output_tokens or 0)),
    )
    cost = sheet.cost_nano_usd(usage, call) if sheet else None
    return Settlement(Outcome.CUT, Basis.ESTIMATED, cost, usage, status)


def reserved(decision: Decision, sheet: PriceSheet | None, status: int | None) -> Settlement:
    """The whole reservation, because nothing better is known."""
    cost = decision.reserve_nano_usd if sheet else None
    return Settlement(Outcome.CUT, Basis.RESERVED, cost, status=status)


def spool(folder: Path, call: str, made: Settlement, now_ns: int) -> None:
    """Keep a settlement that could not be written; recovery takes it in."""
    append(folder, {"kind": "settlement", "call": call, "settlement": asdict(made)}, now_ns)
