from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper.errors import WireError
from tollkeeper.wire.stored import stored_object


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"input": [{"content": [{"type": "input_image", "file_id": "f"}]}]}, "file_id"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "container"),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["f"]}}]}, "container"),
        ({"container": {"id": "c", "skills": []}}, "container"),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "audio"),
        ({"cached_content": "cachedContents/1"}, "cached_content"),
        ({"contents": [{"parts": [{"file_data": {"file_uri": "files/1"}}]}]}, "file_uri"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://b/a"}}]}]}, "fileUri"),
        (
            {
                "messages": [
                    {"content": [{"image": {"source": {"s3Location": {"uri": "s3://b/a"}}}}]}
                ]
            },
            "s3Location",
        ),
    ],
)
def test_object_that_the_provider_keeps_is_found(body: dict[str, Any], found: str) -> None:
    assert stored_object(json.dumps(body).encode()) == found


def test_escapes_hide_nothing() -> None:
    assert stored_object(b'{"previous\\u005fresponse_id": "resp_1"}') == "previous_response_id"


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": None, "conversation": None, "file_ids": []},
        {"audio": {"voice": "alloy", "format": "wav"}},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"container": {"skills": [{"skill_id": "pdf"}]}},
        {"thread": {"type": "create"}},
        {"messages": [{"role": "user", "content": 'say "file_id": "x"'}]},
        {"tools": [{"input_schema": {"properties": {"file_id": {"type": "string"}}}}]},
        {"messages": [{"content": [{"type": "tool_use", "input": {"file_id": "of the app"}}]}]},
        {"contents": [{"parts": [{"functionCall": {"args": {"file_id": "of the app"}}}]}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "https://youtu.be/x"}}]}]},
        {"metadata": {"conversation": "of the app"}},
    ],
)
def test_words_of_the_client_and_settings_are_no_objects(body: dict[str, Any]) -> None:
    assert stored_object(json.dumps(body).encode()) is None


def test_unreadable_body_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        stored_object(b'{"file_id": ')
