"""Amazon Bedrock, as simulated: Converse and InvokeModel, as JSON and as event streams.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from tollkeeper.domain import Dialect, Usage
from tollkeeper.simulator import anthropic_messages, bedrock_native
from tollkeeper.simulator.exchange import Answer, Exchange, Frame, Plan, asked_tokens, groups
from tollkeeper.simulator.frames import dump, json_answer, stream_answer
from tollkeeper.simulator.script import Script
from tollkeeper.wire.event_stream import CONTENT_TYPE, message

PATH: Final = re.compile(r"/model/(?P<model>[^/]+)/(?P<verb>[a-z-]+)")
IMAGE_TOKENS: Final = 1568
_FINISH: Final = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}


def read(
    body: dict[str, Any], named: str, verb: str, serial: int, now_s: int
) -> tuple[Exchange, Dialect]:
    """Reads a request body; the model and the way to stream come from the path.

    Raises:
        KeyError: A required member is missing, or the path is none of Bedrock's.
    """
    model, stream = unquote(named), verb.endswith("-stream")
    if verb.startswith("invoke") and "claude" not in model:
        native = bedrock_native.read(body, model, serial, now_s, stream=stream)
        return native, Dialect.BEDROCK_NATIVE
    if verb.startswith("invoke"):
        _ = body["anthropic_version"]
        whole = {**body, "model": model, "stream": stream}
        return anthropic_messages.read(whole, serial, now_s), Dialect.BEDROCK_INVOKE
    if not verb.startswith("converse"):
        raise KeyError(verb)
    return _conversation(body, model, serial, now_s, stream=stream), Dialect.BEDROCK_CONVERSE


def made(body: dict[str, Any], named: str) -> tuple[Answer, Usage] | None:
    """What a model that holds no conversations makes of a body; None for all others."""
    return bedrock_native.made(unquote(named), body)


def answer(
    exchange: Exchange, script: Script, planned: Plan, usage: Usage, dialect: Dialect
) -> Answer:
    """The answer that the path asked for."""
    if dialect is Dialect.BEDROCK_NATIVE:
        return bedrock_native.answer(exchange, script, planned, usage)
    if dialect is Dialect.BEDROCK_INVOKE:
        said = anthropic_messages.answer(exchange, script, planned, usage)
        return _wrapped(said, script, usage) if exchange.stream else said
    if not exchange.stream:
        return json_answer(_message(exchange, script, planned, usage), script, usage)
    return stream_answer(_stream(exchange, script, planned, usage), script, CONTENT_TYPE)


def event(kind: str, body: dict[str, Any]) -> bytes:
    """One message of an event stream, padded as Bedrock's are."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, dump({**body, "p": "abcdefgh"}))


def _conversation(
    body: dict[str, Any], model: str, serial: int, now_s: int, *, stream: bool
) -> Exchange:
    messages = body["messages"]
    config = body.get("toolConfig") or {}
    specs = [tool["toolSpec"] for tool in config.get("tools") or () if "toolSpec" in tool]
    tools = {one["name"]: (one.get("inputSchema") or {}).get("json") or {} for one in specs}
    forced = ((config.get("toolChoice") or {}).get("tool") or {}).get("name")
    return Exchange(
        model=model,
        stream=stream,
        last_text=_last_text(messages),
        input_tokens=asked_tokens(messages, IMAGE_TOKENS, body.get("system"), config),
        max_output_tokens=(body.get("inferenceConfig") or {}).get("maxTokens"),
        tools=tools,
        forced_tool=forced,
        serial=serial,
        created_s=now_s,
    )


def _last_text(messages: list[dict[str, Any]]) -> str:
    last = messages[-1] if messages else {}
    if last.get("role") != "user":
        return ""
    return " ".join(block["text"] for block in last.get("content") or () if "text" in block)


