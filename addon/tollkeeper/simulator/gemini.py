"""Gemini generateContent, as simulated: JSON, server-sent events and the JSON array stream.

Source: https://ai.google.dev/api/generate-content (shape of the answer, usageMetadata)
"""

from __future__ import annotations

import json
import re
from typing import Any

from tollkeeper.domain import Usage
from tollkeeper.simulator import gemini_caches
from tollkeeper.simulator.exchange import Answer, Exchange, Frame, Plan, asked_tokens, groups
from tollkeeper.simulator.frames import JSON, dump, event, json_answer, stream_answer
from tollkeeper.simulator.script import Script

IMAGE_TOKENS = 258  # one tile of an image
_CAPITAL = re.compile("[A-Z]")
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}


def read(
    body: dict[str, Any], model: str, serial: int, now_s: int, *, stream: bool, sse: bool
) -> Exchange:
    """Reads a request body; the model and the way to stream come from the URL.

    Raises:
        KeyError: A required member is missing.
    """
    contents = body["contents"]
    config = _member(body, "generationConfig") or {}
    tools = {
        declared["name"]: declared.get("parameters")
        or _member(declared, "parametersJsonSchema")
        or {}
        for tool in body.get("tools") or ()
        for declared in _member(tool, "functionDeclarations") or ()
    }
    last = contents[-1] if contents else {}
    beside = _member(body, "systemInstruction"), body.get("tools")
    cached = _member(body, "cachedContent")
    held = gemini_caches.held_by(cached)[0] if cached else 0
    return Exchange(
        model=model,
        stream=stream,
        sse=sse,
        last_text=_own_text(last),
        input_tokens=asked_tokens(contents, IMAGE_TOKENS, *beside) + held,
        cached_tokens=held,
        max_output_tokens=_member(config, "maxOutputTokens"),
        choices=_member(config, "candidateCount") or 1,
        tools=tools,
        forced_tool=_forced(_member(body, "toolConfig") or {}, list(tools)),
        serial=serial,
        created_s=now_s,
    )


def read_count(body: dict[str, Any], model: str) -> Exchange:
    """Reads a ``countTokens`` body, which may wrap a whole request."""
    inner = _member(body, "generateContentRequest") or body
    return read(inner, model, 0, 0, stream=False, sse=False)


def count_answer(exchange: Exchange) -> dict[str, Any]:
    """What ``countTokens`` answers."""
    count = exchange.input_tokens
    return {
        "totalTokens": count,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}],
    }


def answer(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> Answer:
    """The answer that the URL asked for."""
    if not exchange.stream:
        parts = [{"text": planned.text}] if planned.words or not planned.tool else []
        parts += [_function_call(planned)] if planned.tool else []
        body = _chunk(
            exchange, script, usage, parts, usage.output_tokens or 0, _FINISH[planned.finish]
        )
        return json_answer(body, script, usage)
    chunks = _stream(exchange, script, planned, usage)
    if exchange.sse:
        frames = [Frame(event(chunk), tokens, paced=True) for chunk, tokens in chunks]
        return stream_answer(frames, script)
    frames = [
        Frame((b"[" if index == 0 else b",\r\n") + dump(chunk), tokens, paced=True)
        for index, (chunk, tokens) in enumerate(chunks)
    ]
    return stream_answer([*frames, Frame(b"]")], script, JSON)


def _stream(
    exchange: Exchange, script: Script, planned: Plan, usage: Usage
) -> list[tuple[dict[str, Any], int]]:
    pieces: list[tuple[dict[str, Any], int]] = [
        ({"text": text}, tokens) for text, tokens in groups(planned.words, script.chunks)
    ]
    if planned.tool:
        pieces.append((_function_call(planned), len(planned.arguments)))
    pieces = pieces or [({"text": ""}, 0)]
    made = 0
    chunks = []
    for index, (part, tokens) in enumerate(pieces):
        billed = tokens + (planned.reasoning_tokens if index == 0 else 0)
        made += billed * exchange.choices
        finish = _FINISH[planned.finish] if index == len(pieces) - 1 else None
        chunk = _chunk(exchange, script, usage, [part], made, finish)
        chunks.append((chunk, billed * exchange.choices))
    return chunks


def _chunk(
    exchange: Exchange,
    script: Script,
    usage: Usage,
    parts: list[dict[str, Any]],
    made: int,
    finish: str | None,
) -> dict[str, Any]:
    candidates = []
    for index in range(exchange.choices):
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
        if finish:
            candidate["finishReason"] = finish
        candidates.append(candidate)
    body: dict[str, Any] = {"candidates": candidates}
    if not script.no_usage:
        body["usageMetadata"] = _usage(usage, script, made)
    return body | {
        "modelVersion": usage.model,
        "responseId": f"sim{exchange.serial:08d}",
    }


def _usage(usage: Usage, script: Script, made: int) -> dict[str, Any]:
    given, thought = usage.input_tokens or 0, usage.reasoning_output_tokens
    body: dict[str, Any] = {
        "promptTokenCount": given,
        "candidatesTokenCount": made - thought,
        "totalTokenCount": given + made,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": given}],
    }
    if thought:
        body["thoughtsTokenCount"] = thought
    if usage.cache_read_input_tokens:
        body["cachedContentTokenCount"] = usage.cache_read_input_tokens
        body["cacheTokensDetails"] = [
            {"modality": "TEXT", "tokenCount": usage.cache_read_input_tokens}
        ]
    return body | ({script.unknown_usage: 1} if script.unknown_usage else {})


def _function_call(planned: Plan) -> dict[str, Any]:
    whole = planned.finish != "length"
    arguments = json.loads(planned.arguments_json) if whole else {}
    return {"functionCall": {"name": planned.tool, "args": arguments}}


def _member(value: dict[str, Any], name: str) -> Any:
    """A member by its JSON name or its original one; the SDKs send both, in one request.

    Source: https://protobuf.dev/programming-guides/json/#field-names
    """
    snake = _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name)
    return value.get(name, value.get(snake))


def _own_text(content: dict[str, Any]) -> str:
    parts = content.get("parts") or []
    if content.get("role") not in (None, "user") or any(
        _member(p, "functionResponse") for p in parts
    ):
        return ""
    return " ".join(part["text"] for part in parts if "text" in part)


def _forced(tool_config: dict[str, Any], names: list[str]) -> str | None:
    calling = _member(tool_config, "functionCallingConfig") or {}
    if calling.get("mode") != "ANY":
        return None
    allowed = _member(calling, "allowedFunctionNames") or names
    return allowed[0] if allowed else None
