from __future__ import annotations

import dataclasses

import pytest

from ledger.scripted import HOUR, T0
from ledger.test_breakdown import ONE, filled
from tollkeeper.ledger import extracts

TAKEN = {"calls": extracts.calls, "transfers": extracts.transfers, "audit": extracts.audit}


@pytest.mark.parametrize("what", TAKEN)
def test_rows_hold_the_promised_columns_oldest_first(what: str) -> None:
    with filled([dataclasses.replace(ONE, after_hours=hours) for hours in (0, 1, 2)]) as ledger:
        rows = list(TAKEN[what](ledger))

    assert {tuple(row) for row in rows} == {extracts.COLUMNS[what]}
    assert [row["at_ns"] for row in rows] == sorted(row["at_ns"] for row in rows)


@pytest.mark.parametrize("what", ["calls", "transfers"])
def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(what: str) -> None:
    with filled([dataclasses.replace(ONE, after_hours=hours) for hours in (0, 1, 2)]) as ledger:
        rows = list(TAKEN[what](ledger, T0 + HOUR, T0 + 2 * HOUR))

    assert {row["booked_ns"] for row in rows} == {T0 + HOUR}
