"""Breakdowns add up to the accounts, whatever happened."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.scripted import DAY, HOUR, SECOND, T0, ScriptedCase
from tollkeeper.core.budget import account_for
from tollkeeper.core.snapshot import AgentRecord
from tollkeeper.domain import Account, Basis, Outcome, Principal, Settlement, Usage, Window
from tollkeeper.ledger.breakdown import BASES, DIMENSIONS, Asked, breakdown, summed, total
from tollkeeper.ledger.sqlite import SqliteLedger

ZONE = "America/New_York"
PARENTS = {"atlas": None, "scout": "atlas", "bee": "scout", "lone": None}
TEAMS = {"atlas": "research", "lone": "sales"}


@dataclass
class NamedCase(ScriptedCase):
    """Says who, which team and which model itself."""

    team: str | None = None
    model: str = "gpt-4o"

    def record(self) -> Mapping[str, Any]:
        return {**super().record(), "team": self.team, "model": self.model}


@dataclass(frozen=True)
class Made:
    """One call as it was made."""

    agent: str
    model: str
    run: str
    after_hours: int
    reserve: int
    cost: int | None
    basis: Basis
    ends: str


made = st.builds(
    Made,
    agent=st.sampled_from(sorted(PARENTS)),
    model=st.sampled_from(["gpt-4o", "o3", "claude-opus-4"]),
    run=st.sampled_from(["r1", "r2"]),
    after_hours=st.integers(0, 24 * 9),
    reserve=st.integers(0, 10**10),
    cost=st.none() | st.integers(0, 2 * 10**10),
    basis=st.sampled_from(list(Basis)),
    ends=st.sampled_from(["settled", "settled", "settled", "open", "not_sent", "refused", "left"]),
)


def lineage(agent: str) -> list[str]:
    found, name = [], agent
    while name:
        found.append(name)
        name = PARENTS[name] or ""
    return found


def subjects(call: Made) -> tuple[str, ...]:
    above = lineage(call.agent)
    teams = [f"team:{TEAMS[one]}" for one in above if one in TEAMS]
    return (*(f"agent:{one}" for one in above), *teams, f"run:{call.run}")


@contextmanager
def filled(calls: list[Made], start_ns: int = T0) -> Iterator[SqliteLedger]:
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / "tollkeeper.db", owner="p1:x", operator_key=b"k" * 32)
        for name, parent in PARENTS.items():
            ledger.create_agent(
                AgentRecord(name, "active", parent, created_ns=start_ns), by="tester"
            )
        for call in calls:
            make(ledger, call, start_ns)
        yield ledger
        ledger.close()


def make(ledger: SqliteLedger, call: Made, start_ns: int) -> None:
    at_ns = start_ns + call.after_hours * HOUR
    case = NamedCase(
        reserve=call.reserve, subjects=subjects(call), now_ns=at_ns, hold=call.ends == "left",
        digest=f"{call}", team=TEAMS.get(call.agent), model=call.model,
        quotas={Account("agent:lone", Window.TOTAL): 0} if call.ends == "refused" else {},
    )  # fmt: skip
    admission = ledger.admit(case, Principal(call.agent, "t", call.run, run_is_minted=True), at_ns)
    if call.ends == "settled":
        usage = Usage(input_tokens=10, output_tokens=5)
        done = Settlement(Outcome.COMPLETE, call.basis, call.cost, usage, 200)
        ledger.settle(admission.id, done, at_ns + SECOND)
    elif call.ends == "not_sent":
        done = Settlement(Outcome.NOT_SENT, Basis.MEASURED, 0)
        ledger.settle(admission.id, done, at_ns + SECOND)
    elif call.ends == "left":
        ledger.leave(admission.id, at_ns + SECOND)


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(st.lists(made, max_size=12))
def test_every_breakdown_adds_up_to_its_total_and_to_the_accounts(calls: list[Made]) -> None:
    with filled(calls) as ledger:
        everything = total(ledger, Asked())
        accounts = {one for call in calls for one in subjects(call)}

        for name in DIMENSIONS:
            rows = breakdown(ledger, Asked((name, "day"), timezone=ZONE))
            sums = sum((Counter(amounts(row)) for row in rows), Counter())
            assert dict(sums) == {key: n for key, n in amounts(everything).items() if n}
            assert summed(rows) == ([everything] if calls else [])
        assert everything["cost_nano_usd"] == sum(everything[f"{one}_nano_usd"] for one in BASES)
        for subject in accounts:
            balance = ledger.balance(Account(subject, Window.TOTAL))
            of_subject = total(ledger, Asked(subject=subject))
            assert of_subject["cost_nano_usd"] == balance.spent_nano_usd
            assert of_subject["open_nano_usd"] == balance.reserved_nano_usd


@many
@given(st.lists(made, min_size=1, max_size=10), st.sampled_from(["UTC", ZONE, "Asia/Kolkata"]))
def test_days_and_parents_are_those_of_the_accounts(calls: list[Made], zone: str) -> None:
    with filled(calls) as ledger:
        rows = breakdown(ledger, Asked(("agent", "day"), since_ns=T0, timezone=zone))
        days = {(row["agent"], row["day"]): row["with_children_nano_usd"] for row in rows}
        booked = {
            (one, T0 + call.after_hours * HOUR) for call in calls for one in lineage(call.agent)
        }
        spent = {
            (agent, day_of(at_ns, zone)): ledger.balance(
                account_for(f"agent:{agent}", Window.DAY, at_ns, zone)
            ).spent_nano_usd
            for agent, at_ns in booked
        }

        assert {key: n for key, n in days.items() if n} == {k: n for k, n in spent.items() if n}


def amounts(row: Mapping[str, Any]) -> dict[str, int]:
    return {
        key: value for key, value in row.items()
        if isinstance(value, int) and key != "with_children_nano_usd"
    }  # fmt: skip


def day_of(at_ns: int, zone: str) -> str:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    return f"{datetime.fromtimestamp(at_ns // SECOND, UTC).astimezone(ZoneInfo(zone)):%Y-%m-%d}"


ONE = Made("bee", "o3", "r1", 0, 100, 80, Basis.MEASURED, "settled")


def test_a_call_of_a_child_counts_for_all_above_and_once_in_the_total() -> None:
    with filled([ONE, dataclasses.replace(ONE, agent="atlas", cost=7)]) as ledger:
        rows = {row["agent"]: row for row in breakdown(ledger, Asked(("agent",)))}

        assert {name: row["cost_nano_usd"] for name, row in rows.items()} == {
            "atlas": 7, "scout": 0, "bee": 80,
        }  # fmt: skip
        assert {name: row["with_children_nano_usd"] for name, row in rows.items()} == {
            "atlas": 87, "scout": 80, "bee": 80,
        }  # fmt: skip


def test_a_child_belongs_to_the_team_of_the_nearest_above() -> None:
    with filled([ONE, dataclasses.replace(ONE, agent="lone")]) as ledger:
        rows = breakdown(ledger, Asked(("team",)))

        assert {row["team"]: row["calls"] for row in rows} == {"research": 1, "sales": 1}


def test_each_amount_says_what_it_rests_on() -> None:
    calls = [
        ONE,
        dataclasses.replace(ONE, cost=150, basis=Basis.ESTIMATED),
        dataclasses.replace(ONE, cost=None, basis=Basis.RESERVED),
        dataclasses.replace(ONE, cost=None, basis=Basis.MEASURED),
        dataclasses.replace(ONE, ends="open"),
    ]
    with filled(calls) as ledger:
        sums = total(ledger, Asked())

    assert [sums[f"{one}_nano_usd"] for one in (*BASES, "overrun", "open")] == [
        80,
        150,
        100,
        50,
        100,
    ]
    assert (sums["calls"], sums["unknown_costs"]) == (5, 1)


def test_clocks_that_change_move_the_days_with_them() -> None:
    before = 1_793_491_200 * SECOND  # 2026-11-01T00:00Z: New York leaves summer time at 06:00Z
    calls = [dataclasses.replace(ONE, after_hours=hours, cost=hours) for hours in (3, 4, 28, 29)]
    with filled(calls, before) as ledger:
        rows = breakdown(ledger, Asked(("day",), timezone=ZONE))

    assert {row["day"]: row["cost_nano_usd"] for row in rows} == {
        "2026-10-31": 3, "2026-11-01": 4 + 28, "2026-11-02": 29,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        (Asked(since_ns=T0 + DAY), 1),
        (Asked(until_ns=T0 + DAY), 1),
        (Asked(since_ns=T0, until_ns=T0 + DAY + 1), 2),
        (Asked(run="r2"), 1),
        (Asked(subject="run:r1"), 1),
        (Asked(subject="agent:atlas"), 2),
        (Asked(subject="agent:lone"), 0),
    ],
)
def test_only_what_was_asked_for_is_counted(asked: Asked, calls: int) -> None:
    with filled([ONE, dataclasses.replace(ONE, run="r2", after_hours=24)]) as ledger:
        assert total(ledger, asked)["calls"] == calls


def test_empty_books_have_an_empty_breakdown() -> None:
    with filled([]) as ledger:
        assert breakdown(ledger, Asked(("model", "day"), timezone=ZONE)) == []
        assert total(ledger, Asked())["cost_nano_usd"] == 0
