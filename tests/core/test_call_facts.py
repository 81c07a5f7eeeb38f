from __future__ import annotations

from dataclasses import replace

import pytest

from core.judging import (
    PURSE,
    judge,
    make_call,
    make_policy,
    make_rule,
    make_standing,
    policy_for,
)
from tollkeeper.core.call_facts import clock, decimal_usd
from tollkeeper.core.snapshot import RunRecord
from tollkeeper.domain import Effect


def test_rules_read_every_documented_fact() -> None:
    seen: dict[str, object] = {}
    fields = frozenset(
        [
            "agent",
            "team",
            "run",
            "project",
            "step",
            "step_type",
            "priority",
            "provider",
            "model",
            "tier",
            "operation",
            "stream",
            "vision",
            "tools_offered",
            "input_tokens",
            "max_output_tokens",
            "expected_cost_usd",
            "worst_cost_usd",
            "budget_left_percent",
            "prompt",
            "time",
            "weekday",
        ]
    )

    def look(facts: object) -> bool:
        seen.update(facts)  # type: ignore[call-overload]
        return False

    policy = policy_for(
        PURSE,
        rules=(replace(make_rule("look", Effect.DENY), matches=look, fields=fields),),
        timezone="Asia/Kolkata",
        members={"atlas": "research"},
        tiers={"big": ("corp-large",)},
    )
    said = {"step": "plan", "step_type": "think", "project": "p", "priority": "low"}

    judge(make_call(prompt="hi"), policy, said=said)

    assert seen.keys() == fields
    assert {key: str(value) for key, value in seen.items()} == {
        "agent": "atlas", "team": "research", "run": "atlas:2026-11-21", "project": "p",
        "step": "plan", "step_type": "think", "priority": "low", "provider": "corp",
        "model": "corp-large", "tier": "big", "operation": "chat", "stream": "False",
        "vision": "False", "tools_offered": "()", "input_tokens": "1000",
        "max_output_tokens": "500", "expected_cost_usd": "0.003000000",
        "worst_cost_usd": "0.003000000", "budget_left_percent": "100", "prompt": "hi",
        "time": "12:30", "weekday": "saturday",
    }  # fmt: skip


def test_what_the_runs_starter_said_outweighs_what_the_agent_says() -> None:
    rule = make_rule("low", Effect.DENY, "priority")
    rule = replace(rule, matches=lambda facts: facts["priority"] == "low")
    run = RunRecord("r", "atlas", about={"priority": "low"})

    decision = judge(
        policy=make_policy(rules=(rule,)),
        standing=replace(make_standing(), run=run),
        said={"priority": "high"},
    )

    assert decision.effect is Effect.DENY


@pytest.mark.parametrize(
    ("minute", "timezone", "told"),
    [
        (0, "UTC", ("00:00", "thursday")),
        (0, "America/New_York", ("19:00", "wednesday")),
        (0, "Asia/Kolkata", ("05:30", "thursday")),
    ],
)
def test_the_clock_is_that_of_the_policys_timezone(
    minute: int, timezone: str, told: tuple[str, str]
) -> None:
    assert clock(minute, timezone) == told


def test_an_amount_is_exact_and_an_unknown_one_is_unknown() -> None:
    assert str(decimal_usd(1_000_000_001)) == "1.000000001"
    assert decimal_usd(None) is None
