"""The ledger in one SQLite file, shared by every process of one machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tollkeeper.core.identity import new_approval_id, new_call_id
from tollkeeper.core.snapshot import Snapshot, Standing
from tollkeeper.domain import (
    Admission,
    Approval,
    Code,
    Decision,
    Effect,
    Principal,
    Settlement,
)
from tollkeeper.errors import LedgerError, LedgerRefusal
from tollkeeper.ledger import accounts, learning, rates
from tollkeeper.ledger.accounts import Accounts
from tollkeeper.ledger.approvals import Approvals, ask, use_up
from tollkeeper.ledger.calls import OpenCall, counted_on, find, write_admitted
from tollkeeper.ledger.delegation import Delegation
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.housekeeping import Housekeeping, renew
from tollkeeper.ledger.journal import append
from tollkeeper.ledger.objects import Objects, own_objects
from tollkeeper.ledger.port import Case
from tollkeeper.ledger.settling import let_go, resolve

_ANSWERS = frozenset({Code.APPROVAL_REJECTED, Code.APPROVAL_LAPSED, Code.APPROVAL_PENDING})

_KINDS = {Effect.ALLOW: "admitted", Effect.CHANGE: "admitted", Effect.HOLD: "held",
          Effect.DENY: "refused"}  # fmt: skip


class SqliteLedger(Delegation, Approvals, Accounts, Objects, Housekeeping):
    """``ledger.port.Ledger`` on SQLite: WAL, one write transaction a verb.

    It may be used from any thread, by one at a time. Reading never waits for writing.

    Args:
        path: The file; made, for its owner alone, when it is not there. Its folder must be.
        owner: The name of this process in what it admits, never used twice; made up when empty.
        operator_key: Checks the seals of verdicts. Without it no verdict releases a call.
        busy_timeout_ms: How long to wait for the write lock. With 0, ``LedgerBusy`` comes at once,
            so that an event loop can try again; opening the file waits regardless.
        durability: ``process``: what was written survives the crash of the process. ``power``: of
            the machine too, at the price of one ``fsync`` a transaction.

    Raises:
        LedgerError: When the file is damaged, not ours, or written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: str = "",
        operator_key: bytes | None = None,
        busy_timeout_ms: int = 5000,
        durability: str = "process",
    ) -> None:
        self._owner = owner or f"{os.getpid()}-{os.urandom(6).hex()}"
        self._operator_key = operator_key
        super().__init__(path, busy_timeout_ms=busy_timeout_ms, durability=durability)

    @property
    def owner(self) -> str:
        """The name of this process in what it admits."""
        return self._owner

    # ---- the way of a call

    def admit(
        self,
        case: Case,
        principal: Principal,
        now_ns: int,
        *,
        again: str | None = None,
        body: bytes = b"",
    ) -> Admission:
        """Judge and write, in one transaction; see the port.

        Raises:
            LedgerError: When ``again`` is no held call of this agent, besides what any verb raises.
        """
        renewing = self._lease_is_due(now_ns)
        with self.transaction() as connection:
            if renewing:
                renew(connection, self._owner, now_ns)
            held = _take_out(connection, again, principal, now_ns) if again else None
            stands = self._standing_now(connection, principal)
            likely = (f"run:{principal.run}", *[f"agent:{one.name}" for one in stands.agents])
            balances = accounts.balances(connection, case.accounts(stands), likely)
            snapshot = self._snapshot(connection, case, principal, stands, balances, held, now_ns)
            decision = case.decide(snapshot)
            call = again or new_call_id(now_ns, os.urandom(16))
            facts = dict(case.record())
            approval = _concerned(case, principal, decision, snapshot.approval, facts, now_ns)
            if decision.effect is Effect.HOLD and approval is not snapshot.approval:
                assert approval is not None
                ask(connection, approval, body)
            subjects, rated = counted_on(decision)
            reservation = accounts.reserve(
                connection, call, subjects, decision.reserve_nano_usd, now_ns,
                forwarded=decision.effect < Effect.HOLD, before=balances,
            )  # fmt: skip
            write_admitted(
                connection, call, case, principal, decision, len(subjects), rated, reservation,
                facts, approval.id if approval else None, self._owner, now_ns,
                again=again is not None,
            )  # fmt: skip
            if decision.effect < Effect.HOLD:
                _release(connection, call, decision, subjects[:rated], snapshot.approval, now_ns)
            append(
                connection, _KINDS[decision.effect], principal.agent, call,
                _told(facts, principal, decision, approval), now_ns,
            )  # fmt: skip
            if approval is not None and decision.effect is Effect.HOLD:
                approval = self._by_id(connection, approval.id, now_ns)  # with one more waiting
        if renewing:  # only now, because what was rolled back has renewed nothing
            self._renewed_ns = now_ns
        return Admission(call, decision, approval)

    def settle(self, call: str, settlement: Settlement, now_ns: int) -> bool:
        """Resolve the reservation, once; see the port.

        A cost of None is booked as nothing and recorded as unknown, except that a priced call whose
        basis is ``reserved`` is booked in full. Prefix and history are learnt from measured usage.

        Raises:
            LedgerError: When there is no such call, or its cost is below 0.
        """
        if settlement.cost_nano_usd is not None and settlement.cost_nano_usd < 0:
            raise LedgerRefusal(f"Call {call} cannot cost less than nothing.")
        with self.transaction() as connection:
            found = _demand(connection, call)
            if found.state not in ("held", "forwarded"):
                return False
            resolve(connection, found, settlement, now_ns, actor=found.agent)
            return True

    def leave(self, call: str, now_ns: int) -> None:
        """The client of a held call is gone or answered: void its reservation; the approval stays.

        Nothing happens to a call that is not held any more.
        """
        with self.transaction() as connection:
            found = _demand(connection, call)
            if found.state == "held":
                let_go(connection, found, now_ns)
                data = {"why": "left", "approval": found.approval}
                append(connection, "left", found.agent, call, data, now_ns)

    def _snapshot(
        self,
        connection: Connection,
        case: Case,
        principal: Principal,
        stands: Standing,
        balances: accounts.Balances,
        held: OpenCall | None,
        now_ns: int,
    ) -> Snapshot:
        agent, digest = principal.agent, case.approval_digest
        lineage = [one.name for one in stands.agents] or [agent]
        approval, others = self._newest(connection, lineage, digest, now_ns)
        if held is not None and held.approval is not None:
            own = self._by_id(connection, held.approval, now_ns)
            if own is not None and own.digest == digest:
                approval = own
        billed, history = learning.known(connection, agent, case.model_key, case.prefixes)
        return Snapshot(
            stands,
            balances.by_account,
            rates.SqliteRateLog(connection, now_ns, balances.in_flight),
            approval,
            billed,
            history,
            others,
            own_objects(connection, agent, *case.objects),
        )


