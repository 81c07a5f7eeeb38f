"""Metering what InvokeModel answers for other makers than Anthropic.

Amazon counts tokens in headers of a whole answer and beside the last event of a stream; some makers say
them in the body too. Where two say different figures, the larger counts.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (bodies by maker),
https://github.com/aws/aws-sdk-js-v3/issues/5917 and https://github.com/aws/aws-sdk-js-v3/issues/8172
(headers), https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (caches)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect, Usage
from tollkeeper.wire import event_stream
from tollkeeper.wire import usage as figures
from tollkeeper.wire.made import Made
from tollkeeper.wire.meter import JsonMeter, StreamMeter
from tollkeeper.wire.metering import Meter
from tollkeeper.wire.reading import parsed_object
from tollkeeper.wire.seen import Seen

METRICS: Final = "amazon-bedrock-invocationMetrics"

_HEADER: Final = "x-amzn-bedrock-{}-token-count"
_IN_HEADERS: Final = {
    "input": "inputTokens",
    "output": "outputTokens",
    "cache-read-input": "cacheReadInputTokens",
    "cache-write-input": "cacheWriteInputTokens",
}
_IN_METRICS: Final = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
}
_NOT_BILLED: Final = frozenset({"invocationLatency", "firstByteLatency"})

_TELLS: Final = re.compile(
    rb'"(?:amazon-bedrock-invocationMetrics|usage|inputTextTokenCount|prompt_token_count'
    rb'|generation_token_count)"'
)

_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
)


def meter(call: Call, content_type: str, headers: Mapping[str, str]) -> Meter:
    """The meter for one answer.

    Args:
        call: In this dialect.
        content_type: The answer's.
        headers: The answer's, by lower-case name.
    """
    reading = NativeReading(call, headers)
    if content_type.partition(";")[0].strip().lower() == event_stream.CONTENT_TYPE:
        splitter = event_stream.EventStreamSplitter(event_stream.chunk_of)
        return StreamMeter(reading, splitter, take_out_usage=False)
    return JsonMeter(reading)


class NativeReading:
    """What one answer has said so far, in its maker's words and in Amazon's."""

    def __init__(self, call: Call, headers: Mapping[str, str]) -> None:
        """Read the headers, which stand for a whole answer."""
        self._call = call
        self._said = _in_headers(headers)
        self.seen = Seen(Dialect.BEDROCK_NATIVE)
        self.made = Made(Dialect.BEDROCK_NATIVE)
        self.begun = False
        self.done = False

    def event(self, data: bytes) -> None:
        """One event; of one that was cut, all bytes may be billed."""
        self.seen.most_tokens += len(data)
        event = parsed_object(data)
        self.begun = self.begun or event is not None
        self.seen.read(event)
        if event is not None and _TELLS.search(data):
            self._absorb(event)
            self.done = self.done or isinstance(event.get(METRICS), dict)

    def document(self, value: Any) -> None:
        """A whole answer."""
        if isinstance(value, dict):
            self._absorb(value)

    def _absorb(self, answer: Mapping[str, Any]) -> None:
        parts = (self._said, _in_metrics(answer), _in_body(answer), _media(answer, self._call))
        self._said = _larger(part for part in parts if part is not None)

    def usage(self) -> Usage | None:
        """The figures so far; what embeds, ranks or draws writes nothing.

        What writes has read something: figures without it are not whole, and would cost too little.
        """
        said = self._said
        if said is None or self._call.max_output_tokens != 0:
            return said if said is not None and said.input_tokens else None
        return said if said.output_tokens is not None else replace(said, output_tokens=0)


def _in_headers(headers: Mapping[str, str]) -> Usage | None:
    counts = {}
    for name, key in _IN_HEADERS.items():
        told = headers.get(_HEADER.format(name), "")
        if told.isascii() and told.isdigit() and len(told) <= 12:
            counts[key] = int(told)
    return figures.bedrock(counts) if counts else None


def _in_metrics(answer: Mapping[str, Any]) -> Usage | None:
    metrics = answer.get(METRICS)
    if not isinstance(metrics, dict):
        return None
    read = figures.bedrock(_renamed(metrics))
    return replace(read, unknown=tuple(key for key in read.unknown if key not in _NOT_BILLED))


def _renamed(said: Mapping[str, Any]) -> dict[str, Any]:
    """Figures under the names that Converse has for them."""
    return {_IN_METRICS.get(key) or key: value for key, value in said.items()}


def _in_body(answer: Mapping[str, Any]) -> Usage | None:
    """What the maker itself says: Nova, OpenAI and those after it, Titan, Llama."""
    said = answer.get("usage", answer.get("metadata"))
    if isinstance(said, dict) and isinstance(said.get("usage"), dict):
        said = said["usage"]
    if isinstance(said, dict) and ("inputTokens" in said or "outputTokens" in said):
        return figures.bedrock(_renamed(said))
    if isinstance(said, dict) and said:
        return figures.openai_chat(said, "bedrock")
    results = answer.get("results")
    written = [
        figures.number(one.get("tokenCount"))
        for one in (results if isinstance(results, list) else ())
        if isinstance(one, dict)
    ]
    given = _first(answer, "inputTextTokenCount", "prompt_token_count")
    made = _first(answer, "totalOutputTextTokenCount", "generation_token_count")
    known = [count for count in written if count is not None]
    made = sum(known) if known and made is None else made
    return None if given is None and made is None else Usage(input_tokens=given, output_tokens=made)


def _first(answer: Mapping[str, Any], *keys: str) -> int | None:
    counts = (figures.number(answer.get(key)) for key in keys)
    return next((count for count in counts if count is not None), None)


def _media(answer: Mapping[str, Any], call: Call) -> Usage | None:
    """Images: as many as came out, or as went in to be embedded."""
    if call.most is None or not call.most.images:
        return None
    if "image_out" not in call.features:
        return Usage(images=call.most.images)
    lists = [answer.get(key) for key in ("images", "artifacts")]
    made = sum(len(one) for one in lists if isinstance(one, list))
    return Usage(images=made) if made else None


def _larger(parts: Iterable[Usage]) -> Usage | None:
    """Of each count the largest that any of them says."""
    told = list(parts)
    if not told:
        return None
    counts: dict[str, Any] = {}
    for name in _COUNTS:
        known = [count for part in told if (count := getattr(part, name)) is not None]
        counts[name] = max(known, default=None)
    unknown = dict.fromkeys(name for part in told for name in part.unknown)
    images = max(part.images for part in told)
    return Usage(**counts, images=images, unknown=tuple(unknown))
