from __future__ import annotations

import pytest

from core.judging import (
    codes,
    first,
    judge,
    make_call,
    policy_for,
)
from tollkeeper.domain import (
    Call,
    Code,
    Effect,
    Limits,
)


@pytest.mark.parametrize(
    ("limits", "call", "source"),
    [
        (Limits(models=("gpt-*",)), make_call(), "models"),
        (Limits(models=()), make_call(), "models"),
        (Limits(models=("*",)), make_call(model=None), "models"),
        (Limits(tools=("search",)), make_call(tools_offered=("search", "Bash")), "tools"),
        (Limits(tools=()), make_call(server_tools=("web_search",)), "tools"),
        (Limits(streaming=False), make_call(stream=True), "streaming"),
        (Limits(vision=False), make_call(features=frozenset({"vision"})), "vision"),
        (Limits(reasoning=False), make_call(features=frozenset({"reasoning"})), "reasoning"),
        (Limits(strict=True), make_call(unknown_parameters=("magic",)), "strict"),
        (Limits(scope="read-only"), make_call(), "scope"),
        (Limits(max_input_tokens=999), make_call(), "max_input_tokens"),
    ],
)
def test_what_a_layer_does_not_give_is_refused_and_named(
    limits: Limits, call: Call, source: str
) -> None:
    decision = judge(call, policy_for(limits))

    assert decision.effect is Effect.DENY
    assert codes(decision) == [Code.POLICY_DENIED]
    assert decision.reasons[0].source == f"agents.atlas.{source}"
    assert f"agents.atlas.{source}" in first(decision)


@pytest.mark.parametrize(
    ("limits", "call"),
    [
        (Limits(models=("corp-*",)), make_call()),
        (Limits(models=("corp-large",)), make_call()),
        (Limits(tools=("search", "mcp__*")), make_call(tools_offered=("search", "mcp__x"))),
        (Limits(tools=()), make_call()),
        (Limits(streaming=True, vision=True, reasoning=True, strict=False), make_call(stream=True)),
        (Limits(scope="full"), make_call()),
        (Limits(scope="read-only"), make_call(metered=False)),
        (Limits(max_input_tokens=1000), make_call()),
        (Limits(key="injected"), make_call()),
    ],
)
def test_what_a_layer_gives_passes(limits: Limits, call: Call) -> None:
    assert judge(call, policy_for(limits)).effect is Effect.ALLOW


def test_every_refused_tool_is_named_and_long_lists_are_cut() -> None:
    call = make_call(tools_offered=("a", "b" * 200, *(f"t{n}" for n in range(9))))

    message = first(judge(call, policy_for(Limits(tools=()))))

    assert "a, " + "b" * 64 + ", t0, t1, t2 and 6 more" in message


@pytest.mark.parametrize("asked", ["gpt-4o", "GPT-4o"])
@pytest.mark.parametrize("allowed", ["gpt-4o", "GPT-4O", "GPT-*"])
def test_model_that_may_be_called_may_be_spelled_in_any_letter_case(
    asked: str, allowed: str
) -> None:
    decision = judge(make_call(model=asked), policy_for(Limits(models=(allowed,))))

    assert decision.effect is Effect.ALLOW
