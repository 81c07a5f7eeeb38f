from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.domain import Call
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound

PATHS = {
    "chat": ("openai", "/v1/chat/completions"),
    "responses": ("openai", "/v1/responses"),
    "messages": ("anthropic", "/v1/messages"),
    "gemini": ("google", "/v1beta/models/gemini-2.5-pro:generateContent"),
    "gemini-stream": ("google", "/v1beta/models/gemini-2.5-pro:streamGenerateContent"),
    "converse": ("bedrock", "/model/us.amazon.nova-lite-v1:0/converse"),
    "invoke": ("bedrock", "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke"),
}

SMALLEST: dict[str, dict[str, Any]] = {
    "chat": {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "gpt-5", "input": "hi"},
    "messages": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    "invoke": {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    },
    "gemini-stream": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


def parse_bytes(
    body: bytes, provider: str, path: str, headers: dict[str, str] | None = None
) -> Call:
    at = facts.providers()[provider]
    endpoint = route.recognise(at, "POST", path)
    assert endpoint is not None, path
    return route.parse(
        Inbound(at, "POST", path, "", headers or {"content-type": "application/json"}, body),
        endpoint,
    )


@pytest.fixture
def parse() -> Callable[..., Call]:
    """Parse the smallest body of a kind of call with members added, changed or (...) removed."""

    def parsed(
        kind: str, *, provider: str | None = None, path: str | None = None, **given: Any
    ) -> Call:
        body = {**SMALLEST[kind], **given}
        body = {key: value for key, value in body.items() if value is not ...}
        usual, usual_path = PATHS[kind]
        return parse_bytes(json.dumps(body).encode(), provider or usual, path or usual_path)

    return parsed


@pytest.fixture(scope="session")
def smallest() -> dict[str, dict[str, Any]]:
    """The smallest body of each kind of call."""
    return SMALLEST


@pytest.fixture(scope="session")
def parse_raw_once() -> Callable[..., Call]:
    """``parse_raw`` for properties, which share one fixture over all examples."""

    def parsed(body: bytes, kind: str) -> Call:
        return parse_bytes(body, *PATHS[kind])

    return parsed


@pytest.fixture
def parse_raw() -> Callable[..., Call]:
    """Parse a body given as bytes."""

    def parsed(body: bytes, kind: str = "chat", headers: dict[str, str] | None = None) -> Call:
        provider, path = PATHS[kind]
        return parse_bytes(body, provider, path, headers)

    return parsed
