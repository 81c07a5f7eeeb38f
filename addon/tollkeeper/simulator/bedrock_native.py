"""Amazon Bedrock's InvokeModel for other makers than Anthropic, as simulated.

Counts as in ``exchange.py``; they stand in Amazon's headers, or beside the last event of a stream.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any, Final

from tollkeeper.domain import Usage
from tollkeeper.simulator.exchange import (
    Answer,
    Exchange,
    Frame,
    Plan,
    count_tokens,
    groups,
    images_in,
    texts_in,
)
from tollkeeper.simulator.frames import JSON, dump, json_answer, stream_answer
from tollkeeper.simulator.script import Script
from tollkeeper.wire.event_stream import CONTENT_TYPE, message

_MEMBERS: Final = {"titan": "inputText", "llama": "prompt", "prompt": "prompt", "cohere": "message"}
_REASONS: Final = {"stop": "stop", "length": "length", "tool": "tool_calls"}


@dataclass(frozen=True, slots=True)
class Native(Exchange):
    """A call with its maker's shape: ``nova``, ``chat``, ``titan``, ``llama``, ``prompt``, ``cohere``."""

    shape: str = "chat"


def read(body: dict[str, Any], model: str, serial: int, now_s: int, *, stream: bool) -> Native:
    """Reads a request for text.

    Raises:
        KeyError: A required member is missing.
    """
    shape = _shape(model, body)
    if shape in ("chat", "nova"):
        messages = body["messages"]
        texts = [*texts_in(body.get("system")), *texts_in(messages), *texts_in(body.get("tools"))]
        config = body.get("inferenceConfig") or {}
        limit = config.get("maxTokens", config.get("max_new_tokens"))
        limit = body.get("max_completion_tokens", body.get("max_tokens", limit))
        last, count, images = messages[-1]["content"], len(messages), images_in(messages)
    else:
        text = body[_MEMBERS[shape]]
        texts, last, count, images = [text], text, 1, 0
        config = body.get("textGenerationConfig") or {}
        limit = body.get("max_gen_len", body.get("max_tokens", config.get("maxTokenCount")))
    return Native(
        model=model,
        stream=stream,
        last_text=last if isinstance(last, str) else " ".join(texts_in(last)),
        input_tokens=count_tokens(texts, count, images * 1568),
        max_output_tokens=limit,
        choices=body.get("n") or body.get("num_generations") or 1,
        serial=serial,
        created_s=now_s,
        shape=shape,
    )


def _shape(model: str, body: dict[str, Any]) -> str:
    if "messages" in body:
        return "nova" if "amazon." in model else "chat"
    if "inputText" in body:
        return "titan"
    if "message" in body:
        return "cohere"
    return "llama" if "llama" in model else "prompt"


def answer(exchange: Exchange, script: Script, planned: Plan, usage: Usage) -> Answer:
    """The answer in the maker's shape."""
    assert isinstance(exchange, Native)
    given, written = usage.input_tokens or 0, usage.output_tokens or 0
    if not exchange.stream:
        whole = _whole(exchange, planned, given, written)
        body = whole | {"usage": _of_nova(usage)} if exchange.shape == "nova" else whole
        made = json_answer(body, script, usage)
        counts = () if script.no_usage else _headers(usage)
        return replace(made, headers=(*made.headers, *counts))
    frames = []
    for text, tokens in groups(planned.words, script.chunks):
        frames.append(Frame(_chunk(_part(exchange, text)), tokens * exchange.choices, paced=True))
    last: dict[str, Any] = _part(exchange, "") | {"stop_reason": _REASONS[planned.finish]}
    if not script.no_usage:
        last["amazon-bedrock-invocationMetrics"] = _metrics(usage)
    return stream_answer([*frames, Frame(_chunk(last))], script, CONTENT_TYPE)