def _message(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if planned.reasoning_tokens:
        thought = {"text": "Thinking it over.", "signature": "c2ltdWxhdGVk"}
        content.append({"reasoningContent": {"reasoningText": thought}})
    if planned.words or not planned.tool:
        content.append({"text": planned.text})
    if planned.tool:
        arguments = json.loads(planned.arguments_json) if planned.finish != "length" else {}
        use = {"toolUseId": _tool_id(exchange), "name": planned.tool, "input": arguments}
        content.append({"toolUse": use})
    body: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _FINISH[planned.finish],
        "metrics": {"latencyMs": 551},
    }
    return body if script.no_usage else body | {"usage": _usage(usage, script)}


def _stream(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> list[Frame]:
    first = event("messageStart", {"role": "assistant"})
    frames = [Frame(first, planned.reasoning_tokens)]
    index = 0
    if planned.words or not planned.tool:
        for text, tokens in groups(planned.words, script.chunks):
            body = {"contentBlockIndex": index, "delta": {"text": text}}
            frames.append(Frame(event("contentBlockDelta", body), tokens, paced=True))
        frames.append(Frame(event("contentBlockStop", {"contentBlockIndex": index})))
        index += 1
    if planned.tool:
        use = {"toolUse": {"toolUseId": _tool_id(exchange), "name": planned.tool}}
        body = {"contentBlockIndex": index, "start": use}
        frames.append(Frame(event("contentBlockStart", body)))
        for text, tokens in groups(planned.arguments, script.chunks):
            body = {"contentBlockIndex": index, "delta": {"toolUse": {"input": text}}}
            frames.append(Frame(event("contentBlockDelta", body), tokens, paced=True))
        frames.append(Frame(event("contentBlockStop", {"contentBlockIndex": index})))
    frames.append(Frame(event("messageStop", {"stopReason": _FINISH[planned.finish]})))
    last: dict[str, Any] = {"metrics": {"latencyMs": 551}}
    if not script.no_usage:
        last["usage"] = _usage(usage, script)
    return [*frames, Frame(event("metadata", last))]


def _wrapped(said: Answer, script: Script, usage: Usage) -> Answer:
    """A stream of Claude's own events, each in base64 in a ``chunk``."""
    frames = []
    for frame in said.frames:
        inner = json.loads(frame.data.partition(b"data: ")[2])
        if inner["type"] == "message_stop" and not script.no_usage:
            inner["amazon-bedrock-invocationMetrics"] = _metrics(usage)
        body = {"bytes": base64.b64encode(dump(inner)).decode()}
        frames.append(replace(frame, data=event("chunk", body)))
    return stream_answer(frames, script, CONTENT_TYPE)


def _usage(usage: Usage, script: Script) -> dict[str, Any]:
    reads, writes = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    plain, output = (usage.input_tokens or 0) - reads - writes, usage.output_tokens or 0
    body: dict[str, Any] = {
        "inputTokens": plain,
        "outputTokens": output,
        "totalTokens": plain + output + reads + writes,
        "cacheReadInputTokens": reads,
        "cacheWriteInputTokens": writes,
    }
    if usage.cache_write_1h_input_tokens:
        long = usage.cache_write_1h_input_tokens
        by_ttl = [{"ttl": "1h", "inputTokens": long}, {"ttl": "5m", "inputTokens": writes - long}]
        body["cacheDetails"] = by_ttl
    return body | ({script.unknown_usage: 1} if script.unknown_usage else {})


def _metrics(usage: Usage) -> dict[str, int]:
    reads, writes = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    return {
        "inputTokenCount": (usage.input_tokens or 0) - reads - writes,
        "outputTokenCount": usage.output_tokens or 0,
        "invocationLatency": 551,
        "firstByteLatency": 120,
        "cacheReadInputTokenCount": reads,
        "cacheWriteInputTokenCount": writes,
    }


def _tool_id(exchange: Exchange) -> str:
    return f"tooluse_sim{exchange.serial:08d}"
