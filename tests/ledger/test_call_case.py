"""The real judge over the real books: a policy's limits hold from admission to settlement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.scripted import MINUTE, PRINCIPAL, T0, measured, sealed
from tollkeeper.core.decide import CallCase
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import (
    Account,
    Admission,
    Balance,
    Call,
    Code,
    Dialect,
    Effect,
    Limits,
    Mode,
    Policy,
    Price,
    Provider,
    Rule,
    Turn,
    Window,
)
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

USD_PER_MILLION = 10**9
PROVIDER = Provider(
    "lab",
    ("lab.example",),
    "openai",
    prices={"*": (Price({"input": 1 * USD_PER_MILLION, "output": 4 * USD_PER_MILLION}),)},
)
CALL = Call(
    "lab",
    Dialect.OPENAI_CHAT,
    "chat",
    metered=True,
    model="small",
    head_bound_tokens=100,
    turns=(Turn("a1", 900),),
    max_output_tokens=250,
    approval_digest="d",
)
WORST = 1000 * 1000 + 250 * 4000  # nano-USD
ATLAS = Account("agent:atlas", Window.TOTAL)
POLICY = Policy(
    "digest",
    Mode.ENFORCE,
    "UTC",
    {"lab": PROVIDER},
    agents={"atlas": Limits(budget_nano_usd={Window.TOTAL: 3 * WORST})},
)


def admit(
    ledger: SqliteLedger,
    policy: Policy = POLICY,
    call: Call = CALL,
    now_ns: int = T0,
    again: str | None = None,
) -> Admission:
    sheet = PriceBook(policy).sheet("lab", "small", now_ns)
    case = CallCase(call, PRINCIPAL, policy, sheet, now_ns)
    return ledger.admit(case, PRINCIPAL, now_ns, again=again)


def test_budget_holds_its_worst_cases_and_no_more(ledger: SqliteLedger) -> None:
    admissions = [admit(ledger) for _ in range(4)]

    assert [a.effect for a in admissions] == [Effect.ALLOW] * 3 + [Effect.DENY]
    assert admissions[3].decision.reasons[0].code is Code.BUDGET_EXHAUSTED
    assert ledger.balance(ATLAS) == Balance(0, 3 * WORST, 3)
    for admission in admissions[:3]:
        ledger.settle(admission.id, measured(WORST // 2), T0 + 1)
    assert admit(ledger, now_ns=T0 + 2).effect is Effect.ALLOW
    assert verify(ledger) == []


def test_row_of_the_call_says_what_it_was(ledger: SqliteLedger) -> None:
    admit(ledger)

    [row] = ledger.rows("SELECT * FROM calls")

    assert (row["provider"], row["model"], row["operation"]) == ("lab", "small", "chat")
    assert (row["agent"], row["run"], row["stream"]) == ("atlas", PRINCIPAL.run, 0)
    assert (row["worst_nano_usd"], row["bound_input_tokens"]) == (WORST, 1000)


@pytest.mark.parametrize("limits", [Limits(rpm=2), Limits(tpm=2500)], ids=["rpm", "tpm"])
def test_wait_that_a_refusal_names_is_enough_and_minimal(
    ledger: SqliteLedger, limits: Limits
) -> None:
    policy = replace(POLICY, agents={"atlas": limits})
    admit(ledger, policy, now_ns=T0)
    admit(ledger, policy, now_ns=T0 + MINUTE // 3)

    refused = admit(ledger, policy, now_ns=T0 + MINUTE // 2)
    wait_ns = refused.decision.reasons[0].retry_after_ns

    assert refused.decision.reasons[0].code is Code.RATE_LIMITED
    assert wait_ns is not None
    too_early = admit(ledger, policy, now_ns=T0 + MINUTE // 2 + wait_ns - 1)
    assert too_early.effect is Effect.DENY
    assert admit(ledger, policy, now_ns=T0 + MINUTE // 2 + wait_ns).effect is Effect.ALLOW


def test_held_call_is_released_by_a_verdict(ledger: SqliteLedger) -> None:
    rule = Rule("ask", Effect.HOLD, lambda facts: True)
    policy = replace(POLICY, rules=(rule,))
    held = admit(ledger, policy)
    assert held.approval is not None
    assert (held.effect, held.approval.rule) == (Effect.HOLD, "ask")

    ledger.give_verdict(sealed(ledger, held.approval.id, "approved", T0 + 1))
    released = admit(ledger, policy, now_ns=T0 + 2, again=held.id)

    assert released.effect is Effect.ALLOW
    assert released.decision.consumes == held.approval.id
    assert ledger.balance(ATLAS) == Balance(0, WORST, 1)
    assert verify(ledger) == []


def test_next_turn_is_bound_by_what_the_last_one_was_billed(ledger: SqliteLedger) -> None:
    first = admit(ledger)
    ledger.settle(first.id, measured(1, input_tokens=300), T0 + 1)

    longer = replace(CALL, turns=(*CALL.turns, Turn("a2", 50)))
    second = admit(ledger, call=longer, now_ns=T0 + 2)

    assert 300 <= second.decision.bound_input_tokens < first.decision.bound_input_tokens


def test_revoked_token_is_refused_at_the_next_admission(ledger: SqliteLedger) -> None:
    ledger.revoke_tokens("atlas", T0, by="tester")

    refused = admit(ledger, now_ns=T0 + 1)

    assert refused.effect is Effect.DENY
    assert refused.decision.reasons[0].code is Code.UNKNOWN_AGENT
    assert ledger.balance(ATLAS) == Balance()
