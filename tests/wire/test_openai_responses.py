from __future__ import annotations

import pytest

from tollkeeper.errors import WireError

FUNCTION = {"type": "function", "name": "read_file", "parameters": {}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": ...}, "model is missing"),
        ({"model": ..., "prompt": {"id": "pmpt_1"}}, "model is missing"),
        ({"input": 5}, "input must be text or a list"),
        ({"input": ["x"]}, "input must be a list of objects"),
        ({"input": [{"role": "user", "content": 5}]}, "content of an input item"),
        ({"input": [{"role": "user", "content": [5]}]}, "part of an input item"),
        ({"max_output_tokens": "abc"}, "max_output_tokens must be a whole number"),
        ({"stream": "yes"}, "stream must be true or false"),
        ({"background": 1}, "background must be true or false"),
        ({"tools": [{}]}, "no type"),
        ({"tools": [{"type": "function"}]}, "no name"),
        ({"reasoning": "high"}, "reasoning must be an object"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_refused_in_one_sentence(
    parse, given, says
) -> None:
    with pytest.raises(WireError, match=says):
        parse("responses", **given)


@pytest.mark.parametrize(
    ("given", "opaque"),
    [
        ({}, None),
        ({"previous_response_id": None}, None),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, None),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference item"),
        ({"input": [{"id": "msg_1"}]}, "item_reference item"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "reasoning item by id"),
        (
            {
                "input": [
                    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "x"}]}
                ]
            },
            None,
        ),
        ({"input": [{"type": [], "content": "x"}]}, "item of no type"),
        ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}]}, None),
        ({"input": [{"type": "compaction", "encrypted_content": "gAAAA"}]}, None),
        (
            {"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]},
            "web_search_call item",
        ),
        (
            {"input": [{"type": "image_generation_call", "id": "ig_1", "result": None}]},
            "image_generation_call item",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input_file content",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
            "input_file content",
        ),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}
                ]
            },
            None,
        ),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": "done"}]}, None),
    ],
)
def test_input_that_is_not_in_the_bytes_is_opaque(parse, given, opaque) -> None:
    assert parse("responses", **given).opaque_input == opaque


def test_tools_of_the_client_and_of_the_provider_are_told_apart(parse) -> None:
    call = parse(
        "responses",
        tools=[
            FUNCTION,
            {"type": "custom", "name": "apply"},
            {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "find"}]},
            {"type": "local_shell"},
            {"type": "tool_search", "execution": "client"},
            {"type": "web_search_preview_2025_03_11"},
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"type": "image_generation"},
            {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example"},
        ],
    )

    assert call.tools_offered == ("read_file", "apply", "find", "local_shell", "tool_search")
    assert call.server_tools == (
        "web_search",
        "file_search",
        "code_interpreter",
        "image_generation",
        "mcp",
    )


@pytest.mark.parametrize(
    ("tool", "offered", "served"),
    [
        ({"type": "shell"}, ("shell",), ()),
        ({"type": "shell", "environment": {"type": "local"}}, ("shell",), ()),
        ({"type": "shell", "environment": {"type": "container_auto"}}, (), ("shell",)),
        ({"type": "computer_use_preview", "environment": "browser"}, ("computer_use_preview",), ()),
        ({"type": "apply_patch"}, ("apply_patch",), ()),
        ({"type": "tool_search"}, (), ("tool_search",)),
        ({"type": "something_new"}, (), ("something_new",)),
    ],
)
def test_built_in_tools_are_the_clients_or_the_providers(parse, tool, offered, served) -> None:
    call = parse("responses", tools=[tool])

    assert (call.tools_offered, call.server_tools) == (offered, served)


def test_tools_offered_inside_the_input_count_as_offered(parse) -> None:
    call = parse(
        "responses",
        input=[
            {"role": "user", "content": "hi"},
            {"type": "additional_tools", "role": "developer", "tools": [FUNCTION]},
            {"type": "tool_search_output", "tools": [{"type": "function", "name": "late"}]},
        ],
    )

    assert call.tools_offered == ("read_file", "late")


@pytest.mark.parametrize(
    ("given", "features"),
    [
        ({}, set()),
        ({"reasoning": {"effort": "low"}}, {"reasoning"}),
        ({"reasoning": {"effort": "none"}}, set()),
        ({"background": True}, {"background"}),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}
                ]
            },
            {"vision"},
        ),
        (
            {
                "input": [
                    {
                        "type": "computer_call_output",
                        "call_id": "1",
                        "output": {
                            "type": "computer_screenshot",
                            "image_url": "data:image/png;base64,AAAA",
                        },
                    }
                ]
            },
            {"vision"},
        ),
    ],
)
def test_features_are_seen(parse, given, features) -> None:
    assert parse("responses", **given).features == features


def test_work_beside_the_answer_is_a_tool_of_the_provider(parse) -> None:
    call = parse(
        "responses",
        context_management=[{"type": "compaction", "compact_threshold": 1000}],
        reasoning={"effort": "high", "mode": "pro"},
    )

    assert call.server_tools == ("reasoning:pro", "compaction")


def test_a_text_as_input_is_one_turn(parse) -> None:
    call = parse("responses", instructions="be kind")

    assert len(call.turns) == 1
    assert call.prompt == "be kind\nhi"


def test_instructions_belong_to_the_head(parse) -> None:
    plain, longer = parse("responses"), parse("responses", instructions="x" * 1000)

    assert 1000 <= longer.head_bound_tokens - plain.head_bound_tokens <= 1050
    assert longer.turns[0].digest != plain.turns[0].digest
    assert longer.turns[0].bound_tokens == plain.turns[0].bound_tokens


def test_unknown_parameters_are_named(parse) -> None:
    assert parse("responses", frobnicate=1, include=[]).unknown_parameters == ("frobnicate",)


@pytest.mark.parametrize(
    "changed", [{"stream": True}, {"prompt_cache_key": "k"}, {"client_metadata": {"a": "b"}}]
)
def test_a_resend_has_the_same_approval_digest(parse, changed) -> None:
    assert parse("responses", **changed).approval_digest == parse("responses").approval_digest


@pytest.mark.parametrize(
    ("tool", "feature"),
    [
        ({"type": "web_search_preview_2025_03_11"}, "web_search_preview"),
        ({"type": "web_search"}, None),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, None),
        ({"type": "code_interpreter", "container": {"memory_limit": "16g"}}, "memory_16g"),
        ({"type": "code_interpreter", "container": {"memory_limit": "9t"}}, "memory_unknown"),
        ({"type": "code_interpreter", "container": "cntr_1"}, "memory_unknown"),
        ({"type": "shell", "environment": {"type": "container_auto"}}, None),
        (
            {"type": "shell", "environment": {"type": "container_auto", "memory_limit": "64g"}},
            "memory_64g",
        ),
        (
            {
                "type": "shell",
                "environment": {"type": "container_reference", "container_id": "cntr_1"},
            },
            "memory_unknown",
        ),
        ({"type": "shell", "environment": {"type": "local"}}, None),
    ],
)
def test_what_makes_a_tool_dearer_is_a_feature(parse, tool, feature) -> None:
    call = parse("responses", tools=[tool])

    assert call.features == ({feature} if feature else set())
