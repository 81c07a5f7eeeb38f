"""What InvokeModel's answers say they used: in Amazon's words, in their makers', and in both."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tollkeeper.domain import Call, Dialect, Usage
from tollkeeper.wire import native_meter, route
from tollkeeper.wire.event_stream import CONTENT_TYPE, message
from tollkeeper.wire.metering import Meter

CALL = Call(
    "bedrock", Dialect.BEDROCK_NATIVE, "invoke", metered=True, model="meta.llama3-8b-instruct-v1:0"
)


def chunk(event: Mapping[str, Any]) -> bytes:
    wrapped = base64.b64encode(json.dumps(event).encode()).decode()
    kind = {":event-type": "chunk", ":message-type": "event"}
    return message(kind, json.dumps({"bytes": wrapped}).encode())


def whole(
    answer: Mapping[str, Any], headers: Mapping[str, str] | None = None, call: Call = CALL
) -> Meter:
    meter = route.meter(call, "application/json", take_out_usage=False, headers=headers or {})
    meter.feed(json.dumps(answer).encode())
    meter.finish()
    return meter


def counts(given: object, written: object) -> dict[str, str]:
    return {
        "x-amzn-bedrock-input-token-count": str(given),
        "x-amzn-bedrock-output-token-count": str(written),
    }


def test_where_header_and_body_differ_the_larger_counts() -> None:
    body = {"generation": "x", "prompt_token_count": 20, "generation_token_count": 3}

    assert whole(body, counts(12, 5)).usage == Usage(input_tokens=20, output_tokens=5)


def test_an_answer_that_says_nothing_has_no_usage() -> None:
    meter = whole({"outputs": [{"text": "hi"}]})

    assert (meter.usage, meter.done) == (None, True)
    assert meter.seen_output_tokens_bound > 0


@pytest.mark.parametrize("said", ["", "-3", "3.5", "١٢", "9" * 40, "12, 13"])
def test_a_header_that_is_no_count_is_not_read(said: str) -> None:
    assert whole({"outputs": []}, counts(said, said)).usage is None


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"outputs": [{"text": "hi"}]}, counts(0, 0)),
        ({"outputs": [{"text": "hi"}]}, {"x-amzn-bedrock-output-token-count": "5"}),
        ({"generation": "hi", "generation_token_count": 2}, {}),
    ],
)
def test_figures_without_what_was_read_are_none(
    body: dict[str, Any], headers: dict[str, str]
) -> None:
    assert whole(body, headers).usage is None


def test_caches_stand_beside_the_input_and_are_added_to_it() -> None:
    headers = counts(4, 2) | {
        "x-amzn-bedrock-cache-read-input-token-count": "100",
        "x-amzn-bedrock-cache-write-input-token-count": "30",
    }

    said = whole({"output": {}, "usage": {"inputTokens": 4, "outputTokens": 2}}, headers).usage

    assert said == Usage(134, 2, cache_read_input_tokens=100, cache_write_input_tokens=30)


def test_a_figure_that_nobody_knows_is_named() -> None:
    said = whole({native_meter.METRICS: {"inputTokenCount": 4, "videoSecondCount": 9}}).usage

    assert said is not None
    assert said.unknown == ("videoSecondCount",)


def test_a_stream_is_whole_only_with_amazons_own_counts() -> None:
    meter = route.meter(CALL, CONTENT_TYPE, take_out_usage=False)
    begun = {"generation": "Two words", "prompt_token_count": 7, "generation_token_count": 2}

    assert meter.feed(chunk(begun)) == chunk(begun)
    assert (meter.usage, meter.done) == (Usage(7, 2), False)
    assert meter.seen_output_tokens_least == 2

    meter.feed(
        chunk(
            {"generation": "", native_meter.METRICS: {"inputTokenCount": 7, "outputTokenCount": 3}}
        )
    )
    assert (meter.usage, meter.done) == (Usage(7, 3), True)


@pytest.mark.parametrize(
    "event",
    [
        {"outputText": "one two"},
        {"generation": "one two"},
        {"text": "one two", "event_type": "text-generation"},
        {"outputs": [{"text": "one two"}]},
        {"choices": [{"text": "one two"}]},
        {"choices": [{"delta": {"content": "one two"}}]},
        {"contentBlockDelta": {"delta": {"text": "one two"}}},
    ],
)
def test_the_text_of_every_maker_is_seen(event: dict[str, Any]) -> None:
    meter = route.meter(CALL, CONTENT_TYPE, take_out_usage=False)

    meter.feed(chunk(event))

    assert meter.seen_output_tokens_least == 2
    assert meter.seen_output_tokens_bound >= len("one two")


def test_images_are_counted_as_they_come_and_what_goes_in_as_it_was_sent() -> None:
    draws = Call(
        "bedrock", Dialect.BEDROCK_NATIVE, "invoke", metered=True, model="amazon.nova-canvas-v1:0",
        max_output_tokens=0, features=frozenset({"image_out"}), most=Usage(images=3),
    )  # fmt: skip
    embeds = Call(
        "bedrock", Dialect.BEDROCK_NATIVE, "invoke", metered=True, max_output_tokens=0,
        features=frozenset({"vision"}), most=Usage(images=1),
    )  # fmt: skip

    assert whole({"images": ["a", "b"]}, call=draws).usage == Usage(output_tokens=0, images=2)
    assert whole({"images": [], "error": "filtered"}, call=draws).usage is None
    assert whole({"embedding": [0.1], "inputTextTokenCount": 4}, call=embeds).usage == Usage(
        4, 0, images=1
    )


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[1]", b'{"usage": 3}', b'{"results": [1, {}]}', b"{"]
)
def test_an_answer_that_is_not_as_documented_breaks_nothing(data: bytes) -> None:
    meter = route.meter(CALL, "application/json", take_out_usage=False)

    assert meter.feed(data) == data
    assert meter.finish() == b""
    assert meter.usage is None
