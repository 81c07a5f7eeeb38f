"""A case that decides by a script: the smallest whole judge over budgets, quotas, rates and holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tollkeeper.core.identity import seal, token_sha256
from tollkeeper.core.snapshot import AgentRecord, Snapshot, Standing, TokenRecord
from tollkeeper.domain import (
    Account,
    Basis,
    Billing,
    Code,
    Decision,
    Effect,
    HoldTerms,
    Outcome,
    Principal,
    Reason,
    Settlement,
    Usage,
    Verdict,
    Window,
)
from tollkeeper.ledger.sqlite import SqliteLedger

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_800_000_000 * SECOND  # some second in 2027
OPERATOR_KEY = b"k" * 32

ATLAS = Account("agent:atlas", Window.TOTAL)
ATLAS_TODAY = Account("agent:atlas", Window.DAY, T0 - HOUR, T0 - HOUR + DAY)
TEAM_TODAY = Account("team:research", Window.DAY, T0 - HOUR, T0 - HOUR + DAY)

PRINCIPAL = Principal("atlas", "token-atlas", "atlas:2027-01-15")


@dataclass
class ScriptedCase:
    """Judges by its own fields; keeps the snapshot that it last saw in ``saw``."""

    reserve: int = 100
    budgets: Mapping[Account, int] = field(default_factory=dict)
    quotas: Mapping[Account, int] = field(default_factory=dict)
    subjects: tuple[str, ...] = ("agent:atlas", "team:research")
    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None
    hold: bool = False
    digest: str = "digest"
    prefixes: Sequence[str] = ()
    model_key: str = "openai/gpt-4o"
    bound_input: int = 800
    bound_output: int = 200
    price_source: str | None = "scripted"
    rated: tuple[str, ...] | None = None
    billing: Billing = Billing.METERED
    worst: int | None = None
    expected: int | None = None
    now_ns: int = T0
    named: Sequence[str] = ()
    saw: Snapshot | None = None

    @property
    def approval_digest(self) -> str:
        return self.digest

    @property
    def objects(self) -> tuple[str, Sequence[str]]:
        return "openai", self.named

    def accounts(self, standing: Standing) -> Sequence[Account]:
        return [*self.budgets, *self.quotas]

    def decide(self, snapshot: Snapshot) -> Decision:
        self.saw = snapshot
        reasons = [*self._over(snapshot), *self._rates(snapshot)]
        approval = snapshot.approval
        if self.hold and approval is not None and approval.state == "rejected":
            reasons.append(_deny(Code.APPROVAL_REJECTED))
        if self.hold and approval is not None and approval.state == "lapsed":
            reasons.append(_deny(Code.APPROVAL_LAPSED))
        approved = approval is not None and approval.state == "approved"
        decision = Decision(
            Effect.ALLOW,
            tuple(reasons),
            subjects=self.subjects,
            reserve_nano_usd=self.reserve,
            bound_input_tokens=self.bound_input,
            bound_output_tokens=self.bound_output,
            expected_nano_usd=self.expected,
            price_source=self.price_source,
            rated=self.rated,
            billing=self.billing,
            worst_nano_usd=self.reserve if self.worst is None else self.worst,
        )
        if reasons:
            return replace(decision, effect=Effect.DENY)
        if self.hold and not approved:
            waits = (Reason(Effect.HOLD, Code.APPROVAL_PENDING, "rules.ask", "A person is asked."),)
            terms = HoldTerms(HOUR, "ask")
            return replace(decision, effect=Effect.HOLD, reasons=waits, hold=terms)
        if self.hold and approval is not None:
            return replace(decision, consumes=approval.id)
        return decision

    def _over(self, snapshot: Snapshot) -> list[Reason]:
        over = []
        for account, limit in self.budgets.items():
            balance = snapshot.balances[account]
            stands = balance.spent_nano_usd + balance.reserved_nano_usd + self.reserve
            if stands > limit + balance.credit_nano_usd:
                over.append(_deny(Code.BUDGET_EXHAUSTED))
        over.extend(
            _deny(Code.BUDGET_EXHAUSTED)
            for account, limit in self.quotas.items()
            if snapshot.balances[account].calls >= limit
        )
        return over

    def _rates(self, snapshot: Snapshot) -> list[Reason]:
        over = []
        for subject in self.subjects:
            log = snapshot.rates
            if self.rpm is not None:
                nth_ns = log.nth_newest_ns(subject, self.rpm)
                if nth_ns is not None and nth_ns > self.now_ns - MINUTE:
                    over.append(_deny(Code.RATE_LIMITED))
            if self.tpm is not None:
                used = log.tokens_since(subject, self.now_ns - MINUTE)
                if used + self.bound_input + self.bound_output > self.tpm:
                    over.append(_deny(Code.RATE_LIMITED))
            if self.concurrent is not None and log.in_flight(subject) >= self.concurrent:
                over.append(_deny(Code.RATE_LIMITED))
        return over

    def record(self) -> Mapping[str, Any]:
        return {
            "team": "research",
            "provider": "openai",
            "model": "gpt-4o",
            "operation": "chat",
            "stream": True,
        }


def _deny(code: Code) -> Reason:
    return Reason(Effect.DENY, code, "script", "The script says no.")


def measured(cost: int | None, *, input_tokens: int = 400, output_tokens: int = 80) -> Settlement:
    """What a whole answer comes to."""
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return Settlement(Outcome.COMPLETE, Basis.MEASURED, cost, usage, 200)


NOT_SENT = Settlement(Outcome.NOT_SENT, Basis.MEASURED, 0)


def sealed(
    ledger: SqliteLedger, approval: str, answer: str, at_ns: int, *, note: str = "", by: str = "ada"
) -> Verdict:
    """A verdict as the operator gives it."""
    digest = ledger.approval(approval).digest
    proof = seal(OPERATOR_KEY, approval, digest, answer, by, note, at_ns)
    return Verdict(approval, answer, by, note, at_ns, proof)


def with_atlas(ledger: SqliteLedger) -> SqliteLedger:
    """Make the agent that ``PRINCIPAL`` is."""
    ledger.create_agent(AgentRecord("atlas", "active", created_ns=T0), by="tester")
    ledger.add_token(
        TokenRecord("token-atlas", "atlas", T0), token_sha256("tk_secret"), by="tester"
    )
    return ledger


def only_call(ledger: SqliteLedger) -> dict[str, object]:
    """The row of the one call that there is."""
    [row] = ledger.rows("SELECT * FROM calls")
    return row
