from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain import Dialect
from tollkeeper.wire import bound
from tollkeeper.wire.document import canonical

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@given(TEXT)
def test_text_is_bounded_by_its_bytes_also_after_normalisation(text: str) -> None:
    tokens = bound.text_bound(text)

    assert tokens >= len(text.encode())
    assert tokens >= len(unicodedata.normalize("NFKC", text).encode())


def test_normalisation_may_make_text_longer() -> None:
    assert bound.text_bound("\ufdfa") > 10 * len("\ufdfa")


@given(TEXT)
def test_a_turn_is_bounded_by_more_than_its_text(text: str) -> None:
    message = {"role": "user", "content": text}
    turns = bound.chain(
        "", [message], bound.Tally(Dialect.OPENAI_CHAT, "gpt-4o"), lambda m, t: None, lambda m, s: s
    )

    assert turns[0].bound_tokens >= len(text.encode()) + bound.TURN_ALLOWANCE


def chained(parse, *texts: str, **given: object) -> list[str]:
    messages = [{"role": "user", "content": text} for text in texts]
    return [turn.digest for turn in parse("chat", messages=messages, **given).turns]


def test_a_longer_conversation_has_the_digests_of_its_beginning(parse) -> None:
    assert chained(parse, "a", "b", "c")[:2] == chained(parse, "a", "b")


@pytest.mark.parametrize(
    "changed", [{"max_tokens": 5}, {"temperature": 0.5}, {"stream": True}, {"n": 2}]
)
def test_what_cannot_change_the_input_leaves_the_digests(parse, changed) -> None:
    assert chained(parse, "a", "b", **changed) == chained(parse, "a", "b")


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "gpt-4o-mini"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "high"},
        {"something_new": 1},
    ],
)
def test_what_may_change_the_input_changes_every_digest(parse, changed) -> None:
    assert not set(chained(parse, "a", "b", **changed)) & set(chained(parse, "a", "b"))


def test_digests_do_not_depend_on_how_the_body_was_written(parse_raw) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "é\n"}]}
    written = [
        json.dumps(body).encode(),
        json.dumps(body, ensure_ascii=False, indent=2).encode(),
        b'{"messages":[{"content":"\\u00e9\\n","role":"user"}],"model":"gpt-4o"}',
    ]

    assert len({parse_raw(one).turns for one in written}) == 1
    assert len({parse_raw(one).approval_digest for one in written}) == 1


def test_a_call_that_moves_text_between_messages_has_other_digests(parse) -> None:
    assert chained(parse, "ab", "c")[1] != chained(parse, "a", "bc")[1]


def test_sum_of_turns_and_head_covers_the_whole_body(parse_raw) -> None:
    body = json.dumps(
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "user", "content": "héllo " * 50},
                {"role": "assistant", "content": "x" * 99},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d" * 500}}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"x": "y" * 300}},
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()

    call = parse_raw(body)

    assert call.head_bound_tokens + sum(t.bound_tokens for t in call.turns) >= len(body)


def test_twenty_turns_of_a_coding_agent_are_bounded_within_half_again_of_what_is_billed(
    parse,
) -> None:
    """At 4 bytes a token; the ledger knows what the beginning was billed, so new turns count alone."""
    tools = [
        {"type": "function", "function": {"name": f"tool_{i}", "description": "what it does " * 40}}
        for i in range(20)
    ]
    messages: list[dict[str, object]] = [{"role": "system", "content": "instructions " * 1500}]
    billed_by_digest: dict[str, int] = {}
    bounded = billed = 0
    for turn in range(20):
        messages.append(
            {
                "role": "user" if not turn else "tool",
                "tool_call_id": str(turn),
                "content": "text " * 600,
            }
        )
        call = parse("chat", messages=messages, tools=tools)
        real = (len(canonical(messages)) + len(canonical(tools))) // 4
        known = [
            (i, billed_by_digest[t.digest])
            for i, t in enumerate(call.turns)
            if t.digest in billed_by_digest
        ]
        last, before = known[-1] if known else (-1, call.head_bound_tokens)
        bounded += before + sum(t.bound_tokens for t in call.turns[last + 1 :])
        billed += real
        billed_by_digest[call.turns[-1].digest] = real
        messages.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": str(turn),
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}" * 60},
                    }
                ],
            }
        )

    assert billed <= bounded <= 1.5 * billed


def test_of_a_long_prompt_the_newest_is_kept() -> None:
    texts = ["old " * 20_000, "new"]

    prompt = bound.prompt_of(texts)

    assert prompt.endswith("\nnew")
    assert len(prompt.encode()) == bound.PROMPT_BYTES


def test_a_long_prompt_is_cut_between_characters() -> None:
    prompt = bound.prompt_of(["漢" * bound.PROMPT_BYTES])

    assert bound.PROMPT_BYTES - 3 <= len(prompt.encode()) <= bound.PROMPT_BYTES
    assert set(prompt) == {"漢"}


PDF = "JVBERi0x" * 10_000
FILES = {
    "chat": [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}],
    "responses": [{"type": "input_file", "filename": "a.pdf", "file_data": PDF}],
    "messages": [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        }
    ],
    "gemini": [{"inlineData": {"mimeType": "application/pdf", "data": PDF}}],
}
KEPT = {"responses": {"previous_response_id": "r"}, "gemini": {"cachedContent": "c/1"}}


def with_parts(parse, kind: str, parts: list[object], **given: object):
    if kind == "gemini":
        return parse(kind, contents=[{"role": "user", "parts": parts}], **given)
    key = "input" if kind == "responses" else "messages"
    return parse(kind, **{key: [{"role": "user", "content": parts}]}, **given)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_has_no_known_size_and_its_bytes_are_not_text(parse, kind: str) -> None:
    once, twice = (with_parts(parse, kind, FILES[kind] * count) for count in (1, 2))

    assert once.opaque_input is not None
    assert (once.unsized_parts, twice.unsized_parts) == (1, 2)
    assert twice.turns[0].bound_tokens < 1_000


@pytest.mark.parametrize("kind", KEPT)
def test_a_file_beside_what_the_provider_keeps_is_not_all_that_is_hidden(parse, kind: str) -> None:
    assert with_parts(parse, kind, FILES[kind], **KEPT[kind]).unsized_parts == 0
