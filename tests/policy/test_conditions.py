from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.policy.conditions import impossible, texts
from tollkeeper.policy.match import compile_call
from tollkeeper.policy.matchers import CallMatch

LIMITS = st.dictionaries(
    st.sampled_from(["over", "under", "at_least", "at_most"]), st.integers(0, 4), min_size=1
)


@settings(max_examples=300, deadline=None)
@given(LIMITS)
def test_range_is_called_impossible_exactly_when_nothing_fits(limits: dict[str, int]) -> None:
    match = CallMatch.model_validate({"expected_cost_usd": limits})
    matches, _ = compile_call(match)
    quarters = [Decimal(n) / 4 for n in range(-4, 24)]

    fits = any(matches({"expected_cost_usd": value}) for value in quarters)

    assert fits is not bool(list(impossible(match)))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a", [((), "a")]),
        (["a", "b"], [((0,), "a"), ((1,), "b")]),
        ({"not": "a"}, []),
        ({"matches": "a"}, []),
        (None, []),
    ],
)
def test_texts_are_those_of_which_one_must_fit(condition: Any, expected: Any) -> None:
    match = CallMatch.model_validate({} if condition is None else {"step": condition})

    assert list(texts(match.step)) == expected
