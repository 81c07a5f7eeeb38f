from __future__ import annotations

import json

import pytest

from tollkeeper.domain import Changes
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from wire.asking import asked

CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "x" * 200}]}
AT = "ollama-cloud"


def test_an_answer_is_a_stream_unless_told_otherwise() -> None:
    assert asked("/api/chat", CHAT, AT).stream
    assert not asked("/api/chat", CHAT | {"stream": False}, AT).stream


@pytest.mark.parametrize(
    ("said", "limit"), [(5, 5), (-1, None), (-2, None), (0, None), (None, None)]
)
def test_less_than_one_token_is_no_limit(said: int | None, limit: int | None) -> None:
    assert (
        asked("/api/chat", CHAT | {"options": {"num_predict": said}}, AT).max_output_tokens == limit
    )


def test_the_output_limit_is_put_into_the_options() -> None:
    body = CHAT | {"options": {"temperature": 0}}
    raw = json.dumps(body).encode()

    changed, _ = route.rewrite(
        asked("/api/chat", body, AT),
        raw,
        "/api/chat",
        Changes(max_output_tokens=7),
        include_usage=False,
    )

    assert json.loads(changed)["options"] == {"temperature": 0, "num_predict": 7}


def test_prompts_images_tools_and_thinking_are_seen() -> None:
    text = asked("/api/generate", {"model": "m", "prompt": "p" * 200, "images": ["AAAA"]}, AT)
    chat = asked(
        "/api/chat",
        CHAT | {"think": True, "tools": [{"type": "function", "function": {"name": "find"}}]},
        AT,
    )

    assert text.head_bound_tokens >= 200 + 258
    assert text.features == {"vision"}
    assert chat.features == {"reasoning"}
    assert chat.tools_offered == ("find",)
    assert sum(turn.bound_tokens for turn in chat.turns) >= 200


def test_embeddings_write_nothing() -> None:
    call = asked("/api/embeddings", {"model": "m", "prompt": "x" * 100}, AT)

    assert (call.max_output_tokens, call.stream) == (0, False)
    assert call.head_bound_tokens >= 100


@pytest.mark.parametrize(
    "body", [{"messages": []}, CHAT | {"options": {"num_predict": "5"}}, CHAT | {"options": 5}]
)
def test_what_is_missing_or_of_another_kind_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(WireError):
        asked("/api/chat", body, AT)
