"""What a stream has shown: at most and at least."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain import Dialect
from tollkeeper.wire.seen import Seen


def chat(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def least(dialect: Dialect, *events: Any) -> int:
    seen = Seen(dialect)
    for event in events:
        seen.read(event)
    return seen.least_tokens


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([chat(content="one two")], 2),
        ([chat(content="one t"), chat(content="wo three")], 3),
        ([chat(content="one "), chat(content="two")], 2),
        ([chat(content="one"), chat(content=" "), chat(content="two")], 2),
        ([chat(content="hm so", reasoning="hm so")], 2),  # said twice
        ([chat(tool_calls=[{"function": {"arguments": '{"a": 1}'}}])], 2),
        ([chat(content="長" * 256)], 6),
        ([{"choices": [{"message": {"content": "all of it"}, "delta": {"content": "it"}}]}], 1),
        ([chat(content=None), {"choices": None}, [], None, {"choices": ["x"]}], 0),
    ],
)
def test_words_are_the_least_tokens(events: list[Any], tokens: int) -> None:
    assert least(Dialect.OPENAI_CHAT, *events) == tokens


@pytest.mark.parametrize(
    ("dialect", "event", "tokens"),
    [
        (Dialect.OPENAI_RESPONSES, {"type": "response.output_text.delta", "delta": "a b"}, 2),
        (Dialect.OPENAI_RESPONSES, {"type": "response.output_text.done", "text": "a b"}, 0),
        (Dialect.OPENAI_RESPONSES, {"type": "response.reasoning_summary_text.delta", "delta": "a b"}, 0),
        (Dialect.OPENAI_RESPONSES, {"type": "response.audio.delta", "delta": "A" * 4096}, 0),
        (Dialect.ANTHROPIC, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a b"}}, 2),
        (Dialect.ANTHROPIC, {"type": "content_block_start", "content_block": {"content": [{"text": "a b"}]}}, 0),
        (Dialect.ANTHROPIC, {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "a b"}}, 0),
        (Dialect.GEMINI, {"candidates": [{"content": {"parts": [{"text": "a b"}, {"text": " c", "thought": True}]}}]}, 2),
    ],
)  # fmt: skip
def test_only_what_the_model_wrote_counts(
    dialect: Dialect, event: dict[str, Any], tokens: int
) -> None:
    assert least(dialect, event) == tokens


@given(st.lists(st.text(max_size=30), max_size=8))
def test_least_is_never_more_than_most(texts: list[str]) -> None:
    seen = Seen(Dialect.OPENAI_CHAT)
    for text in texts:
        event = chat(content=text)
        seen.bound(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace"), 0)
        seen.read(event)

    assert seen.least_tokens <= seen.most_tokens


def test_text_of_an_event_that_was_cut_is_bounded_up_to_the_cut() -> None:
    seen = Seen(Dialect.OPENAI_CHAT)

    seen.bound(b'{"choices":[{"delta":{"content":"half a sen', 0)

    assert seen.most_tokens == len("half a sen")
