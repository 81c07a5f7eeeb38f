from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policy.writing import Load
from tollkeeper.domain import Code, Effect, Policy
from tollkeeper.errors import PolicyError, UsageError
from tollkeeper.policy.explain import explain, explain_file

POLICY = """\
version: 1
other_hosts: {inspect: [api.stripe.com], deny: ["*.evil.example"]}
agents:
  atlas: {budget_usd: {day: 5}, models: [gpt-4o, claude-haiku-4-5], max_output_tokens: 500}
rules:
  - {name: nights, call: {time: {at_least: 22:00}}, hold: {}}
"""
URL = "https://api.openai.com/v1/chat/completions"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def policy(load_text: Load) -> Policy:
    return load_text(POLICY).policy


def test_call_like_an_examples_is_explained(policy: Policy) -> None:
    found = explain(policy, {"agent": "atlas", "call": {"model": "gpt-4o", "time": "23:00"}})

    assert found.decision.effect is Effect.HOLD
    assert found.rules == ("nights",)
    assert (found.provider, found.model) == ("openai", "gpt-4o")
    assert found.facts["agent"] == "atlas"


def test_raw_request_is_explained(policy: Policy) -> None:
    found = explain(policy, {"agent": "atlas", "http": {"url": URL, "body": CHAT}})

    assert found.decision.effect is Effect.ALLOW
    assert found.decision.changes.max_output_tokens == 500
    assert found.model == "gpt-4o"


def test_raw_body_may_be_text(policy: Policy) -> None:
    http = {
        "method": "POST",
        "url": "https://api.anthropic.com/v1/messages",
        "headers": {"Content-Type": "application/json", "anthropic-version": "2023-06-01"},
        "body": json.dumps(
            {
                "model": "claude-opus-5",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "x"}],
            }
        ),
    }

    found = explain(policy, {"agent": "atlas", "http": http})

    assert found.decision.effect is Effect.DENY
    assert found.decision.reasons[0].source == "agents.atlas.models"


@pytest.mark.parametrize(
    ("http", "code"),
    [
        ({"url": "https://api.openai.com/v1/secrets", "body": CHAT}, Code.UNKNOWN_ENDPOINT),
        ({"url": URL, "body": "no json"}, Code.UNREADABLE_REQUEST),
        ({"url": URL, "body": '{"model": "a", "model": "b"}'}, Code.UNREADABLE_REQUEST),
        ({"url": "https://x.evil.example/", "method": "GET"}, Code.POLICY_DENIED),
    ],
)
def test_request_that_nobody_may_make_is_refused(
    policy: Policy, http: dict[str, Any], code: Code
) -> None:
    found = explain(policy, {"agent": "atlas", "http": http})

    assert found.decision.effect is Effect.DENY
    assert found.decision.reasons[0].code is code


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://api.stripe.com/v1", "other_hosts.inspect"),
        ("https://example.com/", "other_hosts.default"),
    ],
)
def test_other_hosts_are_explained_too(policy: Policy, url: str, source: str) -> None:
    found = explain(policy, {"agent": "atlas", "http": {"url": url}})

    assert found.decision.effect is Effect.ALLOW
    assert found.decision.reasons[0].source == source
    assert found.provider is None


def test_spent_money_counts_for_raw_requests(policy: Policy) -> None:
    found = explain(policy, {"agent": "atlas", "http": {"url": URL, "body": CHAT}, "spent_usd": 5})

    assert found.decision.reasons[0].code is Code.BUDGET_EXHAUSTED


def test_question_about_now_takes_the_given_moment(policy: Policy) -> None:
    night_ns = 23 * 3600 * 10**9
    request = {"agent": "atlas", "call": {"model": "gpt-4o"}}

    assert explain(policy, request).rules == ()
    assert explain(policy, request, now_ns=night_ns).rules == ("nights",)
    asked_at_noon = {"agent": "atlas", "call": {"model": "gpt-4o", "time": "12:00"}}
    assert explain(policy, asked_at_noon, now_ns=night_ns).rules == ()


def test_file_in_yaml_or_json_is_explained(policy: Policy, tmp_path: Path) -> None:
    as_yaml, as_json = tmp_path / "request.yaml", tmp_path / "request.json"
    as_yaml.write_text("agent: atlas\ncall: {model: o3}\n")
    as_json.write_text(
        json.dumps({"agent": "atlas", "http": {"url": URL, "body": CHAT | {"top_p": 0.5}}})
    )

    assert explain_file(policy, as_yaml).decision.effect is Effect.DENY
    assert explain_file(policy, as_json).decision.effect is Effect.ALLOW


def test_fault_in_a_request_file_has_its_position(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "request.yaml"
    path.write_text("agent: atlas\ncall: {modle: o3}\n")

    with pytest.raises(PolicyError) as caught:
        explain_file(policy, path)

    assert [str(one).removeprefix(f"{path}:") for one in caught.value.problems] == [
        "2:1: missing key 'model' in 'call'",
        "2:8: unknown key 'modle'; did you mean 'model'?",
    ]


def test_missing_request_file_is_told(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        explain_file(policy, tmp_path / "none.yaml")


def test_unknown_provider_is_told(policy: Policy) -> None:
    with pytest.raises(UsageError, match="unknown provider 'opena'; did you mean 'openai'"):
        explain(policy, {"agent": "atlas", "call": {"model": "gpt-4o", "provider": "opena"}})
