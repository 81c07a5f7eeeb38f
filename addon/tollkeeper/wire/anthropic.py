"""Anthropic messages.

Source: https://docs.anthropic.com/en/api/messages and the parameter types of the ``anthropic``
2.11 package, its betas included (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read
from tollkeeper.wire.openai_chat import cache_mark

KNOWN: Final = fields.words("""billing_policy cache_control compaction container context_management diagnostics
    fallback_credit_token fallbacks inference_geo max_tokens mcp_servers messages metadata model
    output_config output_format service_tier speed stop_sequences stream system temperature thinking
    thread tool_choice tools top_k top_p user_profile_id workspace_id""")

RESENT: Final = fields.words("messages system stream metadata diagnostics cache_control")
"""``system`` is here because it goes into the digest without Claude Code's changing header."""

_NOT_RENDERED: Final = fields.words("""messages stream metadata diagnostics cache_control max_tokens temperature top_p top_k
    stop_sequences service_tier speed inference_geo billing_policy user_profile_id workspace_id
    fallback_credit_token""")

_CLIENT_TOOLS: Final[Mapping[str, int]] = {
    "bash": 1024,
    "text_editor": 2048,
    "memory": 2048,
    "computer": 4096,
}
"""Typed tools that the client runs, with an allowance for what the provider adds to the prompt.

Documented are 245 tokens for bash, 700 for the text editor, 735 and a prompt of 499 for the
computer; the allowances are at least twice that.
Source: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview#pricing
"""

_SERVER_TOOLS: Final = (
    "web_search",
    "web_fetch",
    "code_execution",
    "tool_search_tool",
    "advisor",
    "mcp_toolset",
)

_DATE: Final = re.compile(r"_\d{8}$")
_BILLING_HEADER: Final = "x-anthropic-billing-header:"
_BILLING_NONCE: Final = re.compile(r"(cc_version=[\w.]+)\.\w{3};|cch=[0-9a-f]{1,16};")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A message, or what asks for one in the same words.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    body = read(inbound.body).values()
    model = fields.text(body, "model")
    if model is None:
        raise WireError("model is missing; name the model to call.")
    if body.get("fallbacks"):
        raise WireError("fallbacks lets another model answer than `model` names; name one model.")
    if body.get("messages") is None:
        raise WireError("messages is missing; a list of messages was expected.")
    tally = bound.Tally(Dialect.ANTHROPIC, model)
    system = _system(body, tally)
    _tools(fields.objects(body, "tools"), tally)
    cache_mark(body, tally)
    head = {key: value for key, value in body.items() if key not in _NOT_RENDERED}
    head_tokens = bound.head_bound(head, canonical(head)) + tally.more_tokens
    head["system"] = system
    head_text = canonical([inbound.provider.name, endpoint.operation, _without_marks(head)])
    turns = bound.chain(head_text, fields.objects(body, "messages"), tally, _walk, _strip)
    _state(body, tally)
    has_tools = bool(tally.tools or tally.server_tools)
    hidden = facts.hidden_input_tokens(Dialect.ANTHROPIC, model, has_tools)
    fast = body.get("speed") not in (None, "standard")
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.ANTHROPIC,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=fields.flag(body, "stream"),
        head_bound_tokens=head_tokens + hidden,
        turns=turns,
        opaque_input=tally.opaque,
        unsized_parts=tally.unsized_parts,
        max_output_tokens=fields.count(body, "max_tokens", least=0),
        features=frozenset(tally.features),
        service_tier="fast" if fast else fields.text(body, "service_tier"),
        tools_offered=fields.unique(tally.tools),
        server_tools=fields.unique(tally.server_tools),
        unknown_parameters=tuple(key for key in body if key not in KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(
            (Dialect.ANTHROPIC, inbound.provider.name, endpoint.operation, model, system),
            body,
            RESENT,
            turns,
        ),
    )


def _system(body: Mapping[str, Any], tally: bound.Tally) -> str:
    """Canonical text of the system prompt, without cache marks and what Claude Code changes.

    Claude Code puts a billing line in front whose version suffix and ``cch`` differ in every
    request; both have a fixed width and the provider takes the line out itself.
    Source: https://github.com/anthropics/claude-code/issues/68900
    """
    system = body.get("system")
    if system is None:
        return ""
    if isinstance(system, str):
        tally.text(system)
        return canonical(system)
    blocks = []
    for block in fields.objects(body, "system"):
        cache_mark(block, tally)
        if block.get("type") != "text":
            tally.hide("system content that is not text")
        text = block.get("text")
        tally.text(text)
        block = {key: value for key, value in block.items() if key != "cache_control"}
        if isinstance(text, str) and text.startswith(_BILLING_HEADER):
            block["text"] = _BILLING_NONCE.sub(r"\1;", text)
        blocks.append(block)
    return canonical(blocks)


def _without_marks(head: dict[str, Any]) -> dict[str, Any]:
    tools = head.get("tools")
    if isinstance(tools, list):
        head["tools"] = [_bare(tool) if isinstance(tool, dict) else tool for tool in tools]
    return head


