"""Conditions that can never hold, found by looking at them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tollkeeper.policy.matchers import CallMatch, NumberCondition, TimeCondition


def impossible(match: CallMatch) -> Iterator[tuple[str, str]]:
    """``(field, why)`` of each condition that no value fulfils."""
    for name in CallMatch.model_fields:
        condition = getattr(match, name)
        if isinstance(condition, (NumberCondition, TimeCondition)):
            why = _empty_range(condition)
            if why:
                yield name, why
    if isinstance(match.budget_left_percent, NumberCondition):
        least = match.budget_left_percent.over
        if least is not None and least >= 100:
            yield "budget_left_percent", "no budget has more than 100 percent left"


def _empty_range(condition: NumberCondition | TimeCondition) -> str | None:
    lows: list[tuple[Any, bool]] = [(condition.over, True), (condition.at_least, False)]
    highs: list[tuple[Any, bool]] = [(condition.under, True), (condition.at_most, False)]
    for low, low_open in lows:
        for high, high_open in highs:
            if low is None or high is None:
                continue
            if low > high or (low == high and (low_open or high_open)):
                return f"nothing is {_word(low_open, 'over', 'at least')} {_plain(low)} and " + (
                    f"{_word(high_open, 'under', 'at most')} {_plain(high)}"
                )
    return None


def _word(is_open: bool, exclusive: str, inclusive: str) -> str:
    return exclusive if is_open else inclusive


def _plain(value: Decimal | str) -> str:
    return f"{value}"


def texts(condition: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """``(way, text)`` of the texts of which one must fit; conditions and ``not`` have none."""
    if isinstance(condition, str):
        yield (), condition
    elif isinstance(condition, list):
        for index, one in enumerate(condition):
            yield (index,), one
