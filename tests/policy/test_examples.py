from __future__ import annotations

from decimal import Decimal

import pytest

from policy.writing import Load, Problems
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Code, Effect
from tollkeeper.policy.examples import decide, instant_ns, provider_of
from tollkeeper.policy.given import Given, GivenCall

POLICY = """\
version: 1
{mode}
timezone: Europe/Berlin
providers:
  mine: {{hosts: [llm.corp.example], api: openai, prices: {{"house-*": {{input: 1, output: 1}}}}}}
models:
  small: {{provider: groq, model: llama-3.1-8b-instant}}
agents:
  atlas:
    budget_usd: {{day: 5, month: 50}}
    requests: {{hour: 10}}
    max_output_tokens: 1000
    tools: [search]
    vision: false
rules:
  - {{name: nights, call: {{time: {{not: {{at_least: 06:00, under: 22:00}}}}}}, hold: {{}}}}
  - {{name: sundays, call: {{weekday: sunday}}, deny: Rest.}}
  - {{name: urgent, call: {{priority: low, project: x, step: y, step_type: z}}, deny: Later.}}
examples:
  - given: {given}
    expect: {expect}
"""


def text(given: str, expect: str, mode: str = "mode: enforce") -> str:
    return POLICY.format(given=given, expect=expect, mode=mode)


CALL = "model: gpt-4o, max_output_tokens: 100"


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        (f"{{agent: atlas, call: {{{CALL}}}}}", "{effect: allow}"),
        ("{agent: atlas, call: {model: gpt-4o}}", "{effect: change}"),
        ("{agent: atlas, call: {model: gpt-4o}}", "{effect: allow}"),
        ("{agent: atlas, call: {model: small, max_output_tokens: 5}}", "{effect: change}"),
        (f"{{agent: atlas, call: {{{CALL}, time: 23:00}}}}", "{effect: hold, source: rules.nights}"),
        (f"{{agent: atlas, call: {{{CALL}, time: 23:00}}}}", "{effect: hold, code: approval_pending}"),
        (f"{{agent: atlas, call: {{{CALL}, weekday: sunday}}}}", "{effect: deny, source: rules.sundays}"),
        (f"{{agent: atlas, call: {{{CALL}, tools: [shell]}}}}", "{effect: deny, source: agents.atlas.tools}"),
        (f"{{agent: atlas, call: {{{CALL}, tools: [search]}}}}", "{effect: allow}"),
        (f"{{agent: atlas, call: {{{CALL}, vision: true}}}}", "{effect: deny, source: agents.atlas.vision}"),
        (f"{{agent: atlas, call: {{{CALL}}}, spent_usd: 4.999999}}", "{effect: deny, code: budget_exhausted}"),
        (f"{{agent: atlas, call: {{{CALL}}}, spent_usd: {{month: 50}}}}", "{effect: deny, code: budget_exhausted}"),
        (f"{{agent: atlas, call: {{{CALL}}}, spent_usd: {{total: 50}}}}", "{effect: allow}"),
        (f"{{agent: atlas, call: {{{CALL}}}, requests_made: 9}}", "{effect: allow}"),
        (f"{{agent: atlas, call: {{{CALL}}}, requests_made: 10}}", "{effect: deny}"),
        (f"{{agent: atlas, call: {{{CALL}}}, priority: low, project: x, step: y, step_type: z}}",
         "{effect: deny, source: rules.urgent, code: policy_denied}"),
        ("{agent: atlas, call: {model: no-such-model, max_output_tokens: 5}}", "{effect: deny}"),
        ("{agent: zeus, call: {model: no-such-model, max_output_tokens: 5}}", "{effect: allow}"),
    ],
)  # fmt: skip
def test_example_that_holds_lets_the_policy_load(load_text: Load, given: str, expect: str) -> None:
    load_text(text(given, expect))