def _demand(connection: Connection, call: str) -> OpenCall:
    found = find(connection, call)
    if found is None:
        raise LedgerRefusal(f"There is no call {call!r}.")
    return found


def _take_out(connection: Connection, call: str, principal: Principal, now_ns: int) -> OpenCall:
    """A held call asks again: what it reserved goes first. One that had left has nothing to take."""
    found = _demand(connection, call)
    if found.agent != principal.agent or found.state not in ("held", "left"):
        raise LedgerError(f"Call {call} is {found.state}: it cannot be admitted again.")
    if found.state == "held":
        let_go(connection, found, now_ns)
    return found


def _concerned(
    case: Case,
    principal: Principal,
    decision: Decision,
    met: Approval | None,
    facts: Mapping[str, Any],
    now_ns: int,
) -> Approval | None:
    """The approval that the call waits on (a new one if need be), uses up or is refused by."""
    if decision.effect is Effect.HOLD:
        if met is not None and met.state == "open":
            return met
        terms = decision.hold
        if terms is None:
            raise LedgerError("A decision to hold came without its terms.")
        summary = {
            **facts,
            "worst_nano_usd": decision.worst_nano_usd or decision.reserve_nano_usd,
            "expected_nano_usd": decision.expected_nano_usd,
        }
        return Approval(
            new_approval_id(os.urandom(16)), case.approval_digest, principal.agent, principal.run,
            terms.rule, "open", summary, now_ns, now_ns + terms.lapses_after_ns,
        )  # fmt: skip
    if decision.consumes is not None:
        return met
    return met if any(reason.code in _ANSWERS for reason in decision.reasons) else None


def _release(
    connection: Connection,
    call: str,
    decision: Decision,
    rated: Sequence[str],
    met: Approval | None,
    now_ns: int,
) -> None:
    """The call goes out: rates are charged, the approval that it consumes is used up."""
    if decision.consumes is not None:
        if met is None or met.id != decision.consumes or met.state != "approved":
            raise LedgerError("A decision uses up an approval that nobody gave.")
        use_up(connection, met.id)
    tokens = decision.bound_input_tokens + decision.bound_output_tokens
    rates.charge(connection, call, rated, tokens, now_ns)


def _told(
    facts: Mapping[str, Any], principal: Principal, decision: Decision, approval: Approval | None
) -> dict[str, Any]:
    """What the record tells of an admission, besides the facts of the call."""
    told: dict[str, Any] = {
        **facts,
        "run": principal.run,
        "token": principal.token_id,
        "effect": decision.effect.name.lower(),
        "reasons": [_reason(reason) for reason in decision.reasons],
        "reserve_nano_usd": decision.reserve_nano_usd,
        "subjects": list(decision.subjects),
        "price_source": decision.price_source,
        "bound_input_tokens": decision.bound_input_tokens,
        "bound_output_tokens": decision.bound_output_tokens,
    }
    if decision.changes:
        changes = decision.changes
        told["changes"] = {
            name: value
            for name, value in (
                ("max_output_tokens", changes.max_output_tokens),
                ("model", changes.model),
                ("provider", changes.provider),
            )
            if value is not None
        }
    if approval is not None:
        told["approval"] = approval.id
    if decision.consumes is not None:
        told["consumes"] = decision.consumes
    return told


def _reason(reason: Any) -> dict[str, Any]:
    plain = {"code": reason.code, "source": reason.source, "message": reason.message}
    if reason.observed:
        plain["observed"] = True
    return plain
