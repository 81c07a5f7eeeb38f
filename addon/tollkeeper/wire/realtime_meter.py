"""Counting one response of a Realtime session: its usage, and what was seen of it before that.

Audio of an answer is a token for each 50 ms; how many bytes those are depends on its format, so what
was seen is bounded by the format with the fewest and surely as long as by the one with the most.

Source: https://developers.openai.com/api/docs/guides/realtime-costs,
https://developers.openai.com/api/reference/resources/realtime/server-events (``response.done``)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Dialect, Usage
from tollkeeper.wire.fields import words
from tollkeeper.wire.meter import StreamMeter
from tollkeeper.wire.reading import ConversationReading
from tollkeeper.wire.sse import SseSplitter
from tollkeeper.wire.usage import number, part, unknown

_DELTA: Final = re.compile(
    rb'"type"\s*:\s*"response\.(?:output_)?(audio|text|audio_transcript'
    rb'|function_call_arguments)\.delta"'
)
_DONE: Final = re.compile(rb'"type"\s*:\s*"response\.done"')

_BYTES_OF_A_TOKEN: Final = (400, 2400)
"""50 ms of 8 bits at 8 kHz, and of 16 bits at 24 kHz."""

_KNOWN: Final = words("""input_tokens output_tokens total_tokens
    input_token_details.text_tokens input_token_details.audio_tokens input_token_details.image_tokens
    input_token_details.cached_tokens input_token_details.cached_tokens_details.text_tokens
    input_token_details.cached_tokens_details.audio_tokens
    input_token_details.cached_tokens_details.image_tokens
    output_token_details.text_tokens output_token_details.audio_tokens
    output_token_details.reasoning_tokens""")


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Usage as ``response.done`` has it; both counts are inclusive.

    Cached tokens are a part of the input, audio or not as their details say.
    """
    given, made = "input_token_details", "output_token_details"
    return Usage(
        input_tokens=number(usage.get("input_tokens")),
        output_tokens=number(usage.get("output_tokens")),
        cache_read_input_tokens=part(usage, given, "cached_tokens"),
        cache_read_audio_input_tokens=part(usage, given, "cached_tokens_details", "audio_tokens"),
        audio_input_tokens=part(usage, given, "audio_tokens"),
        image_input_tokens=part(usage, given, "image_tokens"),
        audio_output_tokens=part(usage, made, "audio_tokens"),
        reasoning_output_tokens=part(usage, made, "reasoning_tokens"),
        unknown=unknown(usage, _KNOWN),
    )


class _Response(ConversationReading):
    """What the events of one response have said."""

    def __init__(self, provider: str) -> None:
        super().__init__(Dialect.OPENAI_REALTIME, provider)
        self._audio_bytes = 0
        self._usage: Usage | None = None

    def event(self, data: bytes) -> None:
        """One event's payload."""
        self.begun = True
        found = _DELTA.search(data)
        if found is None and _DONE.search(data) is None:
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            self.seen.most_tokens += len(data)
            return
        match event:
            case {"type": "response.done", "response": dict(response)}:
                said = response.get("usage")
                self._usage = usage_of(said) if isinstance(said, dict) and said else None
                self.done = True
            case {"type": str(), "delta": str(delta)} if found is not None:
                self._shown(delta, audio=found[1] == b"audio")

    def _shown(self, delta: str, *, audio: bool) -> None:
        if not audio:
            self.seen.most_tokens += len(delta.encode("utf-8", "surrogatepass"))
            self.seen.read({"delta": delta})
            return
        before = -(-self._audio_bytes // _BYTES_OF_A_TOKEN[0])
        self._audio_bytes += len(delta) * 3 // 4
        self.seen.most_tokens += -(-self._audio_bytes // _BYTES_OF_A_TOKEN[0]) - before

    def usage(self) -> Usage | None:
        """What the provider said, at the response's end."""
        return self._usage


class RealtimeMeter(StreamMeter):
    """One response, fed with the provider's events as those of a stream."""

    def __init__(self, provider: str) -> None:
        super().__init__(_Response(provider), SseSplitter(), take_out_usage=False)
