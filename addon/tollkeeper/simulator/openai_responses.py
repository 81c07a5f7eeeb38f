"""OpenAI Responses, as simulated: JSON and server-sent events in the documented order.

Source: https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

from __future__ import annotations

from collections.abc import Iterator
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
from tollkeeper.simulator.openai_chat import IMAGE_TOKENS
from tollkeeper.simulator.script import Script


def read(body: dict[str, Any], serial: int, now_s: int) -> Exchange:
    """Reads a request body.

    Raises:
        KeyError: A required member is missing.
    """
    given = body.get("input") or []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    tools = {
        tool["name"]: tool.get("parameters") or {}
        for tool in body.get("tools") or ()
        if tool.get("type") == "function"
    }
    return Exchange(
        model=body["model"],
        stream=bool(body.get("stream")),
        last_text=own_text(items),
        input_tokens=asked_tokens(items, IMAGE_TOKENS, body.get("instructions"), body.get("tools")),
        max_output_tokens=body.get("max_output_tokens"),
        tools=tools,
        forced_tool=_forced(body.get("tool_choice"), list(tools)),
        serial=serial,
        created_s=now_s,
    )


def count_answer(exchange: Exchange) -> dict[str, Any]:
    """What ``POST /v1/responses/input_tokens`` answers."""
    return {"object": "response.input_tokens", "input_tokens": exchange.input_tokens}


def answer(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> Answer:
    """The answer that the request's ``stream`` asks for."""
    items = _items(exchange, planned)
    body = _response(exchange, script, planned, usage, items)
    if not exchange.stream:
        return json_answer(body, script, usage)
    frames = []
    for number, (kind, members, tokens, paced) in enumerate(
        _events(exchange, script, planned, items, body)
    ):
        data = {"type": kind, "sequence_number": number} | members
        frames.append(Frame(event(data, kind), tokens, paced))
    return stream_answer(frames, script)


_Event = tuple[str, dict[str, Any], int, bool]


def _events(
    exchange: Exchange,
    script: Script,
    planned: Plan,
    items: list[dict[str, Any]],
    body: dict[str, Any],
) -> Iterator[_Event]:
    begun = body | {
        "status": "in_progress", "output": [], "usage": None, "incomplete_details": None,
        "completed_at": None,
    }  # fmt: skip
    yield "response.created", {"response": begun}, 0, False
    yield "response.in_progress", {"response": begun}, 0, False
    for index, item in enumerate(items):
        at = {"output_index": index}
        empty = item | ({} if item["type"] == "reasoning" else {"status": "in_progress"})
        reasoning = planned.reasoning_tokens if index == 0 else 0
        match item["type"]:
            case "message":
                empty = empty | {"content": []}
                inside = _message_events(item, at | {"item_id": item["id"]}, planned, script)
            case "function_call":
                empty = empty | {"arguments": ""}
                inside = _tool_events(item, at | {"item_id": item["id"]}, planned, script)
            case _:
                inside = iter(())
        yield "response.output_item.added", at | {"item": empty}, reasoning, False
        yield from inside
        yield "response.output_item.done", at | {"item": item}, 0, False
    end = "response.incomplete" if planned.finish == "length" else "response.completed"
    yield end, {"response": body}, 0, False


def _message_events(
    item: dict[str, Any], at: dict[str, Any], planned: Plan, script: Script
) -> Iterator[_Event]:
    at = at | {"content_index": 0}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    yield "response.content_part.added", at | {"part": part}, 0, False
    for text, tokens in groups(planned.words, script.chunks):
        yield "response.output_text.delta", at | {"delta": text, "logprobs": []}, tokens, True
    yield "response.output_text.done", at | {"text": planned.text, "logprobs": []}, 0, False
    yield "response.content_part.done", at | {"part": item["content"][0]}, 0, False


def _tool_events(
    item: dict[str, Any], at: dict[str, Any], planned: Plan, script: Script
) -> Iterator[_Event]:
    for text, tokens in groups(planned.arguments, script.chunks):
        yield "response.function_call_arguments.delta", at | {"delta": text}, tokens, True
    done = {"arguments": item["arguments"], "name": item["name"]}
    yield "response.function_call_arguments.done", at | done, 0, False


def _items(exchange: Exchange, planned: Plan) -> list[dict[str, Any]]:
    status = "incomplete" if planned.finish == "length" else "completed"
    items: list[dict[str, Any]] = []
    if planned.reasoning_tokens:
        items.append({"id": f"rs_sim{exchange.serial:08d}", "type": "reasoning", "summary": []})
    if planned.words or not planned.tool:
        part = {
            "type": "output_text", "annotations": [], "logprobs": [], "text": planned.text,
        }  # fmt: skip
        items.append(
            {
                "id": f"msg_sim{exchange.serial:08d}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [part],
            }
        )
    if planned.tool:
        items.append(
            {
                "id": f"fc_sim{exchange.serial:08d}",
                "type": "function_call",
                "status": status,
                "call_id": f"call_sim{exchange.serial:08d}",
                "name": planned.tool,
                "arguments": planned.arguments_json,
            }
        )
    return items


def _response(
    exchange: Exchange,
    script: Script,
    planned: Plan,
    usage: Usage,
    items: list[dict[str, Any]],
) -> dict[str, Any]:
    cut_short = planned.finish == "length"
    return {
        "id": f"resp_sim{exchange.serial:08d}",
        "object": "response",
        "created_at": exchange.created_s,
        "status": "incomplete" if cut_short else "completed",
        "background": False,
        "completed_at": None if cut_short else exchange.created_s,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut_short else None,
        "instructions": None,
        "max_output_tokens": exchange.max_output_tokens,
        "model": usage.model,
        "output": items,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": usage.service_tier or "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if script.no_usage else _usage(usage, script),
        "user": None,
        "metadata": {},
    }


def _usage(usage: Usage, script: Script) -> dict[str, Any]:
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    body: dict[str, Any] = {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_input_tokens,
            "cache_write_tokens": usage.cache_write_input_tokens,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
        "total_tokens": given + made,
    }
    return body | ({script.unknown_usage: 1} if script.unknown_usage else {})


def _forced(choice: Any, names: list[str]) -> str | None:
    match choice:
        case {"type": "function", "name": str(name)}:
            return name
        case "required" if names:
            return names[0]
    return None
