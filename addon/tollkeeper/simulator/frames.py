"""Bytes that the dialects share: events, JSON answers, and how a script chops them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from tollkeeper.domain import Usage
from tollkeeper.simulator.exchange import Answer, Frame
from tollkeeper.simulator.script import Script

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


def dump(value: Any) -> bytes:
    """Compact UTF-8 JSON, as providers send it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + dump(data) + b"\n\n"


def stream_answer(
    frames: Iterable[Frame], script: Script, content_type: str = EVENT_STREAM
) -> Answer:
    """A stream; compressed as one when the script says so, flushed at every frame's end."""
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", content_type),
        ("Cache-Control", "no-cache"),
    )
    listed = tuple(frames)
    if script.encoding == "gzip":
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        listed = tuple(
            Frame(
                packer.compress(f.data)
                + packer.flush(zlib.Z_SYNC_FLUSH if f is not listed[-1] else zlib.Z_FINISH),
                f.output_tokens,
                f.paced,
            )
            for f in listed
        )
        headers += (("Content-Encoding", "gzip"),)
    return Answer(200, headers, listed, streamed=True)


def json_answer(body: Mapping[str, Any], script: Script, usage: Usage) -> Answer:
    """A whole body, in ``script.chunks`` pieces when given; billed with its first byte."""
    data = dump(body)
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
    if script.encoding == "gzip":
        data = gzip.compress(data, mtime=0)
        headers += (("Content-Encoding", "gzip"),)
    pieces = 1 if script.chunks is None else max(1, min(script.chunks, len(data)))
    size = -(-len(data) // pieces)
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    frames = tuple(
        Frame(part, (usage.output_tokens or 0) if index == 0 else 0, paced=True)
        for index, part in enumerate(parts)
    )
    return Answer(200, headers, frames, streamed=script.chunks is not None)