@pytest.mark.parametrize(
    ("given", "expect", "message"),
    [
        (f"{{agent: atlas, call: {{{CALL}}}}}", "{effect: change}", "expected change, found allow"),
        (f"{{agent: atlas, call: {{{CALL}}}}}", "{effect: deny, source: rules.a}", "expected deny by rules.a"),
        (f"{{agent: atlas, call: {{{CALL}, weekday: sunday}}}}", "{effect: deny, source: rules.nights}",
         "expected deny by rules.nights, found deny (rules.sundays: Rest."),
        (f"{{agent: atlas, call: {{{CALL}, weekday: sunday}}}}", "{effect: deny, code: rate_limited}",
         "expected deny with rate_limited, found deny"),
        ("{agent: atlas, call: {model: gpt-4o, provider: nobody}}", "{effect: allow}",
         "unknown provider 'nobody'"),
    ],
)  # fmt: skip
def test_example_that_fails_is_told_with_what_was_found(
    problems_of: Problems, given: str, expect: str, message: str
) -> None:
    [found] = problems_of(text(given, expect))

    assert found.startswith("20:5: ")
    assert message in found


def test_examples_are_judged_as_if_an_observing_policy_enforced(load_text: Load) -> None:
    given = f"{{agent: atlas, call: {{{CALL}, weekday: sunday}}}}"

    load_text(text(given, "{effect: deny}", mode="mode: observe"))


def test_named_example_is_told_by_its_name(problems_of: Problems) -> None:
    [found] = problems_of(
        "version: 1\nexamples:\n  - name: cheap\n    given: {agent: a, call: {model: gpt-4o}}\n"
        "    expect: {effect: deny}\n"
    )

    assert "example 'cheap': expected deny, found allow" in found


def test_clock_of_an_example_is_that_of_the_policys_timezone(load_text: Load) -> None:
    given = GivenCall(model="gpt-4o", time="00:30", weekday="wednesday")

    utc, tokyo = instant_ns(given, "UTC"), instant_ns(given, "Asia/Tokyo")

    assert utc - tokyo == 9 * 3600 * 10**9
    assert utc // (86400 * 10**9) % 7 == 6  # days since Thursday, 1 January 1970: a Wednesday


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"), ("claude-haiku-4-5", "anthropic"), ("gemini-2.5-flash", "google"),
        ("small", "groq"), ("house-7b", "mine"), ("nobody-knows", "openai"),
    ],
)  # fmt: skip
def test_call_goes_to_who_has_a_price_for_it(load_text: Load, model: str, provider: str) -> None:
    policy = load_text(text(f"{{agent: atlas, call: {{{CALL}}}}}", "{effect: allow}")).policy
    now_ns = instant_ns(GivenCall(model=model), "UTC")

    assert provider_of(policy, model, PriceBook(policy), now_ns) == provider


def test_said_input_tokens_are_what_is_priced(load_text: Load) -> None:
    policy = load_text(text(f"{{agent: atlas, call: {{{CALL}}}}}", "{effect: allow}")).policy
    call = {"model": "gpt-4o", "input_tokens": 1_000_000, "max_output_tokens": 1}

    _, decision = decide(policy, Given.model_validate({"agent": "zeus", "call": call}))

    assert decision.effect is Effect.ALLOW
    assert Decimal(decision.reserve_nano_usd).scaleb(-9) >= Decimal("2.5")


def test_run_of_an_example_carries_run_limits(load_text: Load) -> None:
    policy = load_text(
        "version: 1\nagents: {default: {budget_usd: {run: 1}}}\nexamples:\n"
        f"  - given: {{agent: a, run: nightly, call: {{{CALL}}}, spent_usd: {{run: 1}}}}\n"
        "    expect: {effect: deny, code: budget_exhausted}\n"
    ).policy
    given = Given.model_validate({"agent": "a", "run": "r", "call": {"model": "gpt-4o"}})

    case, decision = decide(policy, given)

    assert case.principal.run_is_minted
    assert "run:r" in decision.subjects
    assert all(reason.code is not Code.BUDGET_EXHAUSTED for reason in decision.reasons)
