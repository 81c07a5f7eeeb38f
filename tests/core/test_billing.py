from __future__ import annotations

from dataclasses import replace

import pytest

from tollkeeper import facts
from tollkeeper.core.billing import billing_of, with_payer
from tollkeeper.domain import Billing, Call, Dialect, KeySource, Mode, Policy, Provider

OAUTH = ("authorization", "Bearer sk-ant-oat01-abc_DEF-123")
KEY = ("x-api-key", "sk-ant-api03-abc")
ANTHROPIC = facts.providers()["anthropic"]
CHATGPT = facts.providers()["chatgpt"]


def policy(*providers: Provider) -> Policy:
    return Policy(
        digest="",
        mode=Mode.ENFORCE,
        timezone="UTC",
        providers={**facts.providers(), **{one.name: one for one in providers}},
    )


def call(provider: str = "anthropic", *, by_plan: bool = True, metered: bool = True) -> Call:
    return Call(provider, Dialect.ANTHROPIC, "messages", metered=metered, by_plan=by_plan)


@pytest.mark.parametrize(
    ("provider", "credentials", "in_query", "by_plan"),
    [
        (ANTHROPIC, [OAUTH], False, True),
        (ANTHROPIC, [KEY], False, False),
        (ANTHROPIC, [OAUTH, KEY], False, False),
        (ANTHROPIC, [OAUTH, OAUTH], False, False),
        (ANTHROPIC, [OAUTH, ("cookie", "a=b")], False, False),
        (ANTHROPIC, [OAUTH], True, False),
        (ANTHROPIC, [], False, False),
        (ANTHROPIC, [("authorization", "Bearer sk-ant-api03-abc")], False, False),
        (ANTHROPIC, [("authorization", "Bearer sk-ant-oat01-abc sk-ant-api03-x")], False, False),
        (ANTHROPIC, [("x-api-key", OAUTH[1])], False, False),
        (CHATGPT, [("authorization", "Bearer ey.ey.x"), ("chatgpt-account-id", "a")], False, True),
        (facts.providers()["openai"], [("authorization", "Bearer sk-1")], False, False),
    ],
)
def test_only_a_lone_credential_of_a_plan_is_one(
    provider: Provider, credentials: list[tuple[str, str]], in_query: bool, by_plan: bool
) -> None:
    sent = call(provider.name, by_plan=False)

    assert with_payer(sent, provider, credentials, in_query).by_plan is by_plan


def test_plan_counts_until_the_owner_says_that_it_does_not() -> None:
    uncounted = policy(replace(ANTHROPIC, counts=False))

    assert billing_of(call(), policy(), "either", "anthropic") is Billing.FLAT_COUNTED
    assert billing_of(call(), uncounted, "either", "anthropic") is Billing.FLAT
    assert billing_of(call(by_plan=False), uncounted, "either", "anthropic") is Billing.METERED


def test_owner_may_say_that_a_plans_calls_are_money() -> None:
    metered = policy(replace(ANTHROPIC, billing="metered"))

    assert billing_of(call(), metered, "either", "anthropic") is Billing.METERED


@pytest.mark.parametrize(
    ("key", "wanted", "goes_to"),
    [
        (KeySource(env="REAL"), "either", "anthropic"),
        (KeySource(env="REAL"), "injected", "anthropic"),
        (None, "injected", "anthropic"),
        (None, "own", "openai"),
        (None, "own", "nobody"),
    ],
)
def test_what_leaves_with_another_key_than_the_agents_own_is_money(
    key: KeySource | None, wanted: str, goes_to: str
) -> None:
    governed = policy(replace(ANTHROPIC, key=key, counts=False))

    assert billing_of(call(), governed, wanted, goes_to) is Billing.METERED


def test_free_call_and_one_that_may_draw_on_credits_are_not_of_a_plan() -> None:
    bought = replace(call(), features=frozenset({"credits"}))

    assert billing_of(call(metered=False), policy(), "own", "anthropic") is Billing.METERED
    assert billing_of(bought, policy(), "own", "anthropic") is Billing.METERED
