"""What reading a request and counting an answer costs; prints medians, judges nothing.

Run: ``python tests/bench/bench_wire.py``
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from tollkeeper import facts
from tollkeeper.domain import Dialect
from tollkeeper.wire import document, meter, route
from tollkeeper.wire.dialect import Inbound

PATH = "/v1/chat/completions"


def conversation(turns: int, size: int, letters: str = "text ") -> dict[str, Any]:
    """A coding agent's chat: tools, then pairs of a tool call and its result of ``size`` bytes."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are an agent. " * 30}]
    for i in range(turns):
        function = {"name": "read_file", "arguments": json.dumps({"path": f"/src/{i}.py"})}
        call = {"id": f"call_{i}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        content = letters * (size // len(letters.encode()))
        messages.append({"role": "tool", "tool_call_id": f"call_{i}", "content": content})
    parameters = {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "p" * 40}},
    }
    tools = [
        {
            "type": "function",
            "function": {"name": f"tool_{i}", "description": "d" * 300, "parameters": parameters},
        }
        for i in range(20)
    ]
    return {"model": "gpt-4o", "messages": messages, "tools": tools, "stream": True}


def microseconds(work: Callable[[], object], seconds: float = 0.5) -> float:
    """Median time of one call of ``work``."""
    times: list[int] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or len(times) < 5:
        begins = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - begins)
    return statistics.median(times) / 1000


def bench_parse() -> None:
    """Reading requests, beside ``json.loads`` of the same bytes."""
    provider = facts.providers()["openai"]
    endpoint = route.recognise(provider, "POST", PATH)
    assert endpoint is not None
    small = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "y" * 900}],
        "max_tokens": 100,
    }
    bodies = {
        "1 kB chat": small,
        "200 kB conversation": conversation(60, 3100),
        "200 kB, not ASCII": conversation(60, 3100, "tëxt 漢 "),
        "1 MB conversation": conversation(100, 10_000),
    }
    print(f"{'request':24}{'bytes':>10}{'json.loads':>12}{'read':>10}{'parse':>10}   µs")
    for name, body in bodies.items():
        raw = json.dumps(body, ensure_ascii=False).encode()
        inbound = Inbound(provider, "POST", PATH, "", {"content-type": "application/json"}, raw)
        loads = microseconds(lambda raw=raw: json.loads(raw))  # type: ignore[misc]
        read = microseconds(lambda raw=raw: document.read(raw))  # type: ignore[misc]
        parse = microseconds(lambda inbound=inbound: route.parse(inbound, endpoint))  # type: ignore[misc]
        print(f"{name:24}{len(raw):>10}{loads:>12.1f}{read:>10.1f}{parse:>10.1f}")


DELTAS = {
    Dialect.OPENAI_CHAT: (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763700000,"model":"gpt-4o",'
        b'"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":'
        b'{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    ),
    Dialect.OPENAI_RESPONSES: (
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,'
        b'"content_index":0,"delta":" word","sequence_number":4,"obfuscation":"aBcD"}\n\n'
    ),
    Dialect.ANTHROPIC: (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}\n\n'
    ),
    Dialect.GEMINI: (
        b'data: {"candidates": [{"content": {"parts": [{"text": " some words"}],"role": "model"},"index": 0}],'
        b'"usageMetadata": {"promptTokenCount": 8,"candidatesTokenCount": 12,"totalTokenCount": 80},'
        b'"modelVersion": "gemini-2.5-pro","responseId": "r"}\r\n\r\n'
    ),
}


def bench_meter() -> None:
    """Counting one delta of a stream."""
    print(f"\n{'delta':24}{'bytes':>10}{'feed':>12}{'taking out':>12}   µs")
    for dialect, delta in DELTAS.items():
        figures = []
        for take_out in (False, True):
            counting = meter.meter(
                dialect, "openai", "text/event-stream", True, take_out_usage=take_out
            )
            figures.append(
                microseconds(lambda c=counting, d=delta: [c.feed(d) for _ in range(100)]) / 100  # type: ignore[misc]
            )
        print(f"{dialect:24}{len(delta):>10}{figures[0]:>12.2f}{figures[1]:>12.2f}")


if __name__ == "__main__":
    bench_parse()
    bench_meter()
