"""OpenAI chat completions, as simulated: JSON and server-sent events.

Source: https://platform.openai.com/docs/api-reference/chat/object (shape of the answer)
Source: https://platform.openai.com/docs/api-reference/chat-streaming (chunks, the usage chunk)
"""

from __future__ import annotations

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

IMAGE_TOKENS = 765  # one image of 1024 x 1024 in high detail: 85 + 4 tiles of 170
_FINISH = {"stop": "stop", "length": "length", "tool": "tool_calls"}


def read(body: dict[str, Any], serial: int, now_s: int) -> Exchange:
    """Reads a request body.

    Raises:
        KeyError: A required member is missing.
    """
    messages = body["messages"]
    tools = {
        tool["function"]["name"]: tool["function"].get("parameters") or {}
        for tool in body.get("tools") or ()
        if "function" in tool
    }
    return Exchange(
        model=body["model"],
        stream=bool(body.get("stream")),
        last_text=own_text(messages),
        input_tokens=asked_tokens(messages, IMAGE_TOKENS, body.get("tools")),
        max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        choices=body.get("n") or 1,
        tools=tools,
        forced_tool=_forced(body.get("tool_choice"), list(tools)),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        serial=serial,
        created_s=now_s,
    )


def answer(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> Answer:
    """The answer that the request's ``stream`` asks for."""
    if exchange.stream:
        return stream_answer(_stream(exchange, script, planned, usage), script)
    message: dict[str, Any] = {"role": "assistant", "content": planned.text, "refusal": None}
    if planned.tool:
        message["content"] = planned.text or None
        message["tool_calls"] = [_tool_call(exchange, planned, 0)]
    body = _head(exchange, usage, "chat.completion") | {
        "choices": [
            {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": _FINISH[planned.finish],
            }
            for index in range(exchange.choices)
        ]
    }
    if not script.no_usage:
        body["usage"] = _usage(usage, script)
    return json_answer(body, script, usage)


def _stream(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> list[Frame]:
    head = _head(exchange, usage, "chat.completion.chunk")
    usage_member = {"usage": None} if exchange.include_usage else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(head | {"choices": [choice]} | usage_member)

    frames: list[Frame] = []
    choices = range(exchange.choices)
    for index in choices:
        role = {"role": "assistant", "content": None if planned.tool else "", "refusal": None}
        frames.append(Frame(chunk(index, role), planned.reasoning_tokens))
    for text, tokens in groups(planned.words, script.chunks):
        frames += [Frame(chunk(i, {"content": text}), tokens, paced=True) for i in choices]
    if planned.tool:
        for index in choices:
            begin = _tool_call(exchange, planned, index) | {"index": 0}
            begin["function"] = {"name": planned.tool, "arguments": ""}
            frames.append(Frame(chunk(index, {"tool_calls": [begin]})))
        for text, tokens in groups(planned.arguments, script.chunks):
            call = {"index": 0, "function": {"arguments": text}}
            frames += [Frame(chunk(i, {"tool_calls": [call]}), tokens, paced=True) for i in choices]
    frames += [Frame(chunk(i, {}, _FINISH[planned.finish])) for i in choices]
    if exchange.include_usage and not script.no_usage:
        frames.append(Frame(event(head | {"choices": [], "usage": _usage(usage, script)})))
    return [*frames, Frame(b"data: [DONE]\n\n")]


def _head(exchange: Exchange, usage: Usage, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-sim{exchange.serial:08d}",
        "object": kind,
        "created": exchange.created_s,
        "model": usage.model,
        "service_tier": usage.service_tier or "default",
        "system_fingerprint": "fp_simulated",
    }


def _tool_call(exchange: Exchange, planned: Plan, index: int) -> dict[str, Any]:
    return {
        "id": f"call_sim{exchange.serial:08d}_{index}",
        "type": "function",
        "function": {"name": planned.tool, "arguments": planned.arguments_json},
    }


def _usage(usage: Usage, script: Script) -> dict[str, Any]:
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    details = {"cached_tokens": usage.cache_read_input_tokens, "audio_tokens": 0}
    if usage.cache_write_input_tokens:
        details["cache_write_tokens"] = usage.cache_write_input_tokens
    body: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_output_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return body | ({script.unknown_usage: 1} if script.unknown_usage else {})


def _forced(choice: Any, names: list[str]) -> str | None:
    match choice:
        case {"function": {"name": str(name)}}:
            return name
        case "required" if names:
            return names[0]
    return None
