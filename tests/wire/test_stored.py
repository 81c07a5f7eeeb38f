from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.errors import WireError
from tollkeeper.wire import stored
from tollkeeper.wire.stored import MOST_NAMED, NAMES, stored_objects


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"input": [{"id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": None, "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "reasoning item by id"),
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
        ({"messages": [{"content": [{"image_url": {"url": "gs://b/a.png"}}]}]}, "url"),
        ({"messages": [{"content": [{"image_url": "S3://b/a.png"}]}]}, "image_url"),
        ({"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/1"]}}]},
         "fileSearchStoreNames"),
        ({"type": "message", "input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"type": "message", "input": [{"file_id": "f"}]}, "file_id"),
    ],
)  # fmt: skip
def test_object_that_the_provider_keeps_is_found(body: dict[str, Any], found: str) -> None:
    named = stored_objects(json.dumps(body).encode())

    assert named is not None
    assert named[0] == found
    assert all(named[1])


def test_escaped_slashes_of_an_address_hide_nothing() -> None:
    body = b'{"messages": [{"content": [{"image_url": {"url": "gs:\\/\\/b\\/a.png"}}]}]}'

    assert stored_objects(body) == ("url", ("gs://b/a.png",))


def test_escapes_hide_nothing() -> None:
    assert stored_objects(b'{"previous\\u005fresponse_id": "resp_1"}') == (
        "previous_response_id", ("resp_1",),
    )  # fmt: skip


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
        {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]},
        {"input": [{"type": "message", "id": "msg_1", "role": "user", "content": "x"}]},
        {"messages": [{"role": "user", "content": "gs://b/a is where it lies"}]},
        {"input": "gs://b/a", "prompt": "s3://b/a"},
        {"contents": [{"parts": [{"text": "gs://b/a"}]}], "tools": [{"retrieval": {}}]},
    ],
)
def test_words_of_the_client_and_settings_are_no_objects(body: dict[str, Any]) -> None:
    assert stored_objects(json.dumps(body).encode()) is None


def test_unreadable_body_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        stored_objects(b'{"file_id": ')


def test_every_id_is_named_once() -> None:
    body = {
        "conversation": {"id": "conv_1"},
        "tools": [{"container": {"type": "auto", "file_ids": ["file_1", "file_2"]}}],
        "input": [{"type": "item_reference", "id": "msg_1"}, {"file_id": "file_1"}],
    }

    named = stored_objects(json.dumps(body).encode())

    assert named is not None
    assert sorted(named[1]) == ["conv_1", "file_1", "file_2", "msg_1"]


@pytest.mark.parametrize(
    "body",
    [
        {"file_ids": [{"id": "file_1"}]},
        {"input": [{"type": "item_reference"}]},
        {"container": {"id": 7}},
        {"file_ids": [f"file_{n}" for n in range(MOST_NAMED + 1)]},
        {"tools": [{"retrieval": {"vertexRagStore": {"ragResources": [{"ragCorpus": "r/1"}]}}}]},
        {"tools": [{"retrieval": {"vertex_ai_search": {"engine": "e/1"}}}]},
    ],
)
def test_what_cannot_be_read_as_ids_stands_as_an_empty_one(body: dict[str, Any]) -> None:
    named = stored_objects(json.dumps(body).encode())

    assert named is not None
    assert "" in named[1]


KEYS = st.sampled_from(
    [*sorted(NAMES), "vertexRagStore", "id", "type", "url", "uri", "data", "text"]
)
TEXTS = st.sampled_from(
    ["x", "", 'a"b', "gs://b/a", "S3://b", "files/1", "reasoning", "item_reference"]
)
BODIES = st.dictionaries(
    st.sampled_from(["input", "messages", "contents", "file_id", "tools"]),
    st.recursive(
        st.none() | st.integers() | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)


@given(BODIES, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
def test_no_body_is_passed_over_that_names_an_object(
    body: dict[str, Any], ascii_only: bool, separators: tuple[str, str]
) -> None:
    sent = json.dumps(body, ensure_ascii=ascii_only, separators=separators).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "_MAY_NAME", re.compile(b""))
        looked_into = stored_objects(sent)

    assert stored_objects(sent) == looked_into
