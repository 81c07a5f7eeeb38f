"""How a call ends: its reservation resolved, its slot freed, its rate corrected, its lessons learnt."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tollkeeper.domain import Basis, Billing, Outcome, Settlement, Usage
from tollkeeper.ledger import accounts, learning, rates
from tollkeeper.ledger.calls import OpenCall, write_left, write_settled
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.journal import append

_NO_USAGE = Usage()
_BILLS_NOTHING = (Outcome.NOT_SENT, Outcome.PROVIDER_ERROR)
_USAGE = tuple(field.name for field in fields(Usage))


def let_go(connection: Connection, call: OpenCall, now_ns: int) -> None:
    """Void what a held call has reserved."""
    pending = accounts.pendings(connection, call.reserved)
    accounts.void(connection, call.id, pending, now_ns, forwarded=False)
    write_left(connection, call.id, now_ns)


def resolve(
    connection: Connection,
    call: OpenCall,
    settlement: Settlement,
    now_ns: int,
    *,
    actor: str,
) -> None:
    """Book the settlement of an open call in the windows of its admission."""
    pending = accounts.pendings(connection, call.reserved)
    rated = [one.subject for one in pending[: call.rated]]
    charged = call.bound_input_tokens + call.bound_output_tokens
    forwarded = call.state == "forwarded"
    if settlement.outcome is Outcome.NOT_SENT:
        cost: int | None = 0
        accounts.void(connection, call.id, pending, now_ns, forwarded=forwarded)
        if rated:
            rates.take_back(connection, call.id, rated, call.booked_ns, charged_tokens=charged)
    else:
        cost = _cost(call, settlement)
        accounts.post(connection, call.id, pending, cost or 0, now_ns, forwarded=forwarded)
        used = _tokens(call, settlement)
        if rated and used != charged:
            rates.correct(
                connection, call.id, rated, call.booked_ns,
                charged_tokens=charged, used_tokens=used,
            )  # fmt: skip
        _learn(connection, call, settlement, now_ns)
    billing = settlement.billing or Billing(call.billing)
    notional = _notional(call, settlement, billing)
    write_settled(
        connection, call.id, settlement, cost, now_ns, billing=billing, notional_nano_usd=notional
    )
    kind = "recovered" if settlement.outcome is Outcome.RECOVERED else "settled"
    facts = _facts(call, settlement, cost)
    if billing is not Billing.METERED:
        facts |= {"billing": billing, "notional_nano_usd": notional}
    append(connection, kind, actor, call.id, facts, now_ns)


def _cost(call: OpenCall, settlement: Settlement) -> int | None:
    """What is booked: a priced call whose cost nobody knows is never booked as free."""
    if settlement.cost_nano_usd is not None:
        return settlement.cost_nano_usd
    if settlement.basis is Basis.RESERVED and call.worst_nano_usd:
        return call.worst_nano_usd
    if call.billing == Billing.FLAT and settlement.billing is not Billing.METERED:
        return 0
    return None


def _notional(call: OpenCall, settlement: Settlement, billing: Billing) -> int | None:
    """What the call would have cost where a plan pays; the worst case when nothing better is known."""
    if billing is Billing.METERED:
        return None
    if settlement.notional_nano_usd is not None:
        return settlement.notional_nano_usd
    return 0 if settlement.outcome in _BILLS_NOTHING else call.notional_nano_usd


def _tokens(call: OpenCall, settlement: Settlement) -> int:
    """For tpm: what was used as far as it is known, the bound for the rest."""
    usage = settlement.usage
    if settlement.outcome is Outcome.PROVIDER_ERROR and usage == _NO_USAGE:
        return 0
    used_input, used_output = usage.input_tokens, usage.output_tokens
    return (call.bound_input_tokens if used_input is None else used_input) + (
        call.bound_output_tokens if used_output is None else used_output
    )


def _learn(connection: Connection, call: OpenCall, settlement: Settlement, now_ns: int) -> None:
    usage = settlement.usage
    if settlement.basis is not Basis.MEASURED or usage.input_tokens is None or not call.model_key:
        return
    if settlement.outcome not in (Outcome.COMPLETE, Outcome.CUT):
        return
    if call.prefix is not None:
        learning.learn_prefix(
            connection, call.agent, call.model_key, call.prefix, usage.input_tokens, now_ns
        )
    if settlement.outcome is Outcome.COMPLETE and usage.output_tokens is not None:
        learning.learn_history(
            connection, call.agent, call.model_key,
            input_tokens=usage.input_tokens, bound_input_tokens=call.bound_input_tokens,
            output_tokens=usage.output_tokens,
        )  # fmt: skip


def _facts(call: OpenCall, settlement: Settlement, cost: int | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "outcome": settlement.outcome,
        "basis": settlement.basis,
        "cost_nano_usd": cost,
        "reserved_nano_usd": call.worst_nano_usd,
    }
    if cost is not None and cost > call.worst_nano_usd:
        facts["overrun_nano_usd"] = cost - call.worst_nano_usd
    if settlement.usage != _NO_USAGE:
        known = ((name, getattr(settlement.usage, name)) for name in _USAGE)
        facts["usage"] = {name: value for name, value in known if value}
    if settlement.status is not None:
        facts["status"] = settlement.status
    if settlement.note:
        facts["note"] = settlement.note
    return facts
