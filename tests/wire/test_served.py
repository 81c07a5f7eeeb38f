from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper.domain import Dialect
from tollkeeper.wire.served import Served


def answered(dialect: Dialect, answer: dict[str, Any]) -> Served:
    served = Served(dialect)
    served.answer(answer)
    return served


def test_items_of_a_response_are_counted_by_their_tools() -> None:
    output = [
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search"}},
        {"type": "web_search_call", "id": "ws_2", "action": {"type": "open_page"}},
        {"type": "web_search_call", "id": "ws_3"},
        {"type": "file_search_call", "id": "fs_1"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {"type": "code_interpreter_call", "id": "ci_2", "container_id": "cntr_1"},
        {"type": "message", "id": "m"},
    ]

    uses = answered(Dialect.OPENAI_RESPONSES, {"output": output}).uses()

    assert uses == (("code_interpreter", 1), ("file_search", 1), ("web_search", 2))


def test_a_hosted_shell_and_a_code_interpreter_share_the_container_that_is_billed() -> None:
    hosted = {"type": "container_reference", "container_id": "cntr_1"}
    output = [
        {"type": "shell_call", "id": "sh_1", "environment": hosted},
        {"type": "shell_call", "id": "sh_2", "environment": hosted},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {"type": "shell_call", "id": "sh_3", "environment": {"type": "local"}},
        {"type": "shell_call", "id": "sh_4"},
    ]

    uses = answered(Dialect.OPENAI_RESPONSES, {"output": output}).uses()

    assert uses == (("code_interpreter", 1),)


def test_tools_that_groq_ran_are_counted_once_whole_or_in_events() -> None:
    tools = [{"index": 0, "type": "search"}, {"index": 1, "type": "search"}]
    whole = answered(Dialect.OPENAI_CHAT, {"choices": [{"message": {"executed_tools": tools}}]})
    served = Served(Dialect.OPENAI_CHAT)

    for ran in (tools[:1], tools[:1], tools[1:]):
        event = {"choices": [{"index": 0, "delta": {"executed_tools": ran}}]}
        served.event(json.dumps(event).encode())

    assert whole.uses() == served.uses() == (("search", 2),)


def test_an_item_met_in_its_event_and_in_the_whole_answer_counts_once() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "action": {"type": "search"}}
    served = Served(Dialect.OPENAI_RESPONSES)

    served.event(json.dumps({"type": "response.output_item.done", "item": item}).encode())
    served.answer({"output": [item]})

    assert served.uses() == (("web_search", 1),)


def test_code_that_anthropic_runs_is_one_container_an_answer() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {}}
    served = Served(Dialect.ANTHROPIC)

    for _ in range(2):
        event = {"type": "content_block_start", "index": 0, "content_block": block}
        served.event(json.dumps(event).encode())

    assert served.uses() == (("code_execution", 1),)
    assert answered(Dialect.ANTHROPIC, {"content": [block]}).uses() == served.uses()


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-pro", 1), ("gemini-3-pro", 2)])
def test_grounding_is_billed_by_prompt_or_by_unique_query(model: str, searches: int) -> None:
    found = {"webSearchQueries": ["", "tea", "tea", "milk"], "groundingChunks": [{"maps": {}}]}

    served = answered(Dialect.GEMINI, {"candidates": [{"groundingMetadata": found}]})

    assert served.web_searches(model) == searches
    assert served.uses() == (("google_maps", 1),)


def test_sources_without_queries_are_one_search() -> None:
    found = {"groundingChunks": [{"web": {"uri": "https://a.example"}}]}

    served = answered(Dialect.GEMINI, {"candidates": [{"groundingMetadata": found}]})

    assert served.web_searches("gemini-3-pro") == 1


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    "odd",
    [
        {"output": 1, "content": "x", "candidates": {}},
        {"output": [None, {"type": 3}], "content": [[]], "candidates": [{"groundingMetadata": 5}]},
        {"candidates": [{"groundingMetadata": {"webSearchQueries": "x", "groundingChunks": 1}}]},
    ],
)
def test_odd_answers_count_nothing(dialect: Dialect, odd: dict[str, Any]) -> None:
    served = answered(dialect, odd)
    served.event(b'{"type": "response.output_item.done", "item": [')
    served.event(b'{"type": "server_tool_use"')

    assert served.uses() == ()
    assert served.web_searches(None) == 0
