"""Budgets and quotas: reservations, windows and credits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.conftest import Opener
from ledger.scripted import (
    ATLAS,
    ATLAS_TODAY,
    DAY,
    HOUR,
    PRINCIPAL,
    T0,
    TEAM_TODAY,
    ScriptedCase,
    measured,
    only_call,
)
from tollkeeper.domain import Account, Balance, Code, Effect, Window
from tollkeeper.errors import UsageError
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

BUDGET = {ATLAS: 250}


def test_admitted_call_reserves_its_worst_case_on_every_subject(ledger: SqliteLedger) -> None:
    admission = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    assert admission.effect is Effect.ALLOW
    assert ledger.balance(ATLAS) == Balance(0, 100, 1)
    assert ledger.balance(TEAM_TODAY) == Balance(0, 100, 1)


def test_admission_is_refused_when_settled_and_reserved_leave_too_little(
    ledger: SqliteLedger,
) -> None:
    first = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)
    ledger.settle(first.id, measured(90), T0)
    ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    refused = ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0)

    assert refused.effect is Effect.DENY
    assert refused.decision.reasons[0].code is Code.BUDGET_EXHAUSTED
    assert ledger.balance(ATLAS) == Balance(90, 100, 1 + 1)


def test_denied_call_leaves_a_row_and_a_record_and_nothing_that_stands(
    ledger: SqliteLedger,
) -> None:
    ledger.admit(ScriptedCase(budgets={ATLAS: 0}), PRINCIPAL, T0)

    assert ledger.balance(ATLAS) == Balance()
    assert only_call(ledger)["state"] == "refused"
    assert only_call(ledger)["codes"] == '["budget_exhausted"]'
    assert ledger.audit()[-1]["kind"] == "refused"
    assert list(ledger.rows("SELECT * FROM transfers")) == []


def test_quota_counts_calls_of_its_window(ledger: SqliteLedger) -> None:
    case = ScriptedCase(quotas={ATLAS_TODAY: 2})
    effects = [ledger.admit(case, PRINCIPAL, T0 + n).effect for n in range(3)]
    tomorrow = replace(
        ATLAS_TODAY, starts_ns=ATLAS_TODAY.starts_ns + DAY, resets_ns=T0 - HOUR + 2 * DAY
    )

    assert effects == [Effect.ALLOW, Effect.ALLOW, Effect.DENY]
    later = ScriptedCase(quotas={tomorrow: 2})
    assert ledger.admit(later, PRINCIPAL, T0 + DAY).effect is Effect.ALLOW


def test_settlement_counts_in_the_windows_of_its_admission(ledger: SqliteLedger) -> None:
    tomorrow = Account("agent:atlas", Window.DAY, T0 - HOUR + DAY, T0 - HOUR + 2 * DAY)
    late = T0 - HOUR + DAY - 1
    admission = ledger.admit(ScriptedCase(budgets={ATLAS_TODAY: 1000}), PRINCIPAL, late)
    ledger.admit(ScriptedCase(budgets={tomorrow: 1000}, reserve=7), PRINCIPAL, late + 1)

    ledger.settle(admission.id, measured(60), late + HOUR)

    assert ledger.balance(ATLAS_TODAY) == Balance(60, 0, 1)
    assert ledger.balance(tomorrow) == Balance(0, 7, 1)
    assert ledger.balance(ATLAS) == Balance(60, 7, 2)


def test_limit_added_in_mid_window_counts_what_was_spent_before(ledger: SqliteLedger) -> None:
    for number in range(3):
        admission = ledger.admit(ScriptedCase(), PRINCIPAL, T0 + number)
        if number < 2:
            ledger.settle(admission.id, measured(60), T0 + number)
    case = ScriptedCase(budgets={ATLAS_TODAY: 10_000})

    ledger.admit(case, PRINCIPAL, T0 + 10)

    assert case.saw is not None
    assert case.saw.balances[ATLAS_TODAY] == Balance(120, 100, 3)
    assert ledger.balance(ATLAS_TODAY) == Balance(120, 200, 4)
    assert verify(ledger) == []


def test_window_that_is_asked_for_late_counts_a_call_of_its_first_nanosecond(
    ledger: SqliteLedger,
) -> None:
    hour = Account("agent:atlas", Window.HOUR, T0, T0 + HOUR)
    ledger.admit(ScriptedCase(), PRINCIPAL, T0)

    ledger.admit(ScriptedCase(budgets={hour: 1000}), PRINCIPAL, T0 + 1)

    assert ledger.balance(hour) == Balance(0, 200, 2)


def test_window_asked_for_late_counts_what_processes_with_other_clocks_booked(
    ledger: SqliteLedger,
) -> None:
    times = [T0 + 2 * HOUR, T0 + HOUR - 1, T0 + 2 * HOUR + 1, T0 + HOUR, T0 + 3 * HOUR - 1]
    for at_ns in times:
        ledger.settle(ledger.admit(ScriptedCase(), PRINCIPAL, at_ns).id, measured(7), T0 + DAY)

    for start in range(4):
        hour = Account("agent:atlas", Window.HOUR, T0 + start * HOUR, T0 + (start + 1) * HOUR)
        booked = sum(start == (at_ns - T0) // HOUR for at_ns in times)
        assert ledger.balance(hour) == Balance(7 * booked, 0, booked)
    assert verify(ledger) == []


def test_window_begins_at_its_first_nanosecond_and_ends_before_its_last(
    ledger: SqliteLedger,
) -> None:
    start, end = T0 + HOUR, T0 + 2 * HOUR
    hour = Account("agent:atlas", Window.HOUR, start, end)
    for at_ns in (start - 1, start, end - 1, end):
        ledger.admit(ScriptedCase(), PRINCIPAL, at_ns)

    assert ledger.balance(hour).calls == 2
    assert ledger.balance(replace(hour, starts_ns=start - 1)).calls == 3


def test_credit_is_added_to_its_window_alone(ledger: SqliteLedger) -> None:
    tomorrow = Account("agent:atlas", Window.DAY, T0 - HOUR + DAY, T0 - HOUR + 2 * DAY)
    full = ScriptedCase(budgets={ATLAS_TODAY: 0})
    assert ledger.admit(full, PRINCIPAL, T0).effect is Effect.DENY

    ledger.credit(ATLAS_TODAY, 150, T0, "ada")

    assert ledger.balance(ATLAS_TODAY) == Balance(0, 0, 0, 150)
    assert ledger.balance(tomorrow) == ledger.balance(ATLAS) == Balance()
    assert ledger.admit(full, PRINCIPAL, T0 + 1).effect is Effect.ALLOW
    assert ledger.admit(full, PRINCIPAL, T0 + 2).effect is Effect.DENY
    assert verify(ledger) == []


def test_credit_can_be_taken_back_as_far_as_it_was_given(ledger: SqliteLedger) -> None:
    ledger.credit(ATLAS, 150, T0, "ada")
    ledger.credit(ATLAS, -50, T0 + 1, "ada")

    with pytest.raises(UsageError, match="not that much credit"):
        ledger.credit(ATLAS, -101, T0 + 2, "ada")

    assert ledger.balance(ATLAS).credit_nano_usd == 100
    assert [r["actor"] for r in ledger.audit() if r["kind"] == "credit"] == ["ada", "ada"]
    assert verify(ledger) == []


def test_looking_at_a_balance_takes_no_lock(ledger: SqliteLedger, opener: Opener) -> None:
    other = opener(busy_timeout_ms=0)
    with ledger.transaction():
        assert other.balance(ATLAS_TODAY) == Balance()
        assert other.agents()[0].name == "atlas"


def test_refusal_that_raises_leaves_nothing_behind(ledger: SqliteLedger) -> None:
    class Broken(ScriptedCase):
        def record(self) -> dict[str, object]:
            raise ZeroDivisionError

    records = len(ledger.audit())

    with pytest.raises(ZeroDivisionError):
        ledger.admit(Broken(budgets=BUDGET), PRINCIPAL, T0)

    assert ledger.balance(ATLAS) == Balance()
    assert len(ledger.audit()) == records
    assert ledger.admit(ScriptedCase(budgets=BUDGET), PRINCIPAL, T0).effect is Effect.ALLOW
