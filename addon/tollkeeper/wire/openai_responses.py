"""OpenAI Responses.

Source: https://platform.openai.com/docs/api-reference/responses/create and the parameter types of
the ``openai`` 3.52 package (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read
from tollkeeper.wire.openai_chat import image_url, without_marks

KNOWN: Final = fields.words("""access_programs background client_metadata context_management conversation image include input
    instructions max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls
    personality previous_response_id prompt prompt_cache_key prompt_cache_options
    prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options
    temperature text tool_choice tools top_logprobs top_p truncation user""")

RESENT: Final = fields.words("""input stream stream_options metadata client_metadata user safety_identifier prompt_cache_key
    prompt_cache_options prompt_cache_retention""")

_NOT_RENDERED: Final = RESENT | fields.words("""max_output_tokens max_tool_calls temperature top_p top_logprobs store service_tier include
    background""")

_CLIENT_TOOLS: Final = fields.words("local_shell shell apply_patch computer computer_use_preview")
"""Built in by name, run by the client.

Source: https://platform.openai.com/docs/guides/tools-computer-use, …/tools-local-shell,
…/tools-apply-patch
"""

_BUILT_IN_ALLOWANCE: Final = 2048
"""For the description of a built-in client tool, which the provider writes and does not publish."""

_PLAIN_ITEMS: Final = fields.words("""function_call custom_tool_call local_shell_call shell_call apply_patch_call computer_call
    tool_search_call tool_search_output mcp_list_tools mcp_approval_request mcp_approval_response
    mcp_call program program_output configuration_update""")
_OUTPUT_ITEMS: Final = fields.words("""function_call_output custom_tool_call_output local_shell_call_output shell_call_output
    apply_patch_call_output computer_call_output""")
_ENCRYPTED_ITEMS: Final = fields.words("reasoning compaction compaction_summary")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A call of the Responses API, or of its siblings that take the same input.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    body = read(inbound.body).values()
    model = fields.text(body, "model")
    if model is None:
        raise WireError("model is missing; name the model to call, also with a prompt template.")
    tally = bound.Tally(Dialect.OPENAI_RESPONSES, model)
    tally.text(body.get("instructions"))
    _tools(fields.objects(body, "tools"), tally)
    head = {key: value for key, value in body.items() if key not in _NOT_RENDERED}
    head_text = canonical([inbound.provider.name, endpoint.operation, head])
    head_tokens = bound.head_bound(head, head_text) + tally.more_tokens
    turns = bound.chain(head_text, _input(body), tally, _walk, _strip)
    _state(body, tally)
    if "background" in tally.features and not _can_be_asked_for(inbound):
        tally.features.add("background_unasked")
    has_tools = bool(tally.tools or tally.server_tools)
    hidden = facts.hidden_input_tokens(Dialect.OPENAI_RESPONSES, model, has_tools)
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.OPENAI_RESPONSES,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=fields.flag(body, "stream"),
        head_bound_tokens=head_tokens + hidden,
        turns=turns,
        opaque_input=tally.opaque,
        unsized_parts=tally.unsized_parts,
        max_output_tokens=fields.count(body, "max_output_tokens"),
        features=frozenset(tally.features),
        service_tier=fields.text(body, "service_tier"),
        tools_offered=fields.unique(tally.tools),
        server_tools=fields.unique(tally.server_tools),
        unknown_parameters=tuple(key for key in body if key not in KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(
            (Dialect.OPENAI_RESPONSES, inbound.provider.name, endpoint.operation, model),
            body,
            RESENT,
            turns,
        ),
    )


def _input(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if given is not None and not isinstance(given, list):
        raise WireError("input must be text or a list of items.")
    return fields.objects(body, "input")


def _state(body: Mapping[str, Any], tally: bound.Tally) -> None:
    """What the provider keeps and the call only names, and what it does beside answering."""
    for key in ("previous_response_id", "conversation", "prompt"):
        if body.get(key) is not None:
            tally.hide(key)
    if fields.flag(body, "background"):
        tally.features.add("background")
    reasoning = fields.mapping(body, "reasoning")
    if reasoning and reasoning.get("effort") != "none":
        tally.features.add("reasoning")
    mode = reasoning.get("mode")
    if mode not in (None, "standard"):
        tally.server_tools.append(f"reasoning:{mode}")
    if body.get("context_management"):
        tally.server_tools.append("compaction")


def _can_be_asked_for(inbound: Inbound) -> bool:
    """Whether the provider's stored responses are at an endpoint that we know."""
    return facts.endpoint(inbound.provider, "GET", f"{inbound.path}/id") is not None


