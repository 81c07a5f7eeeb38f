"""Whatever a body holds, parsing gives a call or one sentence, never another exception."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tollkeeper.domain import Call, Changes
from tollkeeper.errors import WireError
from tollkeeper.wire import anthropic, bedrock, gemini, openai_chat, openai_responses, route
from tollkeeper.wire.fields import words

KINDS = {
    "chat": openai_chat,
    "responses": openai_responses,
    "messages": anthropic,
    "gemini": gemini,
    "converse": bedrock,
    "invoke": anthropic,
}

WORDS = st.sampled_from(
    sorted(
        words(
            """type role content text parts input image_url url source data base64 document image tool_use tool_result
    function name tools arguments inlineData inline_data mimeType fileData functionResponse response system
    cache_control ttl thinking encrypted_content output result $ref $defs #/$defs/name message reasoning
    function_call_output input_image data:image/png;base64,AAAA user additional_tools definition tool_addition
    functionDeclarations toolSpec toolUse toolResult cachePoint guardContent bytes environment container edits custom namespace"""
        )
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=3)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=25,
)


@pytest.mark.parametrize("kind", list(KINDS))
def test_parsing_gives_a_call_or_one_sentence(kind: str, parse_raw_once, smallest) -> None:
    known = st.sampled_from(sorted(KINDS[kind].KNOWN))

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(known | WORDS, TREES, max_size=4))
    def check(given_members: dict[str, Any]) -> None:
        body = json.dumps({**smallest[kind], **given_members}).encode()
        said = None
        try:
            call = parse_raw_once(body, kind)
        except WireError as e:
            said = str(e)
        if said is not None:
            assert said
            assert "\n" not in said
            return
        assert isinstance(call, Call)
        assert call.head_bound_tokens >= 0
        assert all(turn.bound_tokens > 0 for turn in call.turns)
        assert call.choices >= 1
        with suppress(WireError):
            route.wants_usage_event(call, body)
            route.rewrite(call, body, "/x", Changes(max_output_tokens=3), include_usage=True)

    check()


MEMBERS = st.dictionaries(WORDS, TREES, max_size=3)
KINDS_OF_BLOCK = st.sampled_from(
    sorted(
        words(
            """text image document image_url input_audio file tool_use tool_result search_result tool_addition
            thinking reasoning message function_call function_call_output additional_tools tool_search_output
            image_generation_call input_image computer_screenshot namespace function custom shell mcp
            web_search_20250305 bash_20250124"""
        )
    )
)
BLOCKS = st.builds(lambda kind, more: {**more, "type": kind}, KINDS_OF_BLOCK | TREES, MEMBERS)
INSIDE = st.sampled_from(
    sorted(
        words(
            "content output tools source tool definition parts function inlineData functionResponse"
        )
    )
)
NESTED = st.recursive(
    BLOCKS,
    lambda inner: st.builds(
        lambda outer, key, blocks: {**outer, key: blocks},
        BLOCKS,
        INSIDE,
        inner | st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)
TURNS = {
    "chat": "messages",
    "responses": "input",
    "messages": "messages",
    "gemini": "contents",
    "converse": "messages",
    "invoke": "messages",
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_blocks_of_known_types_with_anything_inside_give_a_call_or_one_sentence(
    kind: str, parse_raw_once, smallest
) -> None:
    turn = st.builds(
        lambda blocks, more: {**more, "role": "user", "content": blocks, "parts": blocks},
        st.lists(NESTED, max_size=2) | TREES,
        MEMBERS,
    )

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(turn | NESTED, max_size=2), st.lists(NESTED, max_size=2))
    def check(turns: list[Any], tools: list[Any]) -> None:
        with suppress(WireError):
            call = parse_raw_once(
                json.dumps({**smallest[kind], TURNS[kind]: turns, "tools": tools}).encode(), kind
            )
            assert len(call.turns) == len(turns)

    check()


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=100)
@given(data=st.binary(max_size=300), inside=st.booleans())
def test_no_bytes_raise_anything_but_a_wire_error(
    kind: str, data: bytes, inside: bool, parse_raw_once
) -> None:
    body = b'{"model":"m","messages":[' + data + b'],"input":"' + data + b'"}' if inside else data

    with suppress(WireError):
        parse_raw_once(body, kind)
