"""InvokeModel with Claude's bodies; one that is not its model's is refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.domain import Call
from tollkeeper.errors import WireError
from tollkeeper.wire import bedrock, route
from tollkeeper.wire.dialect import Inbound

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SMALL = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}


def invoke(
    model: str = HAIKU, /, verb: str = "invoke", headers: dict[str, str] | None = None, **body: Any
) -> Call:
    provider = facts.providers()["bedrock"]
    path = bedrock.with_model(f"/model/x/{verb}", model)
    endpoint = route.recognise(provider, "POST", path)
    assert endpoint is not None
    given = {key: value for key, value in {**SMALL, **body}.items() if value is not ...}
    sent = json.dumps(given).encode()
    return route.parse(Inbound(provider, "POST", path, "", headers or {}, sent), endpoint)


def test_the_path_says_model_and_stream() -> None:
    call = invoke(verb="invoke-with-response-stream")

    assert (call.model, call.stream, call.max_output_tokens) == (HAIKU, True, 9)
    assert call.unknown_parameters == ()


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("meta.llama3-8b-instruct-v1:0", {}),
        ("amazon.titan-text-lite-v1", {"inputText": "hi"}),
        (HAIKU, {"anthropic_version": ...}),
        (HAIKU, {"anthropic_version": ..., "prompt": "hi", "messages": ...}),
    ],
)
def test_another_makers_body_is_refused_with_the_way_out(model: str, body: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=r"call .* with Converse"):
        invoke(model, **body)


@pytest.mark.parametrize("body", [{"model": "claude-opus-4-6"}, {"stream": True}])
def test_a_body_that_says_otherwise_than_its_path_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="The path says"):
        invoke(**body)


@pytest.mark.parametrize(
    ("header", "value", "tier", "served"),
    [
        ("service-tier", "priority", "priority", ()),
        ("performanceconfig-latency", "optimized", "optimized", ()),
        ("guardrailidentifier", "g-1", None, ("guardrail",)),
    ],
)
def test_headers_that_change_the_price_are_seen(
    header: str, value: str, tier: str | None, served: tuple[str, ...]
) -> None:
    call = invoke(headers={f"x-amzn-bedrock-{header}": value})

    assert (call.service_tier, call.server_tools) == (tier, served)


@pytest.mark.parametrize(
    ("model", "characters", "betas", "tier"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_001, ["context-1m-2025-08-07"], "context-1m"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 100_000, ["context-1m-2025-08-07"], None),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_001, ["other"], None),
        ("us.anthropic.claude-opus-4-6-v1", 200_001, ["context-1m-2025-08-07"], None),
    ],
)  # fmt: skip
def test_long_context_has_prices_of_its_own(
    model: str, characters: int, betas: list[str], tier: str | None
) -> None:
    messages = [{"role": "user", "content": "x" * characters}]

    assert invoke(model, messages=messages, anthropic_beta=betas).service_tier == tier