def made(model: str, body: dict[str, Any]) -> tuple[Answer, Usage] | None:
    """What is no conversation: vectors, images and rankings; None for all else."""
    if "embed" in model:
        given = count_tokens(texts_in([body.get("inputText"), body.get("texts")]), 0)
        usage = Usage(input_tokens=given, output_tokens=0)
        return _plain({"embedding": [0.5, -0.5], "inputTextTokenCount": given}, usage), usage
    if "imageGenerationConfig" in body or model.startswith("stability."):
        count = (body.get("imageGenerationConfig") or {}).get("numberOfImages") or 1
        usage = Usage(images=count)
        return _plain({"images": ["iVBORw0KGgo="] * count}, None), usage
    if "query" in body:
        units = -(-len(body["documents"]) // 100)
        results = [{"index": 0, "relevance_score": 0.9}]
        return _plain({"results": results}, None), Usage(search_units=units)
    return None


def _plain(body: dict[str, Any], usage: Usage | None) -> Answer:
    headers = (("Content-Type", JSON), *(_headers(usage) if usage else ()))
    return Answer(200, headers, (Frame(dump(body)),))


def _headers(usage: Usage) -> tuple[tuple[str, str], ...]:
    reads, writes = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    counts = {
        "Input": (usage.input_tokens or 0) - reads - writes,
        "Output": usage.output_tokens or 0,
        "Cache-Read-Input": reads,
        "Cache-Write-Input": writes,
    }
    return tuple((f"X-Amzn-Bedrock-{k}-Token-Count", str(v)) for k, v in counts.items())


def _metrics(usage: Usage) -> dict[str, int]:
    reads, writes = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    return {
        "inputTokenCount": (usage.input_tokens or 0) - reads - writes,
        "outputTokenCount": usage.output_tokens or 0,
        "cacheReadInputTokenCount": reads,
        "cacheWriteInputTokenCount": writes,
        "invocationLatency": 551,
        "firstByteLatency": 120,
    }


def _of_nova(usage: Usage) -> dict[str, int]:
    metrics = _metrics(usage)
    named = {"inputTokens": "inputTokenCount", "outputTokens": "outputTokenCount"}
    caches = {
        key: metrics[key] for key in ("cacheReadInputTokenCount", "cacheWriteInputTokenCount")
    }
    return {name: metrics[key] for name, key in named.items()} | caches


def _chunk(body: dict[str, Any]) -> bytes:
    wrapped = {"bytes": base64.b64encode(dump(body)).decode(), "p": "abcdefgh"}
    headers = {
        ":event-type": "chunk",
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return message(headers, dump(wrapped))


def _part(exchange: Native, text: str) -> dict[str, Any]:
    match exchange.shape:
        case "nova":
            return {"contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0}}
        case "titan":
            return {"outputText": text, "index": 0}
        case "llama":
            return {"generation": text}
        case "prompt":
            return {"outputs": [{"text": text}]}
        case "cohere":
            return {"event_type": "text-generation", "text": text}
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def _whole(exchange: Native, planned: Plan, given: int, written: int) -> dict[str, Any]:
    text, reason = planned.text, _REASONS[planned.finish]
    match exchange.shape:
        case "nova":
            content = [{"text": text}]
            output = {"message": {"role": "assistant", "content": content}}
            return {"output": output, "stopReason": "end_turn"}
        case "titan":
            one = {"tokenCount": written, "outputText": text, "completionReason": "FINISH"}
            return {"inputTextTokenCount": given, "results": [one]}
        case "llama":
            counts = {"prompt_token_count": given, "generation_token_count": written}
            return {"generation": text, **counts, "stop_reason": reason}
        case "prompt":
            return {"outputs": [{"text": text, "stop_reason": reason}]}
        case "cohere":
            return {"text": text, "finish_reason": "COMPLETE", "generation_id": "sim"}
    chat = {"role": "assistant", "content": text}
    choice = {"message": chat, "finish_reason": reason}
    choices = [{"index": index, **choice} for index in range(exchange.choices)]
    said = {"prompt_tokens": given, "completion_tokens": written}
    return {"id": "chatcmpl-sim", "model": exchange.model, "choices": choices, "usage": said}
