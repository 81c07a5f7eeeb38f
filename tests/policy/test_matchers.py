from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tollkeeper.core.decide import CallCase
from tollkeeper.domain import Call, Dialect, Principal
from tollkeeper.policy.load import load
from tollkeeper.policy.matchers import CallMatch
from tollkeeper.policy.ready_made import ready_made


@pytest.mark.parametrize(
    "conditions",
    [
        {"prompt": {"over": 3}}, {"prompt": 3}, {"prompt": []}, {"prompt": ""}, {"prompt": {}},
        {"prompt": {"not": {}}}, {"prompt": {"not": {"over": 3}}}, {"prompt": [["a"]]},
        {"stream": "true"}, {"stream": [True]}, {"stream": {"not": "x"}}, {"stream": {}},
        {"input_tokens": "5"}, {"input_tokens": True}, {"input_tokens": {"over": "5"}},
        {"input_tokens": {"matches": "5"}}, {"time": 1350}, {"time": {"over": 5}}, {"time": "7:00"},
        {"weekday": "mon"}, {"weekday": {"over": "monday"}}, {"tools_offered": {"at_least": 1}},
        {"path": "x"}, {"model": {"inside": "x"}},
    ],
)  # fmt: skip
def test_condition_that_does_not_fit_its_field_is_refused(conditions: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CallMatch.model_validate(conditions)


@pytest.mark.parametrize(
    "conditions", [{"prompt": {"over": 3}}, {"stream": "x"}, {"time": []}, {"model": {"not": [1]}}]
)
def test_mistake_is_told_once_and_not_for_every_form_of_a_matcher(
    conditions: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError) as caught:
        CallMatch.model_validate(conditions)

    assert caught.value.error_count() == 1


def test_every_field_is_a_fact_of_a_call() -> None:
    policy = load(ready_made()["lockdown"]).policy
    call = Call("openai", Dialect.OPENAI_CHAT, "chat", metered=True, model="gpt-4o")
    case = CallCase(call, Principal("atlas", "t", "r"), policy, None, 0, {})
    only_when_read = {"tier", "time", "weekday"}
    from_the_ledger = {"input_tokens", "expected_cost_usd", "worst_cost_usd", "budget_left_percent"}

    assert set(CallMatch.model_fields) == set(case.facts) | only_when_read | from_the_ledger
