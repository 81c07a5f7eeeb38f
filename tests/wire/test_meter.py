from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain import Dialect, Usage
from tollkeeper.wire import meter as meters
from tollkeeper.wire.meter import Meter

SSE = "text/event-stream"

MAIN = [
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC,
    Dialect.GEMINI,
]


def meter(
    dialect: Dialect = Dialect.OPENAI_CHAT, content_type: str = SSE, *, take_out: bool = False
) -> Meter:
    return meters.meter(dialect, "openai", content_type, True, take_out_usage=take_out)


def chunk(content: str | None = None, **more: object) -> bytes:
    choices = (
        []
        if content is None
        else [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    )
    return b"data: " + json.dumps({"id": "c", "choices": choices, **more}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_only_the_usage_event_is_taken_out() -> None:
    kept = [
        b": comment\n\n",
        chunk(None, prompt_filter_results=[], usage=None),
        chunk("hi", usage=None),
        chunk("with usage", usage=USAGE),
        chunk('"choices":[],"usage":{"prompt_tokens":9}'),
    ]
    stream = b"".join(kept) + chunk(None, usage=USAGE) + b"data: [DONE]\n\n"
    counting = meter(take_out=True)

    passed = counting.feed(stream) + counting.finish()

    assert passed == b"".join(kept) + b"data: [DONE]\n\n"
    assert counting.usage == Usage(3, 2)
    assert counting.done


def test_while_one_event_may_be_taken_out_the_others_pass_as_soon_as_they_are_whole() -> None:
    counting = meter(take_out=True)
    first, second = chunk("a"), chunk("b")

    assert counting.feed(first) == first
    assert counting.feed(second[:10]) == b""
    assert counting.feed(second[10:] + first[:5]) == second
    assert counting.finish() == first[:5]


def test_a_usage_event_without_its_blank_line_is_taken_out_as_well() -> None:
    counting = meter(take_out=True)

    assert counting.feed(chunk(None, usage=USAGE)[:-2]) == b""
    assert counting.finish() == b""
    assert counting.usage == Usage(3, 2)


def test_an_error_event_passes_also_when_it_names_usage() -> None:
    event = (
        b"data: "
        + json.dumps({"choices": [], "usage": USAGE, "error": {"message": "x"}}).encode()
        + b"\n\n"
    )

    assert meter(take_out=True).feed(event) == event


def test_other_dialects_never_lose_an_event() -> None:
    event = chunk(None, usage=USAGE)

    assert meter(Dialect.ANTHROPIC, take_out=True).feed(event) is event


def test_without_taking_out_the_very_chunk_goes_on() -> None:
    counting, half = meter(), b'data: {"choi'

    assert counting.feed(half) is half


def test_usage_on_every_chunk_is_cumulative_and_the_last_one_wins() -> None:
    counting = meter()
    for tokens in (1, 2, 3):
        usage = {"prompt_tokens": 16, "completion_tokens": tokens, "total_tokens": 16 + tokens}
        counting.feed(chunk("x", usage=usage))

    assert counting.usage == Usage(16, 3)
    assert not counting.done


def test_a_stream_without_a_done_marker_is_whole_after_its_usage_event() -> None:
    counting = meter()
    counting.feed(chunk("x"))
    assert not counting.done

    counting.feed(chunk(None, usage=USAGE))

    assert counting.done


def test_a_cut_stream_is_not_done_and_bounds_the_text_that_was_seen() -> None:
    counting = meter()
    for text in ("Hel", "lo", ' "you"\n'):
        counting.feed(chunk(text))
    counting.feed(chunk("unfinished")[:-8])

    assert counting.usage is None
    assert not counting.done
    assert 13 <= counting.seen_output_tokens_bound <= 20


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5),
    st.sampled_from(MAIN),
)
def test_seen_text_is_bounded_by_its_bytes(texts: list[str], dialect: Dialect) -> None:
    shapes = {
        Dialect.OPENAI_CHAT: lambda t: {"choices": [{"delta": {"content": t}}]},
        Dialect.OPENAI_RESPONSES: lambda t: {"type": "response.output_text.delta", "delta": t},
        Dialect.ANTHROPIC: lambda t: {
            "type": "content_block_delta",
            "delta": {"type": "text_delta", "text": t},
        },
        Dialect.GEMINI: lambda t: {"candidates": [{"content": {"parts": [{"text": t}]}}]},
        Dialect.CODE_ASSIST: lambda t: {
            "response": {"candidates": [{"content": {"parts": [{"text": t}]}}]}
        },
    }
    shapes[Dialect.BEDROCK_CONVERSE] = lambda t: {"contentBlockIndex": 0, "delta": {"text": t}}
    shapes[Dialect.BEDROCK_INVOKE] = shapes[Dialect.ANTHROPIC]
    counting = meter(dialect)

    for text in texts:
        counting.feed(
            b"data: " + json.dumps(shapes[dialect](text), ensure_ascii=False).encode() + b"\n\n"
        )

    assert counting.seen_output_tokens_bound >= sum(len(text.encode()) for text in texts)


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        (Dialect.OPENAI_CHAT, {"choices": [{"delta": {"novelty": "y" * 50}}]}),
        (
            Dialect.OPENAI_CHAT,
            {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "y" * 50}}]}}]},
        ),
        (
            Dialect.ANTHROPIC,
            {"type": "content_block_delta", "delta": {"type": "novelty", "novelty": "y" * 50}},
        ),
        (Dialect.ANTHROPIC, {"type": "content_block_delta", "delta": {"partial_json": "y" * 50}}),
        (
            Dialect.OPENAI_RESPONSES,
            {"type": "response.function_call_arguments.delta", "delta": "y" * 50},
        ),
        (
            Dialect.GEMINI,
            {"candidates": [{"content": {"parts": [{"functionCall": {"args": {"a": "y" * 50}}}]}}]},
        ),
    ],
)
def test_output_of_any_shape_is_counted(dialect, event) -> None:
    counting = meter(dialect)

    counting.feed(b"data: " + json.dumps(event).encode() + b"\n\n")

    assert counting.seen_output_tokens_bound >= 50


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"usage": 3}',
        b'{"usage": {}}',
        b'{"usage": {"prompt_tokens": "x"}}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_cannot_be_read_passes_and_says_nothing(body: bytes) -> None:
    counting = meter(content_type="application/json")

    assert counting.feed(body) == body
    assert counting.finish() == b""
    assert counting.usage is None or counting.usage.input_tokens is None


