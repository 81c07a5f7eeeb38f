from __future__ import annotations

import base64
import json

import pytest

from tollkeeper.errors import WireError

PNG = base64.b64encode(b"\x89PNG" + b"0" * 3000).decode()


def user(*parts: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": ...}, "model is missing"),
        ({"model": None}, "model is missing"),
        ({"model": ""}, "model must be text"),
        ({"model": 4}, "model must be text"),
        ({"messages": ...}, "messages is missing"),
        ({"messages": "hi"}, "messages must be a list"),
        ({"messages": ["hi"]}, "messages must be a list of objects"),
        ({"messages": [{"role": "user", "content": 5}]}, "content of a message"),
        ({"messages": user(5)}, "part of a message"),
        ({"max_tokens": "abc"}, "max_tokens must be a whole number"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number"),
        ({"max_tokens": True}, "max_tokens must be a whole number"),
        ({"max_tokens": 0}, "max_tokens must be a whole number"),
        ({"max_completion_tokens": -1}, "max_completion_tokens must be a whole number"),
        ({"n": -1}, "n must be a whole number"),
        ({"n": "2"}, "n must be a whole number"),
        ({"stream": "yes"}, "stream must be true or false"),
        ({"stream": 1}, "stream must be true or false"),
        ({"tools": {}}, "tools must be a list"),
        ({"tools": [{"type": "function", "function": {}}]}, "has no name"),
        ({"tools": [{"type": 3}]}, "no type"),
        ({"service_tier": 3}, "service_tier must be text"),
        ({"modalities": "audio"}, "modalities must be a list"),
        ({"prediction": "x"}, "prediction must be an object"),
        ({"models": ["a", "b"]}, "models lets another model answer"),
        ({"preset": "cheap"}, "preset lets another model answer"),
        ({"model": "@preset/mine"}, "hides which model"),
        ({"model": "openai/gpt-4o@Preset/mine"}, "hides which model"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_refused_in_one_sentence(
    parse, given, says
) -> None:
    with pytest.raises(WireError, match=says) as caught:
        parse("chat", **given)

    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20}, 20),
        ({"max_tokens": 10, "max_completion_tokens": 20}, 20),
        ({"max_tokens": 30, "max_completion_tokens": 20}, 30),
    ],
)
def test_the_larger_of_two_limits_is_the_bound(parse, given, limit) -> None:
    assert parse("chat", **given).max_output_tokens == limit


@pytest.mark.parametrize(
    ("given", "features"),
    [
        ({}, set()),
        ({"reasoning_effort": "high"}, {"reasoning"}),
        ({"reasoning_effort": "none"}, set()),
        ({"reasoning": {"effort": "high"}}, {"reasoning"}),
        ({"reasoning": {"enabled": False}}, set()),
        ({"thinking": {"type": "enabled"}}, {"reasoning"}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}, {"audio_out"}),
        ({"modalities": ["image", "text"]}, {"image_out"}),
        (
            {"messages": user({"type": "image_url", "image_url": {"url": "https://x/y.png"}})},
            {"vision"},
        ),
        ({"messages": user({"type": "image_url", "image_url": "https://x/y.png"})}, {"vision"}),
        (
            {
                "messages": user(
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
                )
            },
            {"audio_in"},
        ),
        (
            {
                "messages": user(
                    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
                )
            },
            {"cache_write_5m"},
        ),
        (
            {
                "messages": user(
                    {
                        "type": "text",
                        "text": "x",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    }
                )
            },
            {"cache_write_1h"},
        ),
    ],
)
def test_features_are_seen(parse, given, features) -> None:
    assert parse("chat", **given).features == features


