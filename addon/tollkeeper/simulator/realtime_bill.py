"""What a simulated Realtime session bills: responses by text and audio, transcripts by another price.

Source: https://developers.openai.com/api/docs/guides/realtime-costs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Usage
from tollkeeper.simulator.exchange import count_tokens, texts_in

MS_HEARD: Final = 100
BYTES_PER_MS: Final = 48
WINDOW_TOKENS: Final = 32_000 - 4096
CACHE_BLOCK: Final = 64


def shown(model: str, told: Mapping[str, Any], items: list[dict[str, Any]], before: int) -> Usage:
    """What a response is shown: text and audio, and how much of it an earlier one was shown."""
    heard = int(sum(item.get("heard_ms", 0) for item in items) // MS_HEARD)
    heard += sum(item.get("said_tokens", 0) for item in items)
    inline = [
        part["audio"]
        for item in items
        for part in item.get("content") or ()
        if isinstance(part, dict) and part.get("audio")
    ]
    heard += sum(len(one) * 3 // 4 // BYTES_PER_MS // MS_HEARD for one in inline)
    texts = [*texts_in(told["instructions"]), *texts_in(told["tools"])]
    texts += [
        text
        for item in items
        for text in texts_in(item.get("content", item.get("output")))
        if text not in inline
    ]
    whole = min(count_tokens(texts, len(items)) + heard, WINDOW_TOKENS)
    heard = min(heard, whole)
    cached = min(before, whole) // CACHE_BLOCK * CACHE_BLOCK
    return Usage(
        input_tokens=whole,
        output_tokens=0,
        cache_read_input_tokens=cached,
        audio_input_tokens=heard,
        cache_read_audio_input_tokens=max(cached - (whole - heard), 0),
        model=model,
    )


def as_told(used: Usage) -> dict[str, Any]:
    """The usage as ``response.done`` has it."""
    given, said, heard = used.input_tokens or 0, used.output_tokens or 0, used.audio_input_tokens
    cached, cached_audio = used.cache_read_input_tokens, used.cache_read_audio_input_tokens
    parts = {"text_tokens": cached - cached_audio, "audio_tokens": cached_audio, "image_tokens": 0}
    return {
        "total_tokens": given + said, "input_tokens": given, "output_tokens": said,
        "input_token_details": {
            "text_tokens": given - heard, "audio_tokens": heard, "image_tokens": 0,
            "cached_tokens": cached, "cached_tokens_details": parts,
        },
        "output_token_details": {
            "text_tokens": said - used.audio_output_tokens, "audio_tokens": used.audio_output_tokens,
        },
    }  # fmt: skip


def written_down(asked: Mapping[str, Any], heard_ms: float) -> tuple[dict[str, Any], Usage]:
    """A transcript: by whole seconds with ``whisper-1``, by tokens with the others."""
    heard, model = int(heard_ms // MS_HEARD), asked["model"]
    if model == "whisper-1":
        seconds = -(-int(heard_ms) // 1000)
        told = {"type": "duration", "seconds": seconds}
        return told, Usage(audio_milliseconds=seconds * 1000, model=model)
    given = count_tokens([asked.get("prompt") or ""], 0)
    told = {
        "type": "tokens", "input_tokens": given + heard, "output_tokens": 3,
        "total_tokens": given + heard + 3,
        "input_token_details": {"text_tokens": given, "audio_tokens": heard},
    }  # fmt: skip
    return told, Usage(given + heard, 3, audio_input_tokens=heard, model=model)
