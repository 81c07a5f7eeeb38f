"""The simulated Bedrock: its answers are read as what it bills, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper.domain import Dialect, Usage
from tollkeeper.simulator import bedrock
from tollkeeper.simulator.exchange import Answer, plan, usage
from tollkeeper.simulator.script import parse
from tollkeeper.wire.meter import meter

CONVERSE = {
    "messages": [{"role": "user", "content": [{"text": "hi"}]}],
    "inferenceConfig": {"maxTokens": 50},
    "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]},
}
INVOKE = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hi"}],
}
WORDS = "tokens=9 reasoning=3 input=40 cache_read=10 cache_write=5 cache_write_1h=7"


def answered(body: dict[str, Any], verb: str, words: str) -> tuple[Answer, Usage, Dialect]:
    claude = "anthropic_version" in body
    model = "anthropic.claude-haiku-4-5-v1%3A0" if claude else "us.amazon.nova-lite-v1%3A0"
    exchange, dialect = bedrock.read(body, model, verb, 1, 0)
    script = parse(words)
    planned = plan(exchange, script)
    billed = usage(exchange, script, planned)
    return bedrock.answer(exchange, script, planned, billed, dialect), billed, dialect


@pytest.mark.parametrize(
    ("body", "verb"),
    [
        (CONVERSE, "converse"),
        (CONVERSE, "converse-stream"),
        (INVOKE, "invoke"),
        (INVOKE, "invoke-with-response-stream"),
    ],
)
def test_what_it_says_is_what_it_bills(body: dict[str, Any], verb: str) -> None:
    answer, billed, dialect = answered(body, verb, WORDS)
    kind = dict(answer.headers)["Content-Type"]
    counting = meter(dialect, "bedrock", kind, answer.streamed, take_out_usage=False)

    for frame in answer.frames:
        counting.feed(frame.data)
    counting.finish()

    read = counting.usage
    assert read is not None
    assert counting.done
    assert (read.input_tokens, read.output_tokens) == (40, 12)
    assert read.cache_read_input_tokens == billed.cache_read_input_tokens
    assert read.cache_write_input_tokens == billed.cache_write_input_tokens
    assert read.cache_write_1h_input_tokens == billed.cache_write_1h_input_tokens


def test_a_tool_is_called_with_its_arguments() -> None:
    answer, _, _ = answered(CONVERSE, "converse", "tool=look args=%7B%22at%22:1%7D")

    message = json.loads(answer.frames[0].data)["output"]["message"]
    assert message["content"][0]["toolUse"]["input"] == {"at": 1}


def test_another_operation_is_none_of_its() -> None:
    with pytest.raises(KeyError):
        bedrock.read(CONVERSE, "m", "count-tokens", 1, 0)
