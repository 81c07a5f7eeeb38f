"""Leases and recovery: what dead processes left is booked, what living ones have is not touched."""

from __future__ import annotations

import pytest

from ledger.conftest import Opener
from ledger.scripted import ATLAS, PRINCIPAL, SECOND, T0, ScriptedCase, measured
from tollkeeper.domain import Balance
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.housekeeping import LEASE_NS
from tollkeeper.ledger.sqlite import SqliteLedger

CASE = ScriptedCase(budgets={ATLAS: 10_000}, concurrent=10)
HOLD = ScriptedCase(budgets={ATLAS: 10_000}, hold=True)


def everybody(owner: str) -> bool:
    return True


def nobody(owner: str) -> bool:
    return False


def test_forwarded_call_of_a_dead_owner_is_booked_in_full(
    ledger: SqliteLedger, opener: Opener
) -> None:
    dead = opener(owner="dead")
    dead.admit(CASE, PRINCIPAL, T0)

    assert ledger.recover(nobody, T0 + SECOND) == 1
    assert ledger.recover(nobody, T0 + SECOND) == 0

    assert ledger.balance(ATLAS) == Balance(100, 0, 1)
    [call] = ledger.rows("SELECT * FROM calls")
    assert (call["outcome"], call["basis"], call["cost_nano_usd"]) == ("recovered", "reserved", 100)
    [flying] = ledger.rows("SELECT sum(in_flight) AS n FROM balances")
    assert flying["n"] == 0
    assert ledger.audit()[-1]["kind"] == "recovered"
    assert verify(ledger) == []


def test_held_call_of_a_dead_owner_is_voided_and_waits_no_more(
    ledger: SqliteLedger, opener: Opener
) -> None:
    held = opener(owner="dead").admit(HOLD, PRINCIPAL, T0)
    assert held.approval is not None

    assert ledger.recover(nobody, T0 + SECOND) == 1

    assert ledger.balance(ATLAS) == Balance()
    approval = ledger.approval(held.approval.id)
    assert (approval.state, approval.waiting) == ("open", 0)
    assert verify(ledger) == []


@pytest.mark.parametrize(
    ("case", "cost"),
    [
        pytest.param(ScriptedCase(reserve=0, price_source=None), None, id="no price"),
        pytest.param(ScriptedCase(reserve=0), None, id="a price, and nothing that bounds it"),
        pytest.param(ScriptedCase(reserve=0, expected=0), 0, id="a price of nothing"),
    ],
)
def test_call_whose_worst_case_is_not_known_is_recovered_as_unknown(
    ledger: SqliteLedger, opener: Opener, case: ScriptedCase, cost: int | None
) -> None:
    opener(owner="dead").admit(case, PRINCIPAL, T0)

    ledger.recover(nobody, T0 + SECOND)

    [call] = ledger.rows("SELECT * FROM calls")
    assert (call["outcome"], call["cost_nano_usd"]) == ("recovered", cost)


def test_calls_of_a_living_process_are_never_touched(ledger: SqliteLedger, opener: Opener) -> None:
    opener(owner="alive").admit(CASE, PRINCIPAL, T0)

    assert ledger.recover(everybody, T0 + LEASE_NS - 1) == 0

    assert ledger.balance(ATLAS) == Balance(0, 100, 1)


def test_lease_that_was_not_renewed_ends_even_where_nobody_can_ask_the_process(
    ledger: SqliteLedger, opener: Opener
) -> None:
    opener(owner="elsewhere").admit(CASE, PRINCIPAL, T0)

    assert ledger.recover(everybody, T0 + LEASE_NS) == 1


def test_renewed_lease_goes_on(ledger: SqliteLedger, opener: Opener) -> None:
    other = opener(owner="elsewhere")
    other.admit(CASE, PRINCIPAL, T0)

    other.take_lease("elsewhere", T0 + LEASE_NS - 1)

    assert ledger.recover(everybody, T0 + LEASE_NS) == 0


def test_admissions_renew_the_lease_by_themselves(ledger: SqliteLedger, opener: Opener) -> None:
    other = opener(owner="elsewhere")
    for quarter in range(8):
        other.admit(CASE, PRINCIPAL, T0 + quarter * LEASE_NS // 4)

    assert ledger.recover(everybody, T0 + 2 * LEASE_NS) == 0


def test_lease_of_an_admission_that_was_undone_is_taken_by_the_next(
    ledger: SqliteLedger, opener: Opener
) -> None:
    class Broken(ScriptedCase):
        def record(self) -> dict[str, object]:
            raise ZeroDivisionError

    other = opener(owner="elsewhere")
    with pytest.raises(ZeroDivisionError):
        other.admit(Broken(), PRINCIPAL, T0)
    other.admit(CASE, PRINCIPAL, T0 + 1)

    assert ledger.recover(everybody, T0 + 2) == 0


def test_own_calls_are_never_recovered(ledger: SqliteLedger) -> None:
    ledger.admit(CASE, PRINCIPAL, T0)

    assert ledger.recover(nobody, T0 + 10 * LEASE_NS) == 0


def test_name_of_the_lease_is_the_owner_of_what_is_admitted(ledger: SqliteLedger) -> None:
    ledger.take_lease("host/1/2", T0)
    ledger.admit(CASE, PRINCIPAL, T0)

    assert [row["owner"] for row in ledger.rows("SELECT owner FROM calls")] == ["host/1/2"]


def test_settlement_that_comes_after_the_recovery_is_too_late(
    ledger: SqliteLedger, opener: Opener
) -> None:
    stalled = opener(owner="stalled")
    admission = stalled.admit(CASE, PRINCIPAL, T0)
    ledger.recover(everybody, T0 + LEASE_NS)

    assert not stalled.settle(admission.id, measured(60), T0 + LEASE_NS + 1)

    assert ledger.balance(ATLAS) == Balance(100, 0, 1)


def test_call_that_was_recovered_while_it_was_held_may_go_on(
    ledger: SqliteLedger, opener: Opener
) -> None:
    stalled = opener(owner="stalled")
    held = stalled.admit(HOLD, PRINCIPAL, T0)
    ledger.recover(everybody, T0 + LEASE_NS)

    again = stalled.admit(HOLD, PRINCIPAL, T0 + LEASE_NS + 1, again=held.id)

    assert again.id == held.id
    assert ledger.balance(ATLAS) == Balance(0, 100, 1)
    assert ledger.recover(everybody, T0 + LEASE_NS + 2) == 0
    assert verify(ledger) == []
