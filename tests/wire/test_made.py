"""What an answer says that its provider keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper.domain import Dialect
from tollkeeper.wire.made import MOST_IDS, Made

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "conversation": {"id": "conv_1"},
    "previous_response_id": "resp_0",
    "output": [
        {"type": "reasoning", "id": "rs_1"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {
            "type": "message",
            "id": "msg_1",
            "content": [
                {
                    "type": "output_text",
                    "text": "x",
                    "annotations": [
                        {"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1"},
                        {"type": "file_citation", "file_id": "file_of_somebody"},
                    ],
                }
            ],
        },
    ],
}  # fmt: skip
FILES = {
    "type": "bash_code_execution_tool_result",
    "content": {"type": "x", "content": [{"type": "y", "file_id": "file_1"}]},
}


@pytest.mark.parametrize(
    ("dialect", "value", "ids"),
    [
        (Dialect.OPENAI_RESPONSES, RESPONSE, ["resp_1", "conv_1", "rs_1", "ci_1", "cntr_1", "msg_1", "cfile_1"]),
        (Dialect.OPENAI_RESPONSES, {"object": "conversation", "id": "conv_2"}, ["conv_2"]),
        (Dialect.OPENAI_RESPONSES, {"type": "response.output_item.done", "item": {"id": "msg_2"}}, ["msg_2"]),
        (Dialect.OPENAI_CHAT, {"id": "c", "choices": [{"message": {"audio": {"id": "audio_1"}}}]}, ["audio_1"]),
        (Dialect.ANTHROPIC, {"id": "m", "container": {"id": "container_1"}, "content": [FILES]}, ["container_1", "file_1"]),
        (Dialect.ANTHROPIC, {"type": "message_delta", "delta": {"container": {"id": "container_1"}}}, ["container_1"]),
        (Dialect.GEMINI, {"id": "x"}, []),
        (Dialect.OPENAI_RESPONSES, {"response": {"id": 7, "output": "x"}, "item": []}, []),
        (Dialect.OPENAI_RESPONSES, [1], []),
        (Dialect.OPENAI_RESPONSES, {"object": "list", "data": [{"id": "msg_of_somebody"}]}, []),
        (Dialect.ANTHROPIC, {"content": [FILES | {"type": "mcp_tool_result"}]}, []),
    ],
)  # fmt: skip
def test_ids_of_what_was_made(dialect: Dialect, value: Any, ids: list[str]) -> None:
    made = Made(dialect)

    made.read(value)

    assert list(made.ids) == ids


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [("queued", True), ("in_progress", True), ("completed", False), ("cancelled", False)],
)
def test_response_goes_on_until_it_has_ended(status: str, goes_on: bool) -> None:
    made = Made(Dialect.OPENAI_RESPONSES)

    made.read({"response": {"id": "resp_1", "status": status}})

    assert made.goes_on is goes_on


def test_number_of_ids_is_bounded() -> None:
    made = Made(Dialect.OPENAI_RESPONSES)

    made.read(RESPONSE | {"output": [{"id": f"msg_{n}"} for n in range(2 * MOST_IDS)]})

    assert len(made.ids) == MOST_IDS


def test_events_of_text_concern_no_object() -> None:
    made = Made(Dialect.OPENAI_RESPONSES)

    assert not made.concerns(b'{"type":"response.output_text.delta","delta":"x"}')
    assert made.concerns(json.dumps({"type": "response.created", "response": RESPONSE}).encode())
