from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core.tiers import model_names
from tollkeeper.policy.document import read
from tollkeeper.policy.match import MAX_TEXT, compile_call
from tollkeeper.policy.matchers import CallMatch

FACTS: dict[str, Any] = {
    "agent": "atlas",
    "team": None,
    "provider": "openai",
    "model": "gpt-4o-2024-08-06",
    "tier": "standard",
    "operation": "chat",
    "stream": True,
    "vision": False,
    "tools_offered": ("read_file", "run_command"),
    "input_tokens": 1200,
    "max_output_tokens": None,
    "expected_cost_usd": Decimal("0.50"),
    "worst_cost_usd": Decimal("0.75"),
    "budget_left_percent": Decimal(20),
    "prompt": "Please delete\nthe database.",
    "time": "22:30",
    "weekday": "saturday",
}


def matches(conditions: str, facts: dict[str, Any] | None = None) -> bool:
    """Whether a ``call:`` written like this matches."""
    root, problems = read(conditions.encode(), "rule")
    assert root is not None
    assert problems == []
    match, fields = compile_call(CallMatch.model_validate(root.plain()))
    found = match(FACTS if facts is None else facts)
    assert type(found) is bool
    assert fields == set(root.plain())
    return found


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("{}", True),
        ("{agent: atlas}", True),
        ("{agent: Atlas}", False),
        ("{agent: at*}", True),
        ("{agent: '?tlas'}", True),
        ("{agent: '[a-c]tlas'}", True),
        ("{agent: '[!a]tlas'}", False),
        ("{agent: '*'}", True),
        ("{agent: tlas}", False),
        ("{agent: [zeus, atlas]}", True),
        ("{agent: [zeus, 'at*']}", True),
        ("{agent: [zeus, hera]}", False),
        ("{agent: {not: zeus}}", True),
        ("{agent: {not: [zeus, 'a*']}}", False),
        ("{agent: {not: {not: atlas}}}", True),
        ("{agent: {matches: '^at'}}", True),
        ("{agent: {matches: 'tl'}}", True),
        ("{agent: {matches: '^tl'}}", False),
        ("{agent: {matches: '^at', not: atlas}}", False),
        ("{agent: {matches: '^at', not: zeus}}", True),
        ("{agent: atlas, provider: openai}", True),
        ("{agent: atlas, provider: groq}", False),
        ("{stream: true}", True),
        ("{stream: false}", False),
        ("{vision: false}", True),
        ("{stream: {not: true}}", False),
        ("{vision: {not: true}}", True),
        ("{input_tokens: 1200}", True),
        ("{input_tokens: [5, 1200]}", True),
        ("{input_tokens: 1200.0}", True),
        ("{input_tokens: {over: 1199}}", True),
        ("{input_tokens: {over: 1200}}", False),
        ("{input_tokens: {at_least: 1200, at_most: 1200}}", True),
        ("{input_tokens: {under: 1200}}", False),
        ("{input_tokens: {not: {over: 1000, under: 1100}}}", True),
        ("{input_tokens: {not: {over: 1000, under: 1300}}}", False),
        ("{expected_cost_usd: {over: 0.499999999}}", True),
        ("{expected_cost_usd: {over: 0.50}}", False),
        ("{expected_cost_usd: {at_most: 0.5}}", True),
        ("{expected_cost_usd: 0.5}", True),
        ("{budget_left_percent: {under: 20}}", False),
        ("{budget_left_percent: {under: 20.5}}", True),
        ("{time: 22:30}", True),
        ("{time: {at_least: 22:30}}", True),
        ("{time: {over: 22:30}}", False),
        ("{time: {over: 09:00, under: 23:00}}", True),
        ("{time: {not: {at_least: 06:00, under: 22:00}}}", True),
        ("{time: [22:29, 22:30]}", True),
        ("{weekday: [saturday, sunday]}", True),
        ("{weekday: {not: [saturday, sunday]}}", False),
        ("{tools_offered: run_command}", True),
        ("{tools_offered: [shell, 'run_*']}", True),
        ("{tools_offered: shell}", False),
        ("{tools_offered: {not: shell}}", True),
        ("{tools_offered: {not: run_command}}", False),
        ("{tools_offered: {matches: '^run'}}", True),
        ("{tools_offered: {matches: '^run', not: shell}}", True),
        ("{model: gpt-4o}", True),
        ("{model: gpt-4o-2024-08-06}", True),
        ("{model: gpt-4o-2024-05-13}", False),
        ("{model: gpt-4o-mini}", False),
        ("{model: {not: gpt-4o}}", False),
        ("{model: {not: gpt-4o-mini}}", True),
        ("{model: {matches: '^gpt-4o$'}}", True),
        ("{prompt: {matches: 'delete\\sthe'}}", True),
        ("{prompt: '*delete*database*'}", True),
        ("{prompt: 'delete*'}", False),
        ("{prompt: {not: '*secret*'}}", True),
    ],
)
def test_condition_is_true_or_false_of_the_call(conditions: str, expected: bool) -> None:
    assert matches(conditions) is expected


