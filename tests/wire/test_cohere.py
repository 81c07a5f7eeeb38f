from __future__ import annotations

import json

import pytest

from tollkeeper.domain import Changes
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from wire.asking import asked

CHAT = {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "x" * 200}]}


def test_a_chat_of_either_version_is_bounded_by_its_bytes() -> None:
    second = asked("/v2/chat", CHAT | {"documents": ["d" * 300]}, "cohere")
    history = [{"role": "USER", "message": "h" * 200}]
    first = asked(
        "/v1/chat",
        {"model": "m", "message": "x" * 200, "chat_history": history, "preamble": "p"},
        "cohere",
    )

    assert second.head_bound_tokens >= 300
    assert sum(turn.bound_tokens for turn in second.turns) >= 200
    assert [turn.bound_tokens >= 200 for turn in first.turns] == [True, True]


def test_tools_connectors_images_and_thinking_are_seen() -> None:
    tools = [{"type": "function", "function": {"name": "find"}}]
    image = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    call = asked(
        "/v2/chat",
        CHAT | {
            "tools": tools, "thinking": {"type": "enabled"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, image]}],
        },
        "cohere",
    )  # fmt: skip
    first = asked("/v1/chat", {"model": "m", "message": "x", "connectors": [{"id": "web-search"}], "tools": [{"name": "t"}]}, "cohere")  # fmt: skip

    assert call.tools_offered == ("find",)
    assert call.features == {"vision", "reasoning"}
    assert (first.server_tools, first.tools_offered) == (("web-search",), ("t",))


def test_a_conversation_kept_by_the_provider_is_opaque() -> None:
    call = asked("/v1/chat", {"model": "m", "message": "x", "conversation_id": "c"}, "cohere")

    assert (call.opaque_input, call.stored) == ("conversation_id", "conversation_id")


def test_the_output_limit_goes_where_cohere_takes_it() -> None:
    raw = json.dumps(CHAT).encode()
    call = asked("/v2/chat", CHAT, "cohere")

    changed, _ = route.rewrite(
        call, raw, "/v2/chat", Changes(max_output_tokens=7), include_usage=False
    )

    assert json.loads(changed) == CHAT | {"max_tokens": 7}


def test_nothing_bounds_embedded_images_and_bytes_bound_texts() -> None:
    texts = asked("/v2/embed", {"model": "m", "texts": ["x" * 100] * 2}, "cohere")
    images = asked("/v2/embed", {"model": "m", "images": ["data:image/png;base64,AA"]}, "cohere")

    assert texts.head_bound_tokens >= 200
    assert texts.tokens_unbounded is None
    assert images.tokens_unbounded is not None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/chat", {"messages": []}),
        ("/v2/chat", {"model": "m"}),
        ("/v2/chat", {"model": "m", "messages": [{"role": "user", "content": 5}]}),
        ("/v2/embed", {"model": "m"}),
    ],
)
def test_what_is_missing_is_refused(path: str, body: dict[str, object]) -> None:
    with pytest.raises(WireError):
        asked(path, body, "cohere")
