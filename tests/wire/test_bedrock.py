"""Converse: what its bodies ask for, and what its paths name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.domain import Call, Changes
from tollkeeper.errors import WireError
from tollkeeper.wire import bedrock, route
from tollkeeper.wire.dialect import Inbound

NOVA = "us.amazon.nova-lite-v1:0"
HI = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"


def converse(model: str = NOVA, query: str = "", **body: Any) -> Call:
    provider = facts.providers()["bedrock"]
    path = bedrock.with_model("/model/x/converse", model)
    endpoint = route.recognise(provider, "POST", path)
    assert endpoint is not None
    sent = json.dumps({**HI, **body}).encode()
    return route.parse(Inbound(provider, "POST", path, query, {}, sent), endpoint)


def content(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


@pytest.mark.parametrize(
    ("named", "model", "deployment"),
    [
        (NOVA, NOVA, None),
        ("us.amazon.nova-lite-v1%3A0", NOVA, None),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-lite-v1",
         "amazon.titan-text-lite-v1", None),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:123:inference-profile/us-gov.anthropic.claude-x",
         "us-gov.anthropic.claude-x", None),
        (PROFILE, PROFILE, PROFILE),
        ("prod-chat", "amazon.nova-pro-v1:0", "prod-chat"),
    ],
)  # fmt: skip
def test_a_path_names_a_model_or_something_of_the_owners(
    named: str, model: str, deployment: str | None
) -> None:
    provider = replace(facts.providers()["bedrock"], deployments={"prod-*": "amazon.nova-pro-v1:0"})

    assert bedrock.identify(provider, named) == (model, deployment)


@pytest.mark.parametrize(
    ("body", "features", "opaque"),
    [
        ({"messages": content({"document": {"name": "a", "source": {"text": "long"}}})}, set(), None),
        ({"messages": content({"document": {"name": "a", "source": {"bytes": "JVBE"}}})}, set(), "document"),
        ({"messages": content({"video": {"source": {}}})}, set(), "video content"),
        ({"messages": content({"image": {"source": {"bytes": "iVBO"}}})}, {"vision"}, None),
        ({"messages": content({"toolResult": {"toolUseId": "t", "content": [{"image": {}}]}})}, {"vision"}, None),
        ({"messages": content({"text": "x"}, {"cachePoint": {"type": "default"}})}, {"cache_write_5m"}, None),
        ({"system": [{"cachePoint": {"type": "default", "ttl": "1h"}}]}, {"cache_write_1h"}, None),
        ({"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled"}}}, {"reasoning"}, None),
        ({"additionalModelRequestFields": {"tools": [{"type": "bash_20250124", "name": "bash"}]}}, set(), "the built-in tool bash_20250124"),
        ({"promptVariables": {"a": {"text": "b"}}}, set(), "a stored prompt"),
    ],
)  # fmt: skip
def test_what_changes_the_price_is_seen(
    body: dict[str, Any], features: set[str], opaque: str | None
) -> None:
    call = converse(**body)

    assert call.features == features
    assert call.opaque_input == opaque


def test_a_model_whose_cache_may_be_written_unasked_may_always_bill_that() -> None:
    assert converse("openai.gpt-5.5").features == {"cache_write_5m", "cache_write_1h"}


@pytest.mark.parametrize(
    ("body", "served"),
    [
        ({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}, "guardrail"),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}, "nova_grounding"),
        ({"additionalModelRequestFields": {"mcp_servers": [{}]}}, "mcp_servers"),
    ],
)
def test_what_the_provider_bills_beside_tokens_is_a_server_tool(
    body: dict[str, Any], served: str
) -> None:
    assert converse(**body).server_tools == (served,)


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        ({}, None),
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"performanceConfig": {"latency": "optimized"}, "serviceTier": {"type": "flex"}}, "optimized"),
        ({"performanceConfig": {"latency": "standard"}}, None),
    ],
)  # fmt: skip
def test_the_tier_that_prices_it_is_named(body: dict[str, Any], tier: str | None) -> None:
    assert converse(**body).service_tier == tier


@pytest.mark.parametrize(
    "given", [{"max_tokens": 9999}, {"inferenceConfig": {"maxTokens": 9999}}, {"n": 3}]
)
def test_a_second_output_limit_past_converse_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=r"inferenceConfig\.maxTokens"):
        converse(additionalModelRequestFields=given)


def test_a_presigned_address_is_refused() -> None:
    with pytest.raises(WireError, match="credentials as headers"):
        converse(query="X-Amz-Signature=abc")


def test_a_cache_mark_leaves_a_conversation_what_it_is() -> None:
    plain = converse(system=[{"text": "s"}])
    marked = converse(
        system=[{"text": "s"}, {"cachePoint": {"type": "default"}}],
        messages=content({"text": "hi"}, {"cachePoint": {"type": "default"}}),
    )

    assert plain.turns[0].digest == marked.turns[0].digest


def test_counting_tokens_is_free_and_names_its_model() -> None:
    provider = facts.providers()["bedrock"]
    path = bedrock.with_model("/model/x/count-tokens", NOVA)
    endpoint = route.recognise(provider, "POST", path)
    assert endpoint is not None

    call = route.parse(Inbound(provider, "POST", path, "", {}, b"{}"), endpoint)

    assert (call.model, call.metered) == (NOVA, False)


def test_limit_and_model_are_put_where_bedrock_looks_for_them() -> None:
    call = converse()
    sent = json.dumps(HI).encode()
    changes = Changes(max_output_tokens=7, model="amazon.nova-micro-v1:0")

    body, path = route.rewrite(
        call, sent, "/model/us.amazon.nova-lite-v1%3A0/converse", changes, include_usage=False
    )

    assert json.loads(body) == {**HI, "inferenceConfig": {"maxTokens": 7}}
    assert path == "/model/amazon.nova-micro-v1%3A0/converse"
