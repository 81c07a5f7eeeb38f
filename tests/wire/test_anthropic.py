from __future__ import annotations

import pytest

from tollkeeper.errors import WireError

IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4000},
}


def user(*blocks: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(blocks)}]


def result(*blocks: object) -> list[dict[str, object]]:
    return user({"type": "tool_result", "tool_use_id": "t", "content": list(blocks)})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": ...}, "model is missing"),
        ({"model": 4}, "model must be text"),
        ({"messages": ...}, "messages is missing"),
        ({"messages": {}}, "messages must be a list"),
        ({"messages": [{"role": "user", "content": 4}]}, "content of a message"),
        ({"messages": user("x")}, "block of a message"),
        ({"max_tokens": "100"}, "max_tokens must be a whole number"),
        ({"max_tokens": -1}, "max_tokens must be a whole number"),
        ({"stream": "true"}, "stream must be true or false"),
        ({"system": 5}, "system must be a list"),
        ({"tools": [{"name": ""}]}, "no name"),
        ({"tools": [{"type": 5}]}, "must be text"),
        ({"fallbacks": [{"model": "claude-opus-4-5"}]}, "fallbacks lets another model answer"),
        ({"thinking": True}, "thinking must be an object"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_refused_in_one_sentence(
    parse, given, says
) -> None:
    with pytest.raises(WireError, match=says):
        parse("messages", **given)


@pytest.mark.parametrize(
    ("tool", "offered", "served"),
    [
        ({"name": "Read", "input_schema": {}}, ("Read",), ()),
        ({"type": "custom", "name": "Read", "input_schema": {}}, ("Read",), ()),
        ({"type": "bash_20250124", "name": "bash"}, ("bash",), ()),
        (
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            ("str_replace_based_edit_tool",),
            (),
        ),
        ({"type": "computer_20251124", "name": "computer"}, ("computer",), ()),
        ({"type": "memory_20250818", "name": "memory"}, ("memory",), ()),
        ({"type": "computer_toolset_20260801"}, ("computer_toolset",), ()),
        ({"type": "web_search_20250305", "name": "web_search"}, (), ("web_search",)),
        ({"type": "web_fetch_20260318", "name": "web_fetch"}, (), ("web_fetch",)),
        ({"type": "code_execution_20260521", "name": "code_execution"}, (), ("code_execution",)),
        (
            {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"},
            (),
            ("tool_search_tool",),
        ),
        ({"type": "advisor_20260301", "name": "advisor", "model": "x"}, (), ("advisor",)),
        ({"type": "mcp_toolset", "mcp_server_name": "x"}, (), ("mcp",)),
    ],
)
def test_tools_are_run_by_the_client_or_by_the_provider(parse, tool, offered, served) -> None:
    call = parse("messages", tools=[tool])

    assert (call.tools_offered, call.server_tools) == (offered, served)


def test_a_built_in_tool_of_unknown_size_makes_the_input_opaque(parse) -> None:
    assert parse("messages", tools=[{"type": "bash_20250124", "name": "bash"}]).opaque_input is None
    assert "browser_toolset" in (
        parse("messages", tools=[{"type": "browser_toolset_20260801"}]).opaque_input or ""
    )


def test_a_built_in_tool_costs_more_than_its_bytes(parse) -> None:
    plain = parse("messages", tools=[{"name": "bash", "input_schema": {}}])
    built_in = parse("messages", tools=[{"type": "bash_20250124", "name": "bash"}])

    assert built_in.head_bound_tokens > plain.head_bound_tokens + 245


def test_a_tool_added_inside_the_conversation_counts_as_offered(parse) -> None:
    tool = {"type": "tool_definition", "definition": {"name": "late", "input_schema": {}}}

    call = parse("messages", messages=user({"type": "tool_addition", "tool": tool}))

    assert call.tools_offered == ("late",)


@pytest.mark.parametrize(
    ("given", "opaque"),
    [
        ({}, None),
        ({"messages": user(IMAGE)}, None),
        (
            {"messages": user({"type": "image", "source": {"type": "url", "url": "https://x"}})},
            None,
        ),
        ({"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})}, None),
        ({"messages": user({"type": "document", "source": {"type": "text", "data": "x"}})}, None),
        (
            {"messages": user({"type": "document", "source": {"type": "content", "content": "x"}})},
            None,
        ),
        (
            {"messages": user({"type": "document", "source": {"type": "base64", "data": "x"}})},
            "document",
        ),
        (
            {"messages": user({"type": "document", "source": {"type": "url", "url": "x"}})},
            "document",
        ),
        (
            {"messages": user({"type": "document", "source": {"type": "file", "file_id": "x"}})},
            "document",
        ),
        (
            {
                "messages": user(
                    {
                        "type": "document",
                        "source": {
                            "type": "content",
                            "content": [{"type": "document", "source": {"type": "url"}}],
                        },
                    }
                )
            },
            "document",
        ),
        ({"messages": result({"type": "text", "text": "x"}, IMAGE)}, None),
        (
            {"messages": result({"type": "document", "source": {"type": "base64", "data": "x"}})},
            "document",
        ),
        ({"messages": result({"type": "novelty"})}, "novelty content"),
        (
            {"messages": user({"type": "container_upload", "file_id": "f"})},
            "container_upload content",
        ),
        ({"messages": user({"type": "thinking", "thinking": "x", "signature": "s"})}, None),
        ({"messages": user({"type": "redacted_thinking", "data": "x"})}, None),
        ({"container": "c_1"}, "container"),
        ({"thread": {"type": "create"}}, None),
        ({"thread": {"type": "continue", "previous_message_id": "m"}}, "thread"),
    ],
)
def test_input_that_is_not_in_the_bytes_is_opaque(parse, given, opaque) -> None:
    assert parse("messages", **given).opaque_input == opaque


@pytest.mark.parametrize(
    ("given", "features"),
    [
        ({}, set()),
        ({"messages": user(IMAGE)}, {"vision"}),
        ({"messages": result(IMAGE)}, {"vision"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning"}),
        ({"thinking": {"type": "adaptive"}}, {"reasoning"}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_write_5m"}),
        (
            {
                "system": [
                    {
                        "type": "text",
                        "text": "x",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    }
                ]
            },
            {"cache_write_1h"},
        ),
        ({"tools": [{"name": "a", "cache_control": {"type": "ephemeral"}}]}, {"cache_write_5m"}),
        (
            {
                "messages": user(
                    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
                )
            },
            {"cache_write_5m"},
        ),
        (
            {
                "messages": result(
                    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
                )
            },
            {"cache_write_5m"},
        ),
        ({"inference_geo": "us"}, {"inference_geo"}),
    ],
)
def test_features_are_seen(parse, given, features) -> None:
    assert parse("messages", **given).features == features


def test_fast_mode_is_a_service_tier(parse) -> None:
    assert parse("messages", speed="fast").service_tier == "fast"
    assert parse("messages", speed="standard", service_tier="auto").service_tier == "auto"


def test_work_beside_the_answer_is_a_tool_of_the_provider(parse) -> None:
    call = parse(
        "messages",
        mcp_servers=[{"type": "url", "url": "https://x", "name": "x"}],
        context_management={
            "edits": [{"type": "clear_tool_uses_20250919"}, {"type": "compact_20260112"}]
        },
    )

    assert call.server_tools == ("mcp", "compaction")


def test_cache_marks_change_neither_digest(parse) -> None:
    text = {"type": "text", "text": "x"}
    marked = {**text, "cache_control": {"type": "ephemeral"}}
    tool = {"name": "a", "input_schema": {}}
    bare = parse("messages", system=[text], tools=[tool], messages=result(text))
    with_marks = parse(
        "messages",
        system=[marked],
        tools=[{**tool, "cache_control": {"type": "ephemeral"}}],
        messages=result(marked),
    )

    assert with_marks.turns[0].digest == bare.turns[0].digest


def test_what_looks_like_a_cache_mark_inside_arguments_stays_in_the_digest(parse) -> None:
    def used(**arguments: object) -> object:
        return parse(
            "messages",
            messages=user({"type": "tool_use", "id": "1", "name": "f", "input": arguments}),
        )

    assert used(a=1).turns[0].digest != used(a=1, cache_control={"type": "x" * 100}).turns[0].digest


@pytest.mark.parametrize("nonce", ["cch=00000;", "cch=0aaa9;"])
def test_claude_codes_changing_billing_line_changes_no_digest(parse, nonce) -> None:
    def said(line: str) -> object:
        return parse(
            "messages",
            system=[{"type": "text", "text": line}, {"type": "text", "text": "You are."}],
        )

    one = said("x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=36ee5;")
    two = said(f"x-anthropic-billing-header: cc_version=2.1.177.f3d; cc_entrypoint=cli; {nonce}")
    other = said(
        "x-anthropic-billing-header: cc_version=2.1.178.01c; cc_entrypoint=cli; cch=36ee5;"
    )

    assert one.turns[0].digest == two.turns[0].digest
    assert one.approval_digest == two.approval_digest
    assert one.turns[0].digest != other.turns[0].digest


@pytest.mark.parametrize(
    "changed",
    [{"stream": True}, {"metadata": {"user_id": "u"}}, {"cache_control": {"type": "ephemeral"}}],
)
def test_a_resend_has_the_same_approval_digest(parse, changed) -> None:
    assert parse("messages", **changed).approval_digest == parse("messages").approval_digest


@pytest.mark.parametrize(
    "changed",
    [{"max_tokens": 5}, {"system": "x"}, {"thinking": {"type": "adaptive"}}, {"speed": "fast"}],
)
def test_another_call_has_another_approval_digest(parse, changed) -> None:
    assert parse("messages", **changed).approval_digest != parse("messages").approval_digest


def test_prompt_holds_system_and_messages(parse) -> None:
    call = parse("messages", system="be kind", messages=user({"type": "text", "text": "hello"}))

    assert call.prompt == "be kind\nhello"
