"""What a signature or a deployment forbids to change is refused, and says how to go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tollkeeper import facts
from tollkeeper.core.unchangeable import unchangeable_reasons
from tollkeeper.domain import Call, Changes, Dialect, KeySource, Mode, Policy

SIGNED = Call(
    "bedrock", Dialect.BEDROCK_CONVERSE, "converse", True, "amazon.nova-lite-v1:0", signed=True
)
DEPLOYED = Call(
    "azure",
    Dialect.OPENAI_CHAT,
    "chat",
    True,
    "gpt-4o",
    deployment="prod",
    features=frozenset({"fixed_model"}),
)
LIMIT = Changes(max_output_tokens=8)


def reasons(
    call: Call, changes: Changes, wanted: str = "either", *, key: bool = False
) -> list[str]:
    bedrock = facts.providers()["bedrock"]
    given = replace(bedrock, key=KeySource(env="KEY")) if key else bedrock
    policy = Policy("", Mode.ENFORCE, "UTC", {"bedrock": given})
    return [reason.message for reason in unchangeable_reasons(call, changes, policy, wanted)]


def test_signed_call_cannot_get_another_limit() -> None:
    [message] = reasons(SIGNED, LIMIT)

    assert "output to 8 tokens" in message
    assert "AWS_BEARER_TOKEN_BEDROCK" in message


def test_signed_call_cannot_become_another_model() -> None:
    [message] = reasons(SIGNED, Changes(model="amazon.nova-micro-v1:0"))

    assert "sends it to amazon.nova-micro-v1:0" in message


@pytest.mark.parametrize(
    ("call", "changes", "key"),
    [
        (SIGNED, Changes(), False),
        (SIGNED, LIMIT, True),
        (replace(SIGNED, signed=False), LIMIT, False),
        (DEPLOYED, LIMIT, False),
        (replace(DEPLOYED, features=frozenset()), Changes(model="gpt-4o-mini"), False),
        (DEPLOYED, Changes(model="gpt-4o", provider="openai"), False),
    ],
)
def test_everything_else_may_be_changed(call: Call, changes: Changes, key: bool) -> None:
    assert reasons(call, changes, key=key) == []


def test_agents_own_signature_stands_where_it_must_use_its_own_key() -> None:
    assert len(reasons(SIGNED, LIMIT, "own", key=True)) == 1


def test_alias_cannot_change_what_a_deployment_runs() -> None:
    [message] = reasons(DEPLOYED, Changes(model="gpt-4o-mini"))

    assert "prod is a deployment" in message


@pytest.mark.parametrize("provider", [None, "groq"])
def test_alias_cannot_change_the_model_of_a_session(provider: str | None) -> None:
    opened = replace(DEPLOYED, operation="websocket", model="voice", deployment=None)

    [message] = reasons(opened, Changes(model="gpt-realtime", provider=provider))

    assert "name gpt-realtime there instead" in message
