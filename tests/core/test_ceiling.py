"""A stream against its reservation."""

from __future__ import annotations

import pytest

from tollkeeper.core.ceiling import Ceiling
from tollkeeper.core.sheet import STANDARD, PriceSheet, Rates
from tollkeeper.domain import Call, Decision, Dialect, Effect, Usage

RATES = Rates(1000, 5000, 100, 1250, 2000, 5000, 1000, 5000, 1000, 5000)
SHEET = PriceSheet("test", None, None, {STANDARD: ((0, RATES),)})
CALL = Call("openai", Dialect.OPENAI_CHAT, "chat", metered=True, model="m")


def decision(output_tokens: int = 1000) -> Decision:
    reserve = SHEET.worst_cost_nano_usd(2000, output_tokens, CALL)
    return Decision(
        Effect.ALLOW, reserve_nano_usd=reserve, bound_output_tokens=output_tokens, cuts="here"
    )


@pytest.mark.parametrize(
    ("usage", "least", "outgrown"),
    [
        (None, 0, False),
        (None, 1000, False),
        (None, 1001, True),
        (Usage(2000, 1000), 1000, False),
        (Usage(2000, 1001), 0, True),
        (Usage(20_000, 1), 0, True),  # input that nobody bounded so
        (Usage(2000, 900), 1001, True),
    ],
)
def test_what_surely_is_more_than_was_reserved(
    usage: Usage | None, least: int, outgrown: bool
) -> None:
    assert Ceiling(CALL, decision(), SHEET).outgrown(usage, least) is outgrown


def test_without_a_price_only_the_output_limit_counts() -> None:
    ceiling = Ceiling(CALL, decision(), None)

    assert not ceiling.outgrown(Usage(10**9, 1), 0)
    assert ceiling.outgrown(None, 1001)


def test_where_nothing_bounds_the_output_nothing_is_outgrown() -> None:
    assert not Ceiling(CALL, Decision(Effect.ALLOW), None).outgrown(None, 10**9)


@pytest.mark.parametrize("worst", [None, 10_000])
def test_a_call_for_which_nothing_was_reserved_outgrows_its_output_limit_alone(
    worst: int | None,
) -> None:
    """Nothing bounds what it costs and no budget stands over it, or a plan pays that does not count."""
    unreserved = Decision(Effect.ALLOW, bound_output_tokens=1000, worst_nano_usd=worst, cuts="here")
    ceiling = Ceiling(CALL, unreserved, SHEET)

    assert not ceiling.outgrown(Usage(10**9, 1000), 0)
    assert ceiling.outgrown(None, 1001)


def test_a_call_that_is_free_has_outgrown_its_reservation_when_it_costs_anything() -> None:
    free = Decision(Effect.ALLOW, bound_output_tokens=1000, worst_nano_usd=0, cuts="here")

    assert Ceiling(CALL, free, SHEET).outgrown(Usage(1, 1), 0)
