"""What the answers of the samples ask a client to do: an independent reading of their tool calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tollkeeper.wire.event_stream import EventStreamSplitter, chunk_of

type Found = dict[object, list[str]]


def tool_calls(data: bytes, content_type: str) -> list[tuple[str, Any]]:
    """Names and arguments of the tools that an answer calls, in order."""
    found: Found = {}
    for event in events(data, content_type):
        for number, (place, name, arguments) in enumerate(pieces(event)):
            if isinstance(arguments, str):
                call = found.setdefault(place, ["", ""])
                call[0] += name
                call[1] += arguments
            else:
                found[len(found), number] = [name, json.dumps(arguments)]
    return [(name, json.loads(arguments or "{}")) for name, arguments in found.values() if name]


def events(data: bytes, content_type: str) -> Iterator[dict[str, Any]]:
    """A whole answer, or the events of a stream; nothing of what is no JSON."""
    if content_type.startswith("application/vnd.amazon.eventstream"):
        texts = [payload or b"" for _, payload in EventStreamSplitter(chunk_of).feed(data)]
    elif content_type.startswith("application/json"):
        texts = [data]
    else:
        texts = [line.removeprefix(b"data: ") for line in data.splitlines()]
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield one.get("response", one) if "candidates" in str(one) else one


def pieces(event: dict[str, Any]) -> Iterator[tuple[object, str, Any]]:
    """``(place, name, arguments)``: a text of arguments may go on in a later event of that place."""
    yield from of_chats(event)
    yield from of_items(event)
    yield from of_blocks(event)
    for candidate in event.get("candidates", []):
        for part in candidate.get("content", {}).get("parts", []):
            if call := part.get("functionCall"):
                yield None, call["name"], call["args"]


def of_chats(event: dict[str, Any]) -> Iterator[tuple[object, str, Any]]:
    """Chat completions, Cohere's events and Ollama's messages."""
    holders = [one.get("message") or one.get("delta") or {} for one in event.get("choices", [])]
    inner = event.get("delta", {})
    holders += [
        one
        for one in (event.get("message"), inner.get("message") if isinstance(inner, dict) else None)
        if isinstance(one, dict)
    ]
    for holder in holders:
        calls = holder.get("tool_calls") or []
        for call in calls if isinstance(calls, list) else [calls]:
            function = call.get("function", {})
            place = call.get("index", event.get("index", call.get("id")))
            yield place, function.get("name") or "", function.get("arguments") or ""


def of_items(event: dict[str, Any]) -> Iterator[tuple[object, str, Any]]:
    """Items of a response: of a stream those that are done, and not the whole at its end once more."""
    streamed = event.get("type") == "response.output_item.done"
    for item in [event["item"]] if streamed else event.get("output", []):
        if isinstance(item, dict) and item.get("type") == "function_call":
            yield item["id"], item["name"], item["arguments"]


def of_blocks(event: dict[str, Any]) -> Iterator[tuple[object, str, Any]]:
    """Blocks of Anthropic's and of Bedrock's Converse."""
    output = event.get("output")
    message = output.get("message", {}) if isinstance(output, dict) else {}
    contents = (event.get("content"), message.get("content"))
    for block in [one for content in contents for one in content or [] if isinstance(one, dict)]:
        call = block if block.get("type") == "tool_use" else block.get("toolUse")
        if call:
            yield None, call["name"], call["input"]
    begun = event.get("content_block") or event.get("start") or {}
    started = begun if begun.get("type") == "tool_use" else begun.get("toolUse")
    place = event.get("index", event.get("contentBlockIndex"))
    if started:
        yield place, started["name"], ""
    delta = event.get("delta")
    if isinstance(delta, dict):
        tool = delta.get("toolUse")
        text = tool.get("input") if isinstance(tool, dict) else delta.get("partial_json")
        if text is not None:
            yield place, "", text
