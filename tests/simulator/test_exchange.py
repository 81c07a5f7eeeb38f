"""How the simulator counts, plans and reads its directives."""

from __future__ import annotations

import pytest

from tollkeeper.errors import UsageError
from tollkeeper.simulator.exchange import (
    Exchange,
    count_tokens,
    example,
    groups,
    images_in,
    plan,
    texts_in,
    usage,
)
from tollkeeper.simulator.script import Script, find, parse

CALL = Exchange(model="m", stream=False, last_text="", input_tokens=100)


@pytest.mark.parametrize(
    ("texts", "messages", "tokens"),
    [
        ([], 0, 3),
        ([""], 1, 7),
        (["a"], 1, 8),
        (["abcd"], 1, 8),
        (["abcde"], 1, 9),
        (["\u00e9\u00e9"], 1, 8),
        (["\u00e9\u00e9\u00e9"], 1, 9),
        (["\U0001f600"], 1, 8),
        (["a", "b"], 2, 13),
    ],
)
def test_four_bytes_are_a_token_and_every_message_costs_four_more(texts, messages, tokens):
    assert count_tokens(texts, messages) == tokens


def test_labels_and_images_are_no_text():
    value = [
        {"role": "user", "content": [
            {"type": "text", "text": "one"},
            {"type": "image_url", "image_url": {"url": "data:..."}},
            {"type": "tool_result", "tool_use_id": "id", "content": [{"text": "two"}]},
        ]},
        {"parts": [{"inlineData": {"data": "AAAA"}}, {"text": "three"}]},
    ]  # fmt: skip

    assert list(texts_in(value)) == ["one", "two", "three"]
    assert images_in(value) == 2


@pytest.mark.parametrize(
    ("limit", "words", "reasoning", "finish"),
    [
        (None, 8, 4, "stop"),
        (12, 8, 4, "stop"),
        (11, 7, 4, "length"),
        (4, 0, 4, "length"),
        (3, 0, 3, "length"),
        (0, 0, 0, "length"),
    ],
)
def test_reasoning_comes_first_and_counts_against_the_limit(limit, words, reasoning, finish):
    call = Exchange("m", False, "", 1, max_output_tokens=limit)

    planned = plan(call, Script(tokens=8, reasoning=4))

    assert (len(planned.words), planned.reasoning_tokens, planned.finish) == (
        words,
        reasoning,
        finish,
    )
    assert planned.output_tokens == words + reasoning


def test_a_tool_call_that_meets_the_limit_is_cut_in_its_arguments():
    call = Exchange("m", False, "", 1, max_output_tokens=3)

    planned = plan(call, Script(tool="run", args='{"command":"ls -la"}'))

    assert (planned.arguments_json, planned.finish) == ('{"command":"', "length")


@pytest.mark.parametrize(
    ("script", "reads", "writes", "long_writes"),
    [
        (Script(cache_read=40), 40, 0, 0),
        (Script(cache_read=400), 100, 0, 0),
        (Script(cache_read=40, cache_write=20, cache_write_1h=10), 40, 30, 10),
        (Script(cache_read=80, cache_write=50, cache_write_1h=10), 80, 20, 10),
        (Script(input=1000, cache_read=400), 400, 0, 0),
    ],
)
def test_parts_of_the_input_never_exceed_the_whole(script, reads, writes, long_writes):
    billed = usage(CALL, script, plan(CALL, script))

    assert billed.cache_read_input_tokens == reads
    assert billed.cache_write_input_tokens == writes
    assert billed.cache_write_1h_input_tokens == long_writes
    assert reads + writes <= billed.input_tokens


@pytest.mark.parametrize(
    ("chunks", "sizes"), [(None, [1] * 7), (3, [2, 2, 3]), (1, [7]), (0, [7]), (99, [1] * 7)]
)
def test_pieces_are_grouped_evenly_and_none_is_lost(chunks, sizes):
    made = list(groups(tuple("abcdefg"), chunks))

    assert [count for _, count in made] == sizes
    assert "".join(text for text, _ in made) == "abcdefg"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        ({"type": "string"}, "simulated"),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "INTEGER", "minimum": 5}, 5),
        ({"enum": ["a", "b"]}, "a"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        (
            {"type": "object", "properties": {"a": {"type": "number"}, "b": {}}, "required": ["a"]},
            {"a": 1},
        ),
    ],
)
def test_arguments_are_made_up_from_the_schema(schema, value):
    assert example(schema) == value


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("", Script()),
        ("tokens=50 delay=0.02 first_delay=1", Script(tokens=50, delay=0.02, first_delay=1.0)),
        ("hang", Script(hang=True)),
        ("hang=no", Script(hang=False)),
        ("text=two%20words message=a%5Db", Script(text="two words", message="a]b")),
        ("tokens=1 tokens=2", Script(tokens=2)),
    ],
)
def test_directives_are_read(words, script):
    assert parse(words) == script


@pytest.mark.parametrize(
    "words", ["tokens=many", "tokens=", "nonsense", "tokens=1.5", "delay=soon"]
)
def test_directives_that_mean_nothing_are_refused(words):
    with pytest.raises(UsageError, match=words.partition("=")[0]):
        parse(words)


def test_directives_are_found_anywhere_in_a_prompt():
    assert find("Say [sim tokens=3] and [sim cut=1]. [simple] [sim]") == "tokens=3 cut=1"
