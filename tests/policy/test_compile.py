from __future__ import annotations

import dataclasses

import pytest

from policy.writing import Load
from tollkeeper.domain import Code, Limits
from tollkeeper.policy.matchers import CallMatch


@pytest.mark.parametrize(
    ("key", "value", "attribute", "expected"),
    [
        ("rpm", "30", "rpm", 30),
        ("tpm", "200000", "tpm", 200_000),
        ("concurrent", "4", "concurrent", 4),
        ("models", "[gpt-4o, 'o*']", "models", ("gpt-4o", "o*")),
        ("tools", "[]", "tools", ()),
        ("streaming", "false", "streaming", False),
        ("vision", "true", "vision", True),
        ("reasoning", "false", "reasoning", False),
        ("max_input_tokens", "10", "max_input_tokens", 10),
        ("max_output_tokens", "10", "max_output_tokens", 10),
        ("unsized_input_tokens", "10", "unsized_input_tokens", 10),
        ("strict", "true", "strict", True),
        ("clamp", "true", "clamp", True),
        ("scope", "read-only", "scope", "read-only"),
        ("key", "own", "key", "own"),
        ("server_tools_usd", "0.25", "server_tools_nano_usd", 250_000_000),
        ("server_tools_usd", "0", "server_tools_nano_usd", 0),
        ("budget_usd", "{day: 0.000000001}", "budget_nano_usd", {"day": 1}),
        ("budget_usd", "{week: 0}", "budget_nano_usd", {"week": 0}),
        ("requests", "{hour: 5, run: 0}", "requests", {"hour": 5, "run": 0}),
    ],
)
@pytest.mark.parametrize("place", ["agents: {{atlas: {0}}}", "ceilings: {0}"])
def test_limit_reaches_the_policy(
    load_text: Load, place: str, key: str, value: str, attribute: str, expected: object
) -> None:
    policy = load_text("version: 1\n" + place.format(f"{{{key}: {value}}}") + "\n").policy

    limits = policy.agents["atlas"] if place.startswith("agents") else policy.ceilings

    assert getattr(limits, attribute) == expected
    assert dataclasses.replace(limits, **{attribute: getattr(Limits(), attribute)}) == Limits()


def test_settings_reach_the_policy(load_text: Load) -> None:
    policy = load_text(
        "version: 1\nmode: observe\ntimezone: Asia/Tokyo\ndurability: power\nbody_limit: 8MiB\n"
        "refusals: {budget_exhausted: {codex: 400, aider: 400}}\n"
        "other_hosts: {default: deny, tunnel: [github.com, '*.pypi.org'], ports: [443, 8443]}\n"
    ).policy

    assert policy.mode == "observe"
    assert policy.timezone == "Asia/Tokyo"
    assert policy.durability == "power"
    assert policy.body_limit_bytes == 8 << 20
    assert policy.refusals[Code.BUDGET_EXHAUSTED] == {"codex": 400, "aider": 400}
    assert policy.other_hosts.tunnel == ("github.com", "*.pypi.org")
    assert policy.other_hosts.ports == (443, 8443)


def test_rule_reads_only_the_facts_that_it_names(load_text: Load) -> None:
    [rule] = load_text(
        "version: 1\nrules: [{name: a, call: {model: o3, prompt: {matches: x}}, deny: No.}]\n"
    ).policy.rules

    assert rule.fields == {"model", "prompt"}
    assert rule.matches({"model": "o3", "prompt": "xyz"}) is True
    assert rule.fields <= set(CallMatch.model_fields)
