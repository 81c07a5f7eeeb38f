"""Deployments: in the path or in the body, mapped by the policy, never two of them at once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.domain import Call
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound

PATH = "/openai/deployments/chat-prod/chat/completions"
VERSION = "api-version=2024-10-21"


def chat(path: str = PATH, query: str = VERSION, **body: Any) -> Call:
    azure = replace(facts.providers()["azure"], deployments={"chat-*": "gpt-4o"})
    endpoint = route.recognise(azure, "POST", path)
    assert endpoint is not None
    sent = json.dumps({"messages": [{"role": "user", "content": "hi"}], **body}).encode()
    return route.parse(Inbound(azure, "POST", path, query, {}, sent), endpoint)


@pytest.mark.parametrize("said", [{}, {"model": "chat-prod"}, {"model": "gpt-4o"}])
def test_a_deployment_in_the_path_runs_what_the_policy_says(said: dict[str, Any]) -> None:
    call = chat(**said)

    assert (call.model, call.deployment) == ("gpt-4o", "chat-prod")


def test_only_a_deployment_in_the_path_cannot_be_changed() -> None:
    assert "fixed_model" in chat().features
    assert "fixed_model" not in chat("/openai/v1/chat/completions", "", model="chat-dev").features


def test_a_body_that_names_another_model_than_its_path_is_refused() -> None:
    with pytest.raises(WireError, match=r"providers\.azure\.deployments"):
        chat(model="gpt-4o-mini")


@pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/models/chat/completions"])
def test_a_deployment_in_the_body_runs_what_the_policy_says(path: str) -> None:
    call = chat(path, "", model="chat-dev")

    assert (call.model, call.deployment) == ("gpt-4o", "chat-dev")


@pytest.mark.parametrize("said", [{}, {"model": "chat-prod"}, {"model": "GPT-4O"}])
def test_letter_case_of_a_deployment_makes_no_difference(said: dict[str, Any]) -> None:
    call = chat("/openai/deployments/CHAT-Prod/chat/completions", **said)

    assert (call.model, call.deployment) == ("gpt-4o", "CHAT-Prod")


def test_a_deployment_that_nobody_mapped_stands_for_itself() -> None:
    call = chat("/openai/deployments/other/chat/completions")

    assert (call.model, call.deployment) == ("other", "other")


@pytest.mark.parametrize(
    ("path", "query", "asks"),
    [
        (PATH, "api-version=2024-02-01", False),
        (PATH, "api-version=2024-08-01-preview", True),
        (PATH, "api-version=2025-04-01-preview", True),
        ("/openai/v1/chat/completions", "", True),
    ],
)
def test_only_an_api_version_that_knows_stream_options_is_asked_for_usage(
    path: str, query: str, asks: bool
) -> None:
    call = chat(path, query, model="chat-prod", stream=True)

    assert route.wants_usage_event(call, b"{}") is asks


@pytest.mark.parametrize(("name", "asks"), [("chat-dev", True), ("Mistral-small-2503", False)])
def test_a_model_of_mistrals_is_not_asked_for_usage_on_azure_either(name: str, asks: bool) -> None:
    call = chat("/models/chat/completions", "", model=name, stream=True)

    assert route.wants_usage_event(call, b"{}") is asks


def test_documents_searched_for_a_call_may_fill_its_input_and_cost_more() -> None:
    call = chat(data_sources=[{"type": "azure_search"}])

    assert (call.server_tools, call.opaque_input) == (("data_sources",), "data_sources")


def test_another_provider_is_left_alone() -> None:
    openai = facts.providers()["openai"]
    endpoint = route.recognise(openai, "POST", "/v1/chat/completions")
    assert endpoint is not None
    body = b'{"model": "gpt-4o", "messages": []}'

    call = route.parse(Inbound(openai, "POST", "/v1/chat/completions", "", {}, body), endpoint)

    assert call.deployment is None
