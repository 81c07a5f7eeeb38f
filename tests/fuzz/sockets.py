"""Frames of a WebSocket, both ways: each line of the data is one; ``<`` begins those of the provider."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fuzz.reader import one_sentence, unique
from tollkeeper import facts
from tollkeeper.errors import WireError
from tollkeeper.wire.openai_realtime import Realtime
from tollkeeper.wire.openai_socket import Responses
from tollkeeper.wire.talk import Asked

MOST_FRAMES = 64
OPENAI = facts.providers()["openai"]


def responses() -> Responses:
    return Responses(OPENAI, "/v1/responses")


def realtime() -> Realtime:
    return Realtime(OPENAI, "/v1/realtime", "gpt-realtime")


def frames(opened: Callable[[], Responses | Realtime], data: bytes) -> None:
    """Nothing that makes the provider answer goes on without a call, whatever was said before."""
    talk = opened()
    for line in data.splitlines()[:MOST_FRAMES]:
        try:
            if line.startswith(b"<"):
                talk.told(line[1:])
            else:
                looked_at(talk.asked(line, busy=False))
        except WireError as refused:
            one_sentence(refused)


def looked_at(asked: Asked) -> None:
    """What goes on of a client's frame, as the provider reads it."""
    sent = json.loads(asked.frame, object_pairs_hook=unique)
    assert isinstance(sent, dict)
    assert (sent.get("type") == "response.create") is (asked.call is not None)
    if asked.call is not None:
        assert asked.call.head_bound_tokens >= 0
        assert asked.call.max_output_tokens is None or asked.call.max_output_tokens >= 0
    if asked.sound is not None:
        assert asked.sound.microseconds >= 0
    assert begins_nothing(sent)


def begins_nothing(sent: dict[str, Any]) -> bool:
    """Whether the provider, once told so, answers only when it is asked to."""
    detection: Any = sent if sent.get("type") == "session.update" else None
    for name in ("session", "audio", "input", "turn_detection"):
        detection = detection.get(name) if isinstance(detection, dict) else None
    return not isinstance(detection, dict) or detection.get("create_response") is False


def lines(*events: dict[str, Any] | bytes) -> bytes:
    """Seeds: a client's events as they are, a provider's as bytes."""
    told = (b"<" + one if isinstance(one, bytes) else json.dumps(one).encode() for one in events)
    return b"\n".join(told)


HEARD = {"turn_detection": {"type": "server_vad"}, "format": {"type": "audio/pcm", "rate": 24000}}
SEEDS = {
    "responses": (
        lines(
            {"type": "response.create", "model": "gpt-5-mini", "input": "hi", "store": False},
            b'{"type":"response.created","response":{"id":"resp_1"}}',
            b'{"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":1}}}',
        ),
    ),
    "realtime": (
        lines(
            b'{"type":"session.created","session":{"type":"realtime","model":"gpt-realtime"}}',
            {"type": "session.update", "session": {"type": "realtime", "audio": {"input": HEARD}}},
            {"type": "input_audio_buffer.append", "audio": "AAAAAAAA"},
            b'{"type":"input_audio_buffer.speech_stopped","item_id":"i1","audio_end_ms":9}',
            b'{"type":"input_audio_buffer.committed","item_id":"i1"}',
        ),
        lines(
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "hi"}],
                },
            },
            {"type": "response.create", "response": {"max_output_tokens": 9, "tools": []}},
            b'{"type":"response.created","response":{"id":"resp_1"}}',
            b'{"type":"response.done","response":{"id":"resp_1","usage":{"output_tokens":3}}}',
            {"type": "response.cancel"},
        ),
    ),
}
