from __future__ import annotations

import pytest

from tollkeeper.domain import Usage
from tollkeeper.wire import usage


@pytest.mark.parametrize(
    ("provider", "said", "expected"),
    [
        (
            "my-gateway",
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 60, "cached_creation_tokens": 20},
            },
            Usage(100, 50, cache_read_input_tokens=60, cache_write_input_tokens=20),
        ),
        (
            "openai",
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {
                    "cached_tokens": 60,
                    "cache_write_tokens": 20,
                    "audio_tokens": 5,
                    "image_tokens": 3,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": 30,
                    "audio_tokens": 7,
                    "rejected_prediction_tokens": 4,
                },
            },
            Usage(
                100,
                50,
                cache_read_input_tokens=60,
                cache_write_input_tokens=20,
                audio_input_tokens=5,
                image_input_tokens=3,
                reasoning_output_tokens=30,
                audio_output_tokens=7,
            ),
        ),
        ("openai", {"prompt_tokens": 8, "total_tokens": 8}, Usage(8, None)),
        ("openai", {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}, Usage(8, 0)),
        (
            "xai",
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, reasoning_output_tokens=94),
        ),
        (
            "xai",
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, reasoning_output_tokens=94),
        ),
        (
            "perplexity",
            {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "citation_tokens": 20016,
                "num_search_queries": 48,
                "reasoning_tokens": 95305,
            },
            Usage(33, 7163 + 20016 + 95305, reasoning_output_tokens=95305, web_searches=48),
        ),
        (
            "moonshot",
            {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4},
            Usage(9, 1, cache_read_input_tokens=4),
        ),
        ("openai", {"input_tokens": 9, "output_tokens": 1}, Usage(9, 1)),
        ("openai", {"prompt_tokens": "9", "completion_tokens": True}, Usage()),
        ("openai", {"prompt_tokens": -9, "completion_tokens": 3.0}, Usage(None, 3)),
    ],
)
def test_chat_usage(provider, said, expected) -> None:
    assert usage.openai_chat(said, provider) == expected


def test_a_figure_that_is_not_known_is_named_and_not_dropped() -> None:
    said = {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "gold_tokens": 5,
        "zero_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 1, "silver": {"tokens": 2.5}},
        "note": "x",
    }

    assert usage.openai_chat(said, "openai").unknown == (
        "gold_tokens",
        "prompt_tokens_details.silver.tokens",
    )
    assert usage.openai_responses({"input_tokens": 1, "odd_tokens": 3}).unknown == ("odd_tokens",)
    assert usage.anthropic({"input_tokens": 1, "server_tool_use": {"new_requests": 3}}).unknown == (
        "server_tool_use.new_requests",
    )
    assert usage.gemini({"promptTokenCount": 1, "oddTokenCount": 3}).unknown == ("oddTokenCount",)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {
                "input_tokens": 10,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 50,
                "output_tokens": 5,
            },
            Usage(160, 5, cache_read_input_tokens=100, cache_write_input_tokens=50),
        ),
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 50,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 30,
                },
                "output_tokens": 5,
            },
            Usage(60, 5, cache_write_input_tokens=50, cache_write_1h_input_tokens=30),
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 3},
            },
            Usage(10, 5, web_searches=2, server_tools=(("web_fetch", 3),)),
        ),
        ({"output_tokens": 5}, Usage(None, 5)),
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "iterations": [
                    {"type": "message", "input_tokens": 10, "output_tokens": 5},
                    {
                        "type": "advisor_message",
                        "input_tokens": 7,
                        "output_tokens": 3,
                        "cache_read_input_tokens": 1,
                    },
                ],
            },
            Usage(18, 8, cache_read_input_tokens=1),
        ),
    ],
)
def test_anthropic_usage_is_made_inclusive(said, expected) -> None:
    assert usage.anthropic(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(5, 0)),
        ({"promptTokenCount": 5}, Usage(5, None)),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 10,
            },
            Usage(5, 5, reasoning_output_tokens=3),
        ),
        (
            {"promptTokenCount": 5, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 2},
            Usage(12, 2),
        ),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 20}, Usage(5, 15)),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 2,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2}, "x"],
            },
            Usage(5, 2, audio_input_tokens=3, image_output_tokens=2),
        ),
    ],
)
def test_gemini_usage_counts_thoughts_as_output_and_tool_results_as_input(said, expected) -> None:
    assert usage.gemini(said) == expected


@pytest.mark.parametrize(
    ("said", "answer", "tier"),
    [
        ({"service_tier": "standard", "speed": "fast"}, {}, "fast"),
        ({"service_tier": "priority", "speed": "standard"}, {}, "standard_speed"),
        ({"service_tier": "standard"}, {}, "standard"),
        ({"service_tier": "priority"}, {}, "priority_capacity"),
        ({"serviceTier": "priority"}, {}, "priority"),
        ({}, {"service_tier": "flex"}, "flex"),
        ({"service_tier": 5}, {"service_tier": ""}, None),
    ],
)
def test_the_tier_that_an_answer_names(said, answer, tier) -> None:
    assert usage.tier_in(said, answer) == tier


def test_uses_of_xais_tools_are_in_its_usage() -> None:
    said = {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "num_sources_used": 4,
        "num_server_side_tools_used": 3,
        "server_side_tool_usage_details": {
            "web_search_calls": 2,
            "x_search_calls": 1,
            "mcp_calls": 0,
        },
    }

    read = usage.openai_chat(said, "xai")

    assert dict(read.server_tools) == {"web_search": 2, "x_search": 1, "live_search": 4}
    assert read.unknown == ()
