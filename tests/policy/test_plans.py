from __future__ import annotations

import pytest

from policy.writing import Load, Problems
from tollkeeper.domain import Billing, Effect, OtherHosts, Policy
from tollkeeper.policy.explain import explain
from tollkeeper.proxy.doorkeeper import other_host

START = "version: 1\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("providers: {openai: {counts: false}}", "every cost counts"),
        ("providers: {anthropic: {billing: metered, counts: false}}", "every cost counts"),
        ("providers: {chatgpt: {key: {env: K}}}", "no key can be injected there"),
        ("providers: {gemini-code-assist: {key: {env: K}}}", "no key can be injected there"),
        ("models: {fast: {provider: chatgpt, model: gpt-5.4}}", "no other call can be sent there"),
        ("other_hosts: {inspect: [auth.openai.com]}", "hands out logins of chatgpt"),
        ("providers: {anthropic: {billing: free}}", "expected metered or flat"),
    ],
)
def test_what_cannot_be_of_a_plan_is_an_error(
    problems_of: Problems, text: str, problem: str
) -> None:
    [found] = problems_of(START + text)

    assert problem in found


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("providers: {openai: {billing: flat}}", "taken for a plan's"),
        (
            "providers: {anthropic: {counts: false}}\nother_hosts: {default: deny}",
            "refresh a plan's login at platform.claude.com",
        ),
    ],
)
def test_what_may_surprise_is_a_warning(load_text: Load, text: str, warning: str) -> None:
    [found] = load_text(START + text).warnings

    assert warning in str(found)


def test_login_named_as_a_tunnel_is_no_surprise(load_text: Load) -> None:
    text = (
        "providers: {anthropic: {counts: false}}\n"
        "other_hosts: {default: deny, tunnel: [platform.claude.com]}"
    )

    assert load_text(START + text).warnings == []


@pytest.mark.parametrize(
    ("others", "treatment"),
    [
        (OtherHosts(), "tunnel"),
        (OtherHosts(default="inspect"), "tunnel"),
        (OtherHosts(inspect=("*.openai.com",)), "tunnel"),
        (OtherHosts(default="deny"), "deny"),
        (OtherHosts(deny=("auth.openai.com",)), "deny"),
    ],
)
def test_login_is_never_decrypted(load_text: Load, others: OtherHosts, treatment: str) -> None:
    policy: Policy = load_text(START).policy
    object.__setattr__(policy, "other_hosts", others)

    assert other_host(policy, "auth.openai.com") == treatment


def test_explain_tells_a_plan_by_its_credential(load_text: Load) -> None:
    policy = load_text(START + "providers: {anthropic: {counts: false}}").policy
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
    }
    http = {"url": "https://api.anthropic.com/v1/messages", "body": body}

    plan = explain(
        policy,
        {"agent": "atlas", "http": http | {"headers": {"Authorization": "Bearer sk-ant-oat01-x"}}},
    )
    key = explain(
        policy, {"agent": "atlas", "http": http | {"headers": {"x-api-key": "sk-ant-api03-x"}}}
    )

    assert (plan.decision.billing, plan.decision.reserve_nano_usd) == (Billing.FLAT, 0)
    assert plan.facts["billing"] == "flat"
    assert key.decision.billing is Billing.METERED
    assert key.decision.reserve_nano_usd == plan.decision.worst_nano_usd


@pytest.mark.parametrize(
    ("call", "effect"),
    [
        ({"model": "claude-haiku-4-5", "plan": True}, Effect.ALLOW),
        ({"model": "claude-haiku-4-5"}, Effect.DENY),
        ({"model": "gpt-5.4", "provider": "chatgpt"}, Effect.ALLOW),
        ({"model": "gemini-2.5-pro", "provider": "gemini-code-assist"}, Effect.DENY),
    ],
)
def test_example_says_who_pays(load_text: Load, call: dict[str, object], effect: Effect) -> None:
    text = (
        "providers: {anthropic: {counts: false}, chatgpt: {counts: false}}\n"
        "agents: {atlas: {budget_usd: {total: 0}}}"
    )
    policy = load_text(START + text).policy

    assert explain(policy, {"agent": "atlas", "call": call}).decision.effect is effect