@pytest.mark.parametrize(
    "conditions",
    [
        "{team: research}", "{team: '*'}", "{team: {not: research}}", "{team: {not: {not: research}}}",
        "{max_output_tokens: {over: 0}}", "{max_output_tokens: {not: {over: 0}}}",
        "{step: {not: x}}", "{agent: atlas, team: {not: research}}",
    ],
)  # fmt: skip
def test_unknown_fact_matches_nothing_not_even_under_not(conditions: str) -> None:
    assert matches(conditions) is False


def test_call_without_tools_is_a_known_fact() -> None:
    facts = FACTS | {"tools_offered": ()}

    assert matches("{tools_offered: {not: shell}}", facts) is True
    assert matches("{tools_offered: '*'}", facts) is False


@pytest.mark.parametrize(
    "name", ["openai/gpt-4o", "models/gpt-4o", "gpt-4o-latest", "azure/gpt-4o-2024-11-20"]
)
def test_model_counts_by_its_base_name_too(name: str) -> None:
    assert matches("{model: gpt-4o}", FACTS | {"model": name}) is True
    assert "gpt-4o" in model_names(name)


@pytest.mark.parametrize(
    "written", ["gpt-4o", "GPT-4O", "'GPT-4*'", "[o3, Gpt-4o]", "{matches: ^GPT-4}"]
)
@pytest.mark.parametrize("asked", ["gpt-4o", "GPT-4O", "Gpt-4o-Latest"])
def test_model_is_known_in_every_letter_case(written: str, asked: str) -> None:
    facts = FACTS | {"model": asked}

    assert matches(f"{{model: {written}}}", facts) is True
    assert matches(f"{{model: {{not: {written}}}}}", facts) is False


def test_long_made_up_model_name_is_matched_and_not_remembered() -> None:
    match, _ = compile_call(CallMatch.model_validate({"model": ["gpt-*x", "o3"]}))

    assert match({"model": "gpt-" + "a" * 1_000_000}) is False
    assert match({"model": "gpt-" + "a" * 600 + "x"}) is True


def test_only_the_first_part_of_a_long_text_is_looked_at() -> None:
    match, _ = compile_call(CallMatch.model_validate({"prompt": {"matches": "needle"}}))

    assert match({"prompt": "x" * (MAX_TEXT - 6) + "needle"}) is True
    assert match({"prompt": "x" * MAX_TEXT + "needle"}) is False


def test_regular_expressions_that_explode_elsewhere_are_linear_here() -> None:
    patterns = ["(a+)+$", "(a|a)*b", "(.*a){20}b", "([a-z]+)*!", "(x+x+)+y"]
    matchers = [
        compile_call(CallMatch.model_validate({"prompt": {"matches": p}}))[0] for p in patterns
    ]
    text = "a" * (MAX_TEXT - 1) + "?"

    # A backtracking engine would not come back from this.
    found = [match({"prompt": text}) for match in matchers]

    assert found == [False, False, False, False, False]


def test_globs_that_explode_elsewhere_are_linear_here() -> None:
    match, _ = compile_call(
        CallMatch.model_validate({"prompt": "*a" * 100 + "*b", "step": "*a" * 100 + "b"})
    )

    assert match({"prompt": "a" * MAX_TEXT, "step": "a" * MAX_TEXT}) is False


TEXTS = st.text(alphabet="ab-.*?[]!\n", max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab-.\n", min_size=1, max_size=5), min_size=1, max_size=4), TEXTS)
def test_list_is_any_of_and_not_is_none_of(choices: list[str], value: str) -> None:
    any_of, _ = compile_call(CallMatch.model_validate({"step": choices}))
    none_of, _ = compile_call(CallMatch.model_validate({"step": {"not": choices}}))

    assert any_of({"step": value}) is (value in choices)
    assert none_of({"step": value}) is (value not in choices)


@settings(max_examples=200, deadline=None)
@given(st.decimals(-1000, 1000, places=3), st.decimals(-1000, 1000, places=3), st.booleans())
def test_ranges_agree_with_arithmetic(limit: Decimal, value: Decimal, as_integer: bool) -> None:
    fact = int(value) if as_integer else value

    def holds(name: str) -> bool:
        match, _ = compile_call(CallMatch.model_validate({"input_tokens": {name: limit}}))
        return match({"input_tokens": fact})

    assert holds("over") is (fact > limit)
    assert holds("under") is (fact < limit)
    assert holds("at_least") is not holds("under")
    assert holds("at_most") is not holds("over")


def test_dear_conditions_are_looked_at_last() -> None:
    class Watched(dict[str, Any]):
        looked: list[str] = []  # noqa: RUF012 - one instance in one test

        def get(self, key: str, default: Any = None) -> Any:
            self.looked.append(key)
            return super().get(key, default)

    conditions = {"prompt": {"matches": "x"}, "agent": "nobody", "model": "gpt-*"}
    match, _ = compile_call(CallMatch.model_validate(conditions))
    facts = Watched(FACTS)

    assert match(facts) is False
    assert facts.looked == ["agent"]
