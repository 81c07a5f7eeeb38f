from __future__ import annotations

import pytest

from policy.writing import Load
from tollkeeper.policy.checks import known_models


def warnings(load_text: Load, text: str) -> list[str]:
    return [str(one).partition("policy.yaml:")[2] for one in load_text(text).warnings]


RULE = "version: 1\nagents: {{atlas: {{models: [gpt-4o, 'claude-*']}}, {more}}}\nrules:\n  - {{name: a, call: {call}, deny: No.}}\n"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("{agent: [atlas, atlsa]}", "4:37: warning: this policy names no agent 'atlsa'; did you mean 'atlas'?"),
        ("{team: nobody}", "4:28: warning: this policy knows no team 'nobody', so this never matches"),
        ("{team: research}", "warning: this policy knows no team 'research'"),
        ("{provider: opena}", "did you mean 'openai'?"),
        ("{tier: cheap}", "warning: this policy knows no tier 'cheap'"),
        ("{operation: caht}", "did you mean 'chat'?"),
        ("{input_tokens: {over: 5, under: 5}}", "can never match: nothing is over 5 and under 5"),
        ("{input_tokens: {at_least: 6, at_most: 5}}", "nothing is at least 6 and at most 5"),
        ("{time: {over: 22:00, under: 06:00}}", "nothing is over 22:00 and under 06:00"),
        ("{budget_left_percent: {over: 100}}", "no budget has more than 100 percent left"),
    ],
)  # fmt: skip
def test_rule_that_can_never_match_is_a_warning(load_text: Load, call: str, expected: str) -> None:
    [found] = warnings(load_text, RULE.format(call=call, more="default: {}"))

    assert expected in found


@pytest.mark.parametrize(
    "call",
    [
        "{}", "{agent: atlas}", "{agent: 'at*'}", "{agent: {not: nobody}}", "{provider: openai}",
        "{agent: made-by-agent-create}", "{agent: 'ci-*'}", "{step: plan}", "{priority: [low, high]}",
        "{operation: [chat, responses]}", "{operation: realtime}", "{model: o3}", "{input_tokens: {at_least: 5, at_most: 5}}",
    ],
)  # fmt: skip
def test_rule_that_can_match_is_no_warning(load_text: Load, call: str) -> None:
    assert warnings(load_text, RULE.format(call=call, more="default: {}")) == []


@pytest.mark.parametrize("field", ["step", "step_type", "project", "priority"])
def test_limit_that_an_agent_leaves_by_a_word_of_its_own_is_a_warning(
    load_text: Load, field: str
) -> None:
    text = RULE.format(call=f"{{{field}: {{not: high}}}}", more="default: {}")

    [found] = warnings(load_text, text)

    assert f"agents say {field} of themselves" in found
    assert warnings(load_text, text.replace("deny: No.", "allow: {}")) == []


@pytest.mark.parametrize(
    ("model", "allowed"),
    [
        ("gpt-4o", True), ("gpt-4o-2024-08-06", True), ("claude-opus-5", True), ("'gpt-*'", True),
        ("o3", False), ("gpt-4o-mini", False), ("'o*'", True),
    ],
)  # fmt: skip
def test_rule_on_a_model_that_nobody_may_call_is_a_warning(
    load_text: Load, model: str, allowed: bool
) -> None:
    text = RULE.format(call=f"{{model: {model}}}", more="default: {models: ['claude-*']}")

    found = warnings(load_text, text)

    assert (found == []) is allowed
    assert allowed or "no agent may call model" in found[0]


def test_rule_on_the_model_behind_an_alias_is_no_warning(load_text: Load) -> None:
    text = (
        "version: 1\nmodels: {small: {provider: groq, model: llama-3.1-8b-instant}}\n"
        "agents: {default: {models: [small]}}\n"
        "rules: [{name: a, call: {model: llama-3.1-8b-instant}, deny: No.}]\n"
    )

    assert warnings(load_text, text) == []


def test_rule_on_an_alias_is_a_warning_that_names_the_model(load_text: Load) -> None:
    text = (
        "version: 1\nmodels: {small: {provider: groq, model: llama-3.1-8b-instant}}\n"
        "rules: [{name: a, call: {model: small}, deny: No.}]\n"
    )

    [found] = warnings(load_text, text)

    assert "rules see the model that it stands for, 'llama-3.1-8b-instant'" in found


def test_rule_on_the_children_that_a_known_agent_makes_is_no_warning(load_text: Load) -> None:
    text = (
        "version: 1\nagents: {atlas: {}}\n"
        "rules: [{name: a, call: {agent: 'atlas.scout-*'}, deny: No.}]\n"
    )

    assert warnings(load_text, text) == []


def test_alias_of_an_alias_is_a_warning(load_text: Load) -> None:
    text = (
        "version: 1\nmodels:\n  a: {provider: groq, model: b}\n"
        "  b: {provider: groq, model: llama-3.1-8b-instant}\n"
    )

    assert "3:30: warning: 'b' is an alias too" in warnings(load_text, text)[0]


def test_one_model_may_be_excepted_from_another_tiers_glob(load_text: Load) -> None:
    text = (
        "version: 1\ntiers:\n  - {name: cheap, models: ['claude-*']}\n"
        "  - {name: dear, models: [claude-opus-4-5]}\n"
    )

    assert load_text(text).policy.tiers["dear"] == ("claude-opus-4-5",)


def test_catalogue_knows_the_models_that_tiers_are_checked_with() -> None:
    assert {"gpt-4o", "o3", "gemini-2.5-flash"} <= set(known_models())
