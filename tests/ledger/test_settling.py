"""How calls end on the books."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.scripted import (
    ATLAS,
    ATLAS_TODAY,
    NOT_SENT,
    PRINCIPAL,
    T0,
    ScriptedCase,
    measured,
    only_call,
)
from tollkeeper.domain import Balance, Basis, Billing, Effect, Outcome, Settlement
from tollkeeper.errors import LedgerError
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

BUDGET = {ATLAS: 250}


def test_settlement_books_the_cost_and_gives_back_the_rest(ledger: SqliteLedger) -> None:
    admission = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    assert ledger.settle(admission.id, measured(60), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(60, 0, 1)
    row = only_call(ledger)
    assert (row["state"], row["cost_nano_usd"], row["basis"]) == ("settled", 60, "measured")
    assert (row["input_tokens"], row["output_tokens"], row["status"]) == (400, 80, 200)


def test_second_settlement_changes_nothing(ledger: SqliteLedger) -> None:
    admission = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)
    ledger.settle(admission.id, measured(60), T0 + 1)
    records = len(ledger.audit())

    assert not ledger.settle(admission.id, measured(99), T0 + 2)

    assert ledger.balance(ATLAS) == Balance(60, 0, 1)
    assert len(ledger.audit()) == records


def test_cost_above_the_reservation_is_booked_in_full_as_overrun(ledger: SqliteLedger) -> None:
    admission = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    ledger.settle(admission.id, measured(260), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(260, 0, 1)
    kinds = ledger.rows(
        "SELECT kind, amount_nano_usd AS n FROM transfers WHERE subject = 'agent:atlas' ORDER BY id"
    )
    assert [(r["kind"], r["n"]) for r in kinds] == [
        ("pending", 100),
        ("post", 100),
        ("overrun", 160),
    ]
    assert ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0).effect is Effect.DENY
    assert verify(ledger) == []


def test_call_that_was_not_sent_gives_back_money_and_quota(ledger: SqliteLedger) -> None:
    case = ScriptedCase(budgets=BUDGET, quotas={ATLAS_TODAY: 1})
    admission = ledger.admit(case, PRINCIPAL, T0)
    assert ledger.admit(case, PRINCIPAL, T0).effect is Effect.DENY

    ledger.settle(admission.id, NOT_SENT, T0 + 1)

    assert ledger.balance(ATLAS) == Balance()
    assert ledger.admit(case, PRINCIPAL, T0).effect is Effect.ALLOW


def test_unknown_cost_books_nothing_and_is_recorded_as_unknown(ledger: SqliteLedger) -> None:
    case = ScriptedCase(reserve=0, price_source=None)
    admission = ledger.admit(case, PRINCIPAL, T0)

    ledger.settle(admission.id, measured(None), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(0, 0, 1)
    assert only_call(ledger)["cost_nano_usd"] is None
    assert verify(ledger) == []


def test_priced_call_that_nobody_measured_is_never_booked_as_free(ledger: SqliteLedger) -> None:
    admission = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    ledger.settle(admission.id, Settlement(Outcome.CUT, Basis.RESERVED, None), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(100, 0, 1)


def test_negative_cost_is_an_error_and_the_reservation_stands(ledger: SqliteLedger) -> None:
    admission = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    with pytest.raises(LedgerError, match="less than nothing"):
        ledger.settle(admission.id, measured(-1), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(0, 100, 1)


def test_settling_an_unknown_call_is_an_error(ledger: SqliteLedger) -> None:
    with pytest.raises(LedgerError, match="no call"):
        ledger.settle("call_nowhere", measured(1), T0)


def test_free_call_on_no_subject_can_be_settled(ledger: SqliteLedger) -> None:
    case = ScriptedCase(subjects=(), reserve=0, model_key="", price_source=None)
    admission = ledger.admit(case, PRINCIPAL, T0)

    assert ledger.settle(admission.id, measured(0), T0 + 1)

    assert verify(ledger) == []


FLAT = ScriptedCase(budgets=BUDGET, reserve=0, worst=100, billing=Billing.FLAT)


def paid(row: dict[str, object]) -> tuple[object, ...]:
    """What a call's row says of who paid how much."""
    return row["billing"], row["cost_nano_usd"], row["notional_nano_usd"]


def test_plan_that_does_not_count_leaves_every_budget_as_it_was(ledger: SqliteLedger) -> None:
    admission = ledger.admit(FLAT, PRINCIPAL, T0)
    assert paid(only_call(ledger)) == ("flat", None, 100)

    settlement = replace(measured(0), notional_nano_usd=60)
    ledger.settle(admission.id, settlement, T0 + 1)

    assert ledger.balance(ATLAS) == Balance(0, 0, 1)
    assert paid(only_call(ledger)) == ("flat", 0, 60)
    assert verify(ledger) == []


def test_plan_that_counts_is_booked_at_its_notional_cost(ledger: SqliteLedger) -> None:
    case = ScriptedCase(budgets=BUDGET, billing=Billing.FLAT_COUNTED)
    admission = ledger.admit(case, PRINCIPAL, T0)

    ledger.settle(admission.id, replace(measured(60), notional_nano_usd=60), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(60, 0, 1)
    assert paid(only_call(ledger)) == ("flat_counted", 60, 60)
    assert verify(ledger) == []


def test_what_turns_out_to_be_money_is_booked_in_full(ledger: SqliteLedger) -> None:
    admission = ledger.admit(FLAT, PRINCIPAL, T0)

    ledger.settle(admission.id, replace(measured(60), billing=Billing.METERED), T0 + 1)

    assert ledger.balance(ATLAS) == Balance(60, 0, 1)
    assert paid(only_call(ledger)) == ("metered", 60, None)
    assert verify(ledger) == []


@pytest.mark.parametrize(
    ("outcome", "basis", "notional"),
    [
        (Outcome.RECOVERED, Basis.RESERVED, 100),
        (Outcome.CUT, Basis.RESERVED, 100),
        (Outcome.PROVIDER_ERROR, Basis.MEASURED, 0),
        (Outcome.NOT_SENT, Basis.MEASURED, 0),
    ],
)
def test_notional_cost_that_nobody_measured_is_the_worst_case_or_nothing(
    ledger: SqliteLedger, outcome: Outcome, basis: Basis, notional: int
) -> None:
    admission = ledger.admit(FLAT, PRINCIPAL, T0)

    ledger.settle(admission.id, Settlement(outcome, basis, None), T0 + 1)

    assert ledger.balance(ATLAS).spent_nano_usd == 0
    assert paid(only_call(ledger)) == ("flat", 0, notional)
    assert verify(ledger) == []


def test_notional_cost_that_was_changed_behind_the_record_is_found(ledger: SqliteLedger) -> None:
    admission = ledger.admit(FLAT, PRINCIPAL, T0)
    ledger.settle(admission.id, replace(measured(0), notional_nano_usd=60), T0 + 1)

    with ledger.transaction() as connection:
        connection.execute("UPDATE calls SET notional_nano_usd = 1")

    [finding] = verify(ledger)
    assert "notional cost 1, and the record says 60" in finding.message