def _state(body: Mapping[str, Any], tally: bound.Tally) -> None:
    """What the provider keeps and the call only names, and what it does beside answering."""
    thread = fields.mapping(body, "thread")
    if thread and thread.get("type") != "create":
        tally.hide("thread")
    if body.get("container") is not None:
        tally.hide("container")
    if fields.items(body, "mcp_servers"):
        tally.server_tools.append("mcp")
    if body.get("compaction") is not None:
        tally.server_tools.append("compaction")
    for edit in fields.objects(fields.mapping(body, "context_management"), "edits"):
        if str(edit.get("type", "")).startswith("compact"):
            tally.server_tools.append("compaction")
    if fields.mapping(body, "thinking").get("type") not in (None, "disabled"):
        tally.features.add("reasoning")
    if body.get("inference_geo") not in (None, "global"):
        tally.features.add("inference_geo")


def _tools(tools: list[dict[str, Any]], tally: bound.Tally) -> None:
    for tool in tools:
        cache_mark(tool, tally)
        kind = tool.get("type")
        if kind is None or kind == "custom":
            tally.tools.append(fields.name_of(tool))
            continue
        if not isinstance(kind, str):
            raise WireError("The type of a tool in tools must be text.")
        family = _DATE.sub("", kind)
        if family.startswith(_SERVER_TOOLS):
            name = next(name for name in _SERVER_TOOLS if family.startswith(name))
            tally.server_tools.append("mcp" if name == "mcp_toolset" else name)
            continue
        tally.tools.append(fields.name_of(tool) if "name" in tool else family)
        if family in _CLIENT_TOOLS:
            tally.more_tokens += _CLIENT_TOOLS[family]
        else:
            tally.hide(f"the built-in tool {kind}")


def _walk(message: dict[str, Any], tally: bound.Tally) -> None:
    content = message.get("content")
    if isinstance(content, str):
        tally.texts.append(content)
    elif isinstance(content, list):
        _blocks(content, tally)
    elif content is not None:
        raise WireError("content of a message must be text or a list of blocks.")


def _blocks(content: list[Any], tally: bound.Tally) -> None:
    for block in content:
        if not isinstance(block, dict):
            raise WireError("A block of a message's content must be an object.")
        if "cache_control" in block:
            cache_mark(block, tally)
        kind = block.get("type")
        if not isinstance(kind, str):
            tally.hide("content of no type")
        elif kind in ("text", "thinking"):
            tally.text(block.get(kind))
        elif kind == "image":
            _image(block, tally)
        elif kind == "document":
            _document(block, tally)
        elif kind.endswith("tool_use"):
            tally.tool_call(block.get("input"))
        elif kind.endswith("tool_result") or kind == "search_result":
            _result(block.get("content"), tally)
        elif kind == "tool_addition":
            _addition(block, tally)
        elif kind not in ("redacted_thinking", "compaction", "tool_removal", "fallback"):
            tally.hide(f"{kind} content")


def _result(content: Any, tally: bound.Tally) -> None:
    tally.tool_call()
    if isinstance(content, str):
        tally.texts.append(content)
    elif isinstance(content, list):
        for block in content:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind in ("text", "image", "document", "search_result"):
                _blocks([block], tally)
            elif kind not in ("web_search_result", "tool_reference"):
                tally.hide(f"{kind} content" if isinstance(kind, str) else "content of no type")
    elif isinstance(content, dict) and isinstance(content.get("content"), dict):
        _blocks([content["content"]], tally)


def _image(block: Mapping[str, Any], tally: bound.Tally) -> None:
    data = fields.mapping(block, "source").get("data")
    tally.image(data if isinstance(data, str) else "")


def _document(block: Mapping[str, Any], tally: bound.Tally) -> None:
    """Plain text is in the bytes; a PDF's pages are billed as text and as images.

    Source: https://docs.anthropic.com/en/docs/build-with-claude/pdf-support
    """
    source = fields.mapping(block, "source")
    match source.get("type"):
        case "text":
            tally.text(source.get("data"))
        case "content" if isinstance(source.get("content"), list):
            _blocks(source["content"], tally)
        case "content":
            tally.text(source.get("content"))
        case _:
            tally.file("document", source.get("data"))


def _addition(block: Mapping[str, Any], tally: bound.Tally) -> None:
    """A tool offered in the middle of the conversation counts like one offered at its start."""
    tool = fields.mapping(block, "tool")
    definition = fields.mapping(tool, "definition")
    if definition:
        _tools([definition], tally)


def _strip(message: dict[str, Any], text: str) -> str:
    if '"cache_control"' not in text:
        return text
    content = message.get("content")
    if not isinstance(content, list):
        return text
    return canonical({**message, "content": [_bare(block) for block in content]})


def _bare(block: Any) -> Any:
    """A block without its cache mark, and the blocks of a tool's result without theirs."""
    if not isinstance(block, dict):
        return block
    bare = {key: value for key, value in block.items() if key != "cache_control"}
    kind = bare.get("type")
    if isinstance(kind, str) and kind.endswith("tool_result"):
        inner = bare.get("content")
        if isinstance(inner, list):
            bare["content"] = [_bare(block) for block in inner]
    return bare