@pytest.mark.parametrize("dialect", MAIN)
@given(st.binary(max_size=200))
def test_no_bytes_make_a_stream_meter_fail_or_change_them(dialect: Dialect, noise: bytes) -> None:
    counting = meter(dialect)
    event = b'data: {"usage":{"x":' + noise + b"}}\n\n"

    assert counting.feed(noise) == noise
    assert counting.feed(event) == event
    counting.finish()
    assert counting.usage is None or counting.usage.input_tokens is None


def test_a_json_answer_is_done_when_it_is_whole() -> None:
    body = json.dumps({"model": "gpt-4o", "usage": USAGE}).encode()
    whole, cut = meter(content_type="application/json"), meter(content_type="application/json")

    whole.feed(b"\n\n" + body[:20])
    whole.feed(body[20:])
    whole.finish()
    whole.finish()
    cut.feed(body[:-3])
    cut.finish()

    assert (whole.done, whole.usage) == (True, Usage(3, 2, model="gpt-4o"))
    assert (cut.done, cut.usage) == (False, None)
    assert cut.seen_output_tokens_bound == len(body) - 3


@pytest.mark.parametrize(
    ("body", "content_type", "begun"),
    [
        (b"", SSE, False),
        (b": waiting\n\n", SSE, False),
        (b"data: <html>\n\n", SSE, False),
        (chunk("hi"), SSE, True),
        (b"", "application/json", False),
        (b'{"choices": [', "application/json", False),
        (b'{"choices": []}', "application/json", True),
    ],
)
def test_an_answer_has_begun_when_something_of_it_could_be_read(
    body: bytes, content_type: str, begun: bool
) -> None:
    counting = meter(content_type=content_type)

    counting.feed(body)
    counting.finish()

    assert counting.begun is begun