def _tools(tools: list[dict[str, Any]], tally: bound.Tally) -> None:
    for tool in tools:
        match tool.get("type"):
            case "function" | "custom":
                tally.tools.append(fields.name_of(tool))
            case None if "function" in tool:
                tally.tools.append(fields.name_of(fields.mapping(tool, "function")))
            case "namespace":
                _tools(fields.objects(tool, "tools"), tally)
            case "shell" if fields.mapping(tool, "environment").get("type") not in (None, "local"):
                tally.server_tools.append("shell")
                _dearer(tool, "shell", tally)
            case "tool_search" if tool.get("execution") == "client":
                tally.tools.append("tool_search")
            case str() as kind if kind in _CLIENT_TOOLS:
                tally.tools.append(kind)
                tally.more_tokens += _BUILT_IN_ALLOWANCE
            case str() as kind if kind:
                tally.server_tools.append(_plain_name(kind))
                _dearer(tool, kind, tally)
            case _:
                raise WireError("A tool in tools has no type.")


def _dearer(tool: Mapping[str, Any], kind: str, tally: bound.Tally) -> None:
    """What makes each use of a tool cost another price.

    Source: https://platform.openai.com/docs/pricing#built-in-tools
    """
    if kind.startswith("web_search_preview"):
        tally.features.add("web_search_preview")
    if kind in ("code_interpreter", "shell"):
        container = tool.get("container" if kind == "code_interpreter" else "environment")
        if isinstance(container, dict) and container.get("type") == "container_reference":
            container = None
        size = container.get("memory_limit", "1g") if isinstance(container, dict) else "unknown"
        if size != "1g":
            tally.features.add(f"memory_{size if size in ('4g', '16g', '64g') else 'unknown'}")


def _plain_name(kind: str) -> str:
    """``web_search`` for all its dated and preview names."""
    return "web_search" if kind.startswith("web_search") else kind


def _walk(item: dict[str, Any], tally: bound.Tally) -> None:
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference"
    if not isinstance(kind, str):
        tally.hide("item of no type")
    elif kind == "message":
        _content(item.get("content"), tally)
    elif kind in _OUTPUT_ITEMS:
        tally.tool_call()
        output = item.get("output")
        _content([output] if isinstance(output, dict) else output, tally)
    elif kind in _PLAIN_ITEMS:
        tally.tool_call()
        tally.text(item.get("arguments", item.get("input")))
        if kind == "tool_search_output":
            _tools(fields.objects(item, "tools"), tally)
    elif kind in _ENCRYPTED_ITEMS:
        by_id = kind != "reasoning" or item.get("id") is not None
        if by_id and not item.get("encrypted_content"):
            tally.hide(f"{kind} item by id")
    elif kind == "additional_tools":
        _tools(fields.objects(item, "tools"), tally)
    elif kind == "image_generation_call" and isinstance(item.get("result"), str):
        tally.image(item["result"])
    elif kind == "compaction_trigger":
        tally.server_tools.append("compaction")
    else:
        tally.hide(f"{kind} item")


def _content(content: Any, tally: bound.Tally) -> None:
    if content is None:
        return
    if isinstance(content, str):
        tally.texts.append(content)
        return
    if not isinstance(content, list):
        raise WireError("content of an input item must be text or a list of parts.")
    for part in content:
        if not isinstance(part, dict):
            raise WireError("A part of an input item's content must be an object.")
        match part.get("type"):
            case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
                tally.text(part.get("text"))
            case "refusal":
                tally.text(part.get("refusal"))
            case "input_image" | "computer_screenshot":
                image_url(part.get("image_url"), tally)
            case "input_audio":
                tally.features.add("audio_in")
            case "input_file":
                tally.file("input_file content", part.get("file_data"))
            case None if "stdout" in part:
                tally.text(part["stdout"])
            case kind:
                tally.hide(f"{kind} content" if isinstance(kind, str) else "content of no type")


def _strip(item: dict[str, Any], text: str) -> str:
    return canonical(without_marks(item)) if '"prompt_cache_breakpoint"' in text else text
