"""What is known between transactions is what the file says."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.scripted import HOUR, PRINCIPAL, T0, ScriptedCase, measured, with_atlas
from tollkeeper.domain import Account, Window
from tollkeeper.errors import UsageError
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "hold", "settle", "leave", "credit"]),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([1, HOUR // 2, HOUR * 2]),
    ),
    max_size=25,
)


def standing_at(now_ns: int) -> dict[Account, int]:
    """An account of every kind of window, as they are at this hour."""
    starts_ns = now_ns - now_ns % HOUR
    return dict.fromkeys(
        [
            Account("agent:atlas", Window.TOTAL),
            Account("agent:atlas", Window.HOUR, starts_ns, starts_ns + HOUR),
            Account("team:research", Window.HOUR, starts_ns, starts_ns + HOUR),
            Account("run:nightly", Window.RUN),
        ],
        10**9,
    )


@given(STEPS)
def test_known_balances_are_those_of_the_file(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledgers = [with_atlas(SqliteLedger(path)), SqliteLedger(path)]
        looks = SqliteLedger(path)
        now_ns, open_calls = T0, []
        for step, which, later_ns in steps:
            now_ns += later_ns
            ledger, accounts = ledgers[which], standing_at(now_ns)
            if step in ("admit", "hold"):
                held = step == "hold"
                case = ScriptedCase(
                    budgets=accounts, subjects=("agent:atlas", "team:research", "run:nightly"),
                    hold=held, now_ns=now_ns,
                )  # fmt: skip
                stood = {one: looks.balance(one) for one in accounts}
                open_calls.append((ledger.admit(case, PRINCIPAL, now_ns).id, held))
                assert case.saw is not None
                assert case.saw.balances == stood
            elif step == "credit":
                ledger.credit(next(iter(accounts)), 5, now_ns, "somebody")
            elif open_calls:
                call, held = open_calls.pop(0)
                if held or step == "leave":
                    ledger.leave(call, now_ns)
                if not held:
                    ledger.settle(call, measured(60), now_ns)
        assert verify(looks) == []
        for one in (*ledgers, looks):
            one.close()


def test_what_was_undone_is_not_known(tmp_path: Path) -> None:
    ledger = with_atlas(SqliteLedger(tmp_path / "ledger.db"))
    accounts = standing_at(T0)

    def admit() -> ScriptedCase:
        case = ScriptedCase(budgets=accounts, subjects=("agent:atlas",))
        ledger.admit(case, PRINCIPAL, T0)
        return case

    admit()

    def admit_and_fail() -> None:
        with ledger.group():
            admit()
            ledger.credit(next(iter(accounts)), -1, T0, "somebody")

    with pytest.raises(UsageError):
        admit_and_fail()
    case = admit()

    assert case.saw is not None
    assert [case.saw.balances[one].calls for one in accounts] == [1, 1, 0, 0]
    ledger.close()
