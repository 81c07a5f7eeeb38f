from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from policy.writing import Load
from tollkeeper import facts
from tollkeeper.policy.replay import Recorded, what_if
from tollkeeper.wire.dialect import Inbound

SECOND = 10**9
NOON = 1_795_000_000 * SECOND


def recorded(
    model: str = "gpt-4o", *, agent: str = "atlas", at_ns: int = NOON, run: str | None = None,
    path: str = "/v1/chat/completions",
) -> Recorded:  # fmt: skip
    body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "hello"}]}
    inbound = Inbound(
        facts.providers()["openai"], "POST", path, "", {"content-type": "application/json"},
        json.dumps(body).encode(),
    )  # fmt: skip
    return Recorded(agent, inbound, at_ns, run)


def test_what_passes_counts_on_the_budget_of_what_follows(load_text: Load) -> None:
    policy = load_text("version: 1\nagents: {default: {budget_usd: {day: 0.025}}}\n").policy

    found = what_if(policy, [recorded(at_ns=NOON + n * SECOND) for n in range(5)])

    assert found.requests == 5
    assert found.effects == {"allow": 2, "deny": 3}
    assert list(found.reasons) == [("deny", "budget_exhausted", "agents.default.budget_usd.day")]
    assert 0 < found.passed_nano_usd <= 25_000_000
    assert found.kept_back_nano_usd == found.passed_nano_usd * 3 // 2


def test_next_day_has_a_new_budget(load_text: Load) -> None:
    policy = load_text("version: 1\nagents: {default: {budget_usd: {day: 0.015}}}\n").policy
    day = 86400 * SECOND

    found = what_if(policy, [recorded(at_ns=NOON + n * day) for n in range(3)])

    assert found.effects == {"allow": 3}


def test_each_agent_has_its_own_budget(load_text: Load) -> None:
    policy = load_text("version: 1\nagents: {default: {budget_usd: {day: 0.015}}}\n").policy

    found = what_if(policy, [recorded(agent=name) for name in ("a", "b", "a")])

    assert found.effects == {"allow": 2, "deny": 1}


def test_rates_bite_within_a_minute(load_text: Load) -> None:
    policy = load_text("version: 1\nceilings: {rpm: 2}\n").policy
    times = [0, 1, 2, 59, 60, 61, 62]

    found = what_if(policy, [recorded(at_ns=NOON + at * SECOND) for at in times])

    assert found.effects["allow"] == 4
    assert found.effects["deny"] == 3
    assert {code for _, code, _ in found.reasons} == {"rate_limited"}


@pytest.mark.parametrize(("run", "allowed"), [("nightly", 1), (None, 1), ("atlas~label", 1)])
def test_limits_of_runs_hold(load_text: Load, run: str | None, allowed: int) -> None:
    policy = load_text("version: 1\nagents: {default: {budget_usd: {run: 0.015}}}\n").policy

    found = what_if(policy, [recorded(run=run), recorded(run=run)])

    assert found.effects["allow"] == allowed


def test_labels_do_not_multiply_the_budget_of_a_run(load_text: Load) -> None:
    policy = load_text("version: 1\nagents: {default: {budget_usd: {run: 0.015}}}\n").policy

    found = what_if(policy, [recorded(run=f"atlas~{n}") for n in range(4)])

    assert found.effects == {"allow": 1, "deny": 3}


def test_every_kind_of_effect_is_counted(load_text: Load) -> None:
    policy = load_text(
        "version: 1\nagents: {default: {max_output_tokens: 500}}\n"
        "rules: [{name: ask, call: {model: o3}, hold: {}}, {name: no, call: {model: o1}, deny: No.}]\n"
    ).policy
    requests = [
        recorded(),
        recorded("o3"),
        recorded("o1"),
        recorded("unknown-model"),
        recorded(path="/x"),
    ]

    found = what_if(policy, requests)

    assert found.effects == {"change": 2, "hold": 1, "deny": 2}
    assert found.unpriced == 1
    assert found.reasons["deny", "unknown_endpoint", "wire"] == 1
    assert found.reasons["hold", "approval_pending", "rules.ask"] == 1


def test_observing_policy_lets_everything_pass_and_says_why_it_would_not(load_text: Load) -> None:
    policy = load_text(
        "version: 1\nmode: observe\nrules: [{name: no, call: {model: gpt-4o}, deny: No.}]\n"
    ).policy

    found = what_if(policy, [recorded()])

    assert found.effects == {"allow": 1}
    assert found.reasons == {("deny", "policy_denied", "rules.no"): 1}


def test_requests_are_taken_one_by_one(load_text: Load) -> None:
    policy = load_text("version: 1\n").policy
    alive = []

    def many() -> Iterator[Recorded]:
        for n in range(50):
            alive.append(n)
            yield recorded(at_ns=NOON + n * SECOND)

    assert what_if(policy, many()).requests == len(alive) == 50