@pytest.mark.parametrize(
    ("given", "opaque"),
    [
        ({"messages": user({"type": "image_url", "image_url": {"url": "https://x/y.png"}})}, None),
        ({"messages": user({"type": "file", "file": {"file_id": "file-1"}})}, "file content"),
        ({"messages": user({"type": "file", "file": {"file_data": "JVBERi0="}})}, "file content"),
        ({"messages": user({"type": "video_url", "video_url": {"url": "x"}})}, "video_url content"),
        ({"messages": user({"text": "x"})}, "content of no type"),
        (
            {"messages": user({"type": "input_audio", "input_audio": {"id": "a"}})},
            "audio by reference",
        ),
        ({"messages": user({"type": "input_audio", "input_audio": "UklGRg=="})}, None),
        (
            {"messages": user({"type": "input_audio", "input_audio": "https://x/y.mp3"})},
            "audio by reference",
        ),
        (
            {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
            "audio of an earlier answer",
        ),
    ],
)
def test_input_that_is_not_in_the_bytes_is_opaque(parse, given, opaque) -> None:
    assert parse("chat", **given).opaque_input == opaque


def test_tools_of_the_client_and_of_the_provider_are_told_apart(parse) -> None:
    call = parse(
        "chat",
        tools=[
            {"type": "function", "function": {"name": "read_file"}},
            {"type": "custom", "custom": {"name": "run"}},
            {"function": {"name": "old"}},
            {"type": "browser_search"},
        ],
        functions=[{"name": "legacy"}],
        web_search_options={},
        plugins=[{"id": "file-parser"}],
        search_parameters={"mode": "auto"},
    )

    assert call.tools_offered == ("read_file", "run", "old", "legacy")
    assert call.server_tools == ("browser_search", "web_search", "live_search", "file-parser")


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-search-preview",
        "openai/gpt-4o:online",
        "groq/compound",
        "sonar-pro",
        "Sonar-Pro",
        "x/y:ONLINE",
    ],
)
def test_models_that_search_on_their_own_are_known(parse, model) -> None:
    assert parse("chat", model=model).server_tools == ("web_search",)


def test_choices_count_every_answer_that_may_be_billed(parse) -> None:
    assert parse("chat", n=3).choices == 3
    assert parse("chat", n=2, best_of=5).choices == 5
    assert parse("chat").choices == 1


def test_a_prediction_may_be_billed_as_output(parse) -> None:
    call = parse("chat", prediction={"type": "content", "content": "x" * 1000})

    assert 1000 <= call.extra_output_tokens <= 1100
    assert call.head_bound_tokens < 1000


def test_unknown_parameters_are_named(parse) -> None:
    assert parse("chat", temperature=0.1, frobnicate=1, top_k=3).unknown_parameters == (
        "frobnicate",
    )


def test_prompt_is_the_text_of_all_messages_in_order(parse) -> None:
    call = parse(
        "chat",
        messages=[
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a":1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "done"},
        ],
    )

    assert call.prompt == 'be kind\nhello\n{"a":1}\ndone'
    assert len(call.turns) == 4


def test_an_inline_image_costs_its_bound_and_not_its_bytes(parse) -> None:
    remote = parse(
        "chat", messages=user({"type": "image_url", "image_url": {"url": "https://x/y"}})
    )
    inline = parse(
        "chat",
        messages=user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
    )

    assert abs(inline.turns[0].bound_tokens - remote.turns[0].bound_tokens) < 50


def test_an_image_in_the_arguments_of_a_tool_call_stays_text(parse) -> None:
    url = f"data:image/png;base64,{PNG}"
    arguments = json.dumps({"type": "image_url", "image_url": {"url": url}})
    call = parse(
        "chat",
        messages=[
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "f", "arguments": arguments},
                    }
                ],
            }
        ],
    )

    assert call.turns[0].bound_tokens > len(url)
    assert "vision" not in call.features


def test_a_data_url_that_is_no_image_counts_by_its_bytes(parse) -> None:
    url = "data:text/plain," + "x" * 5000

    call = parse("chat", messages=user({"type": "image_url", "image_url": {"url": url}}))

    assert call.turns[0].bound_tokens > len(url)


@pytest.mark.parametrize(
    "changed",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "someone", "metadata": {"try": "2"}, "prompt_cache_key": "k"},
    ],
)
def test_a_resend_has_the_same_approval_digest(parse, changed) -> None:
    assert parse("chat", **changed).approval_digest == parse("chat").approval_digest


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "gpt-4o-mini"},
        {"max_tokens": 5},
        {"temperature": 1},
        {"messages": [{"role": "user", "content": "ho"}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"service_tier": "priority"},
    ],
)
def test_another_call_has_another_approval_digest(parse, changed) -> None:
    assert parse("chat", **changed).approval_digest != parse("chat").approval_digest
