from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.reconcile import ADVICE, Cause, Comparison, Tolerance, compare
from tollkeeper.core.statement import Figures, Key, Statement
from tollkeeper.domain import NANO_PER_USD

DAY, NEXT = "2026-11-20", "2026-11-21"
EXACT = Tolerance()


def booked(day: str = DAY, model: str = "gpt-4o-2024-08-06", **more: Any) -> dict[str, Any]:
    return {
        "provider": "openai", "day": day, "model": model, "cost_nano_usd": NANO_PER_USD,
        "estimated_nano_usd": 0, "reserved_nano_usd": 0, "open_nano_usd": 0, "unknown_costs": 0,
        "sent": 2, "input_tokens": 100, "output_tokens": 50, **more,
    }  # fmt: skip


def billed(cost: str | None = "1", day: str = DAY, model: str = "gpt-4o", **more: Any) -> Statement:
    statement = Statement("plain")
    amount = None if cost is None else Decimal(cost)
    statement.add(Key("openai", day, model), Figures(amount, **more))
    return statement


def cause(compared: Comparison) -> Cause | None:
    [row] = compared.rows
    return row.cause


def test_dated_names_of_one_model_agree() -> None:
    compared = compare(billed(), [booked(), booked(model="gpt-4o", cost_nano_usd=0)], EXACT)

    assert compared.agrees
    assert [row.ours.requests for row in compared.rows] == [4]


@pytest.mark.parametrize(
    ("statement", "row", "why"),
    [
        (billed(), None, Cause.NOT_THROUGH_US),
        (billed("0", model="o3"), booked(), Cause.NOT_IN_FILE),
        (billed("2"), booked(unknown_costs=1), Cause.UNKNOWN_PRICE),
        (billed("1"), booked(unknown_costs=1), Cause.UNKNOWN_PRICE),
        (billed("2"), booked(open_nano_usd=NANO_PER_USD), Cause.OPEN),
        (billed("2"), booked(open_nano_usd=NANO_PER_USD - 1), Cause.UNEXPLAINED),
        (billed("0.5"), booked(open_nano_usd=NANO_PER_USD), Cause.UNEXPLAINED),
        (billed("2", requests=1), booked(), Cause.UNEXPLAINED),
        (billed("0.9"), booked(estimated_nano_usd=NANO_PER_USD // 2), Cause.ESTIMATED),
        (billed("0.9"), booked(reserved_nano_usd=NANO_PER_USD // 2), Cause.ESTIMATED),
        (billed("2", requests=4), booked(), Cause.NOT_THROUGH_US),
        (billed("2", requests=2, input_tokens=900), booked(), Cause.NOT_THROUGH_US),
        (billed("2", requests=2, input_tokens=100, output_tokens=50), booked(), Cause.PRICE),
        (billed("0.5", requests=1), booked(), Cause.NOT_IN_FILE),
        (billed("0.995", rounding_usd=Decimal("0.005")), booked(), Cause.ROUNDING),
        (billed("2"), booked(), Cause.UNEXPLAINED),
    ],
)
def test_each_difference_has_its_probable_cause(
    statement: Statement, row: dict[str, Any] | None, why: Cause
) -> None:
    compared = compare(statement, [row] if row else [], EXACT)

    assert not compared.agrees
    assert why in compared.causes
    assert ADVICE[why]


def test_days_that_differ_by_as_much_either_way_are_a_shift() -> None:
    statement = billed("0.75")
    statement.add(Key("openai", NEXT, "gpt-4o"), Figures(Decimal("1.25")))

    compared = compare(statement, [booked(), booked(NEXT)], EXACT)

    assert compared.causes == (Cause.TIMEZONE,)


def test_without_amounts_tokens_are_compared() -> None:
    statement = billed(None, requests=2, input_tokens=100, output_tokens=50)

    assert compare(statement, [booked()], EXACT).agrees
    assert not compare(statement, [booked(output_tokens=51)], EXACT).agrees
    assert compare(statement, [booked(output_tokens=51)], Tolerance(share=Decimal("0.02"))).agrees
    assert not compare(statement, [booked()], EXACT).by_cost


def test_without_models_days_are_compared() -> None:
    compared = compare(billed("2", model=""), [booked(), booked(model="o3")], EXACT)

    assert compared.agrees


def test_without_single_days_the_whole_is_compared() -> None:
    statement = billed("2", day="")

    assert compare(statement, [booked(), booked(NEXT)], EXACT).agrees


def test_a_file_that_names_no_provider_is_compared_with_all() -> None:
    statement = Statement("plain")
    statement.add(Key("", DAY, "gpt-4o"), Figures(Decimal(2)))

    assert compare(statement, [booked(), booked(provider="azure")], EXACT).agrees


def test_other_providers_and_regions_of_the_same_are_told_apart() -> None:
    rows = [booked(provider="openai-regional"), booked(provider="anthropic"), booked(provider=None)]

    compared = compare(billed(), rows, EXACT)

    assert compared.agrees
    assert len(compared.rows) == 1


def test_calls_that_never_went_out_are_no_difference() -> None:
    nothing = booked(model="o3", cost_nano_usd=0, sent=0)

    assert len(compare(billed(), [booked(), nothing], EXACT).rows) == 1


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_amounts_agree_up_to_the_tolerance_and_not_beyond(
    ours: int, theirs: int, allowed: int
) -> None:
    statement = billed(str(Decimal(theirs) / NANO_PER_USD))

    compared = compare(statement, [booked(cost_nano_usd=ours)], Tolerance(nano_usd=allowed))

    assert compared.agrees == (abs(ours - theirs) <= allowed)
    assert compared.rows[0].difference_nano_usd == ours - theirs
    assert (cause(compared) is None) == compared.agrees
