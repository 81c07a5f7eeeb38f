"""Anthropic messages, as simulated: JSON and server-sent events, usage cumulative.

Source: https://docs.anthropic.com/en/api/messages (shape of the answer)
Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming (order of the events)
"""

from __future__ import annotations

import json
from typing import Any

from tollkeeper.domain import Usage
from tollkeeper.simulator.exchange import (
    Answer,
    Exchange,
    Frame,
    Plan,
    asked_tokens,
    groups,
    own_text,
)
from tollkeeper.simulator.frames import event, json_answer, stream_answer
from tollkeeper.simulator.script import Script

IMAGE_TOKENS = 1568  # what one large image costs after it was scaled down
_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}
_THOUGHT = "Thinking it over."


def read(body: dict[str, Any], serial: int, now_s: int, *, counting: bool = False) -> Exchange:
    """Reads a request body; ``max_tokens`` is required unless only tokens are counted.

    Raises:
        KeyError: A required member is missing.
    """
    messages = body["messages"]
    tools = {
        tool["name"]: tool.get("input_schema") or {}
        for tool in body.get("tools") or ()
        if tool.get("type") in (None, "custom")
    }
    return Exchange(
        model=body["model"],
        stream=bool(body.get("stream")),
        last_text=_last_text(messages),
        input_tokens=asked_tokens(messages, IMAGE_TOKENS, body.get("system"), body.get("tools")),
        max_output_tokens=None if counting else body["max_tokens"],
        tools=tools,
        forced_tool=_forced(body.get("tool_choice"), list(tools)),
        serial=serial,
        created_s=now_s,
    )


def count_answer(exchange: Exchange) -> dict[str, Any]:
    """What ``POST /v1/messages/count_tokens`` answers."""
    return {"input_tokens": exchange.input_tokens}


def answer(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> Answer:
    """The answer that the request's ``stream`` asks for."""
    message = _message(exchange, planned, usage)
    if exchange.stream:
        return stream_answer(_stream(message, script, planned, usage), script)
    if not script.no_usage:
        message["usage"] = _usage(usage, script, usage.output_tokens or 0)
    return json_answer(message, script, usage)


def _stream(message: dict[str, Any], script: Script, planned: Plan, usage: Usage) -> list[Frame]:
    output = usage.output_tokens or 0
    begun = message | {"content": [], "stop_reason": None, "stop_sequence": None}
    begun["usage"] = _usage(usage, script, min(1, output))
    frames = [Frame(_event("message_start", message=begun), planned.reasoning_tokens)]
    for index, block in enumerate(message["content"]):
        frames.append(
            Frame(_event("content_block_start", index=index, content_block=_emptied(block)))
        )
        if index == 0:
            frames.append(Frame(_event("ping")))
        match block["type"]:
            case "text":
                pieces, kind, member = planned.words, "text_delta", "text"
            case "tool_use":
                pieces, kind, member = planned.arguments, "input_json_delta", "partial_json"
            case _:
                frames += _thinking(index, block)
                pieces, kind, member = (), "", ""
        for text, tokens in groups(pieces, script.chunks):
            delta = {"type": kind, member: text}
            frames.append(
                Frame(_event("content_block_delta", index=index, delta=delta), tokens, paced=True)
            )
        frames.append(Frame(_event("content_block_stop", index=index)))
    end: dict[str, Any] = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    last = {} if script.no_usage else {"usage": _usage(usage, script, output)}
    frames.append(Frame(_event("message_delta", delta=end, **last)))
    return [*frames, Frame(_event("message_stop"))]


def _thinking(index: int, block: dict[str, Any]) -> list[Frame]:
    thought = {"type": "thinking_delta", "thinking": block["thinking"]}
    signature = {"type": "signature_delta", "signature": block["signature"]}
    return [
        Frame(_event("content_block_delta", index=index, delta=delta))
        for delta in (thought, signature)
    ]


def _event(kind: str, **members: Any) -> bytes:
    return event({"type": kind} | members, kind)


def _emptied(block: dict[str, Any]) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return block | {"text": ""}
        case "tool_use":
            return block | {"input": {}}
    return block | {"thinking": "", "signature": ""}


def _message(exchange: Exchange, planned: Plan, usage: Usage) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if planned.reasoning_tokens:
        content.append({"type": "thinking", "thinking": _THOUGHT, "signature": "c2ltdWxhdGVk"})
    if planned.words or not planned.tool:
        content.append({"type": "text", "text": planned.text})
    if planned.tool:
        content.append(
            {
                "type": "tool_use",
                "id": f"toolu_sim{exchange.serial:08d}",
                "name": planned.tool,
                "input": _parsed(planned),
            }
        )
    return {
        "id": f"msg_sim{exchange.serial:08d}",
        "type": "message",
        "role": "assistant",
        "model": usage.model,
        "content": content,
        "stop_reason": _FINISH[planned.finish],
        "stop_sequence": None,
    }


def _usage(usage: Usage, script: Script, output_tokens: int) -> dict[str, Any]:
    reads, writes = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    long_writes = usage.cache_write_1h_input_tokens
    body: dict[str, Any] = {
        "input_tokens": (usage.input_tokens or 0) - reads - writes,
        "cache_creation_input_tokens": writes,
        "cache_read_input_tokens": reads,
        "cache_creation": {
            "ephemeral_5m_input_tokens": writes - long_writes,
            "ephemeral_1h_input_tokens": long_writes,
        },
        "output_tokens": output_tokens,
        "service_tier": usage.service_tier or "standard",
    }
    return body | ({script.unknown_usage: 1} if script.unknown_usage else {})


def _parsed(planned: Plan) -> Any:
    return json.loads(planned.arguments_json) if planned.finish != "length" else {}


def _last_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1].get("content") if messages else None
    if isinstance(content, list) and any(part.get("type") == "tool_result" for part in content):
        return ""
    return own_text(messages)


def _forced(choice: Any, names: list[str]) -> str | None:
    match choice:
        case {"type": "tool", "name": str(name)}:
            return name
        case {"type": "any"} if names:
            return names[0]
    return None
