"""Vertex: the model in the path, the region's price, the tier in a header."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.core.pricing import PriceSheet
from tollkeeper.core.sheet import STANDARD, Rates
from tollkeeper.domain import Call, Changes, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound

GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
CLAUDE = {
    "anthropic_version": "vertex-2023-10-16",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}
OPENAPI = {"model": "google/gemini-3.5-flash", "messages": [{"role": "user", "content": "hi"}]}


def call_at(
    location: str, rest: str, /, headers: dict[str, str] | None = None, **body: Any
) -> Call:
    vertex = facts.providers()["vertex"]
    path = f"/v1/projects/p-1/locations/{location}/{rest}"
    endpoint = route.recognise(vertex, "POST", path)
    assert endpoint is not None
    sent = json.dumps(body).encode()
    return route.parse(Inbound(vertex, "POST", path, "", headers or {}, sent), endpoint)


def claude(model: str, /, location: str = "global", verb: str = "rawPredict", **more: Any) -> Call:
    return call_at(location, f"publishers/anthropic/models/{model}:{verb}", **CLAUDE, **more)


def gemini(model: str, location: str, **headers: str) -> Call:
    rest = f"publishers/google/models/{model}:generateContent"
    return call_at(location, rest, headers, **GEMINI)


@pytest.mark.parametrize(
    ("model", "location", "dearer"),
    [
        ("claude-sonnet-4-5@20250929", "us-east5", True),
        ("claude-sonnet-4-5@20250929", "eu", True),
        ("claude-sonnet-4-5@20250929", "global", False),
        ("claude-opus-4-6", "us-east5", True),
        ("claude-opus-4-1@20250805", "us-east5", False),
        ("claude-sonnet-4@20250514", "us-east5", False),
        ("claude-3-5-haiku@20241022", "us-east5", False),
    ],
)
def test_a_region_costs_more_for_newer_claudes(model: str, location: str, dearer: bool) -> None:
    assert ("inference_geo" in claude(model, location).features) is dearer


@pytest.mark.parametrize(
    ("model", "location", "dearer"),
    [
        ("gemini-3.5-flash", "europe-west1", True),
        ("gemini-3.5-flash", "global", False),
        ("gemini-2.5-pro", "us-central1", False),
    ],
)
def test_a_region_costs_more_for_newer_geminis(model: str, location: str, dearer: bool) -> None:
    assert ("inference_geo" in gemini(model, location).features) is dearer


def test_a_regions_surcharge_is_reserved_and_settled() -> None:
    sheet = PriceSheet("test", None, None, {STANDARD: ((0, Rates(*[1_000_000] * 10)),)})
    regional, everywhere = claude("claude-opus-4-6", "eu"), claude("claude-opus-4-6")
    usage = Usage(input_tokens=100, output_tokens=100)

    assert sheet.cost_nano_usd(usage, everywhere) == 200
    assert sheet.cost_nano_usd(usage, regional) == 220
    assert sheet.worst_cost_nano_usd(100, 100, regional) == 220


def test_the_openai_endpoint_names_a_model_by_its_maker() -> None:
    call = call_at("eu", "endpoints/openapi/chat/completions", **OPENAPI)

    assert call.model == "gemini-3.5-flash"
    assert "inference_geo" in call.features


def test_claudes_stream_is_what_the_path_says() -> None:
    assert claude("claude-opus-4-6", verb="streamRawPredict", stream=True).stream
    assert not claude("claude-opus-4-6").stream


def test_a_default_version_is_the_model_itself() -> None:
    assert claude("claude-opus-4-6@default").model == "claude-opus-4-6"


@pytest.mark.parametrize("more", [{"model": "claude-opus-4-6"}, {"stream": True}])
def test_a_body_that_says_otherwise_than_its_path_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        claude("claude-haiku-4-5@20251001", **more)


def test_priority_in_a_header_is_the_calls_tier() -> None:
    call = gemini("gemini-2.5-pro", "global", **{"x-vertex-ai-llm-shared-request-type": "priority"})

    assert call.service_tier == "priority"


def test_what_a_header_is_elsewhere_is_known_in_the_body() -> None:
    assert claude("claude-opus-4-6", anthropic_beta=["x"]).unknown_parameters == ()


def test_an_alias_changes_the_model_in_the_path() -> None:
    call = claude("claude-opus-4-6")
    path = "/v1/projects/p/locations/global/publishers/anthropic/models/claude-opus-4-6:rawPredict"
    changes = Changes(model="claude-haiku-4-5@20251001")

    body, moved = route.rewrite(
        call, json.dumps(CLAUDE).encode(), path, changes, include_usage=False
    )

    assert moved.endswith("/models/claude-haiku-4-5@20251001:rawPredict")
    assert json.loads(body) == CLAUDE
