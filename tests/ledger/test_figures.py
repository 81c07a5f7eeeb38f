"""Sums over all calls: what is remembered and what is read anew together are the books."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.scripted import PRINCIPAL, ScriptedCase, measured
from tollkeeper.domain import NS_PER_SECOND, Billing
from tollkeeper.ledger.figures import SETTLED_AFTER_NS, Figures
from tollkeeper.ledger.sqlite import SqliteLedger

START_NS = 1_790_000_000 * NS_PER_SECOND


@pytest.fixture
def books(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(tmp_path / "books.db")
    yield ledger
    ledger.close()


def counted(figures: Figures, now_ns: int) -> tuple[int, int]:
    sums = figures.sums(now_ns).values()
    return sum(one["calls"] for one in sums), sum(one["cost_nano_usd"] for one in sums)


def test_what_was_read_once_is_not_counted_twice(books: SqliteLedger) -> None:
    figures = Figures(books)
    for expected in range(1, 7):
        now_ns = START_NS + expected * SETTLED_AFTER_NS
        call = books.admit(ScriptedCase(), PRINCIPAL, now_ns).id
        books.settle(call, measured(7), now_ns)

        assert counted(figures, now_ns) == (expected, 7 * expected)
        assert counted(figures, now_ns) == (expected, 7 * expected)
    assert sum(one["calls"] for one in figures.known.values()) > 0


def test_call_that_stays_open_for_hours_is_counted_when_it_ends(books: SqliteLedger) -> None:
    figures = Figures(books)
    slow = books.admit(ScriptedCase(), PRINCIPAL, START_NS).id
    for hour in range(1, 4):
        now_ns = START_NS + hour * 3600 * NS_PER_SECOND
        books.settle(books.admit(ScriptedCase(), PRINCIPAL, now_ns).id, measured(1), now_ns)
        assert counted(figures, now_ns + 2 * SETTLED_AFTER_NS) == (hour, hour)

    books.settle(slow, measured(100), now_ns)

    assert counted(figures, now_ns + 2 * SETTLED_AFTER_NS) == (4, 103)


def test_what_is_open_is_told_apart(books: SqliteLedger) -> None:
    figures = Figures(books)
    books.admit(ScriptedCase(), PRINCIPAL, START_NS)

    now = figures.now()

    assert (now.in_flight, now.waiting, now.approvals) == (1, 0, 0)
    assert now.reserved_nano_usd == 100


def test_what_plans_paid_is_in_no_sum_of_money(books: SqliteLedger) -> None:
    for billing in Billing:
        call = books.admit(ScriptedCase(billing=billing), PRINCIPAL, START_NS).id
        notional = None if billing is Billing.METERED else 7
        made = replace(measured(0 if billing is Billing.FLAT else 7), notional_nano_usd=notional)
        books.settle(call, made, START_NS)

    [sums] = Figures(books).sums(START_NS + 2 * SETTLED_AFTER_NS).values()

    assert (sums["cost_nano_usd"], sums["notional_nano_usd"]) == (7, 14)
