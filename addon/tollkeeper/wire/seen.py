"""What a stream has shown of its answer: how much it can be billed at most, and at least.

At most a token a byte. At least a token a word, because no known tokenizer joins words, and one for
so many bytes where there are no words to count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tollkeeper.domain import Dialect

MOST_BYTES_OF_A_TOKEN: Final = 128
"""The longest token of OpenAI's vocabularies; those of others are shorter.

Source: https://github.com/openai/tiktoken (``o200k_base``: runs of 128 spaces)
"""

_TEXTS: Final = re.compile(
    rb'"(?:content|text|delta|arguments|partial_json|thinking|reasoning|reasoning_content|refusal'
    rb'|name|input|signature|code|output|transcript)"\s*:\s*"((?:[^"\\]|\\.)*)(?:"|\\?\Z)'
)
"""The last text of an event that was cut has no quote at its end."""

_DELTA: Final = re.compile(rb'"delta"\s*:\s*(?!\{\s*\}|null)')


class Seen:
    """Counts the texts of one stream.

    Attributes:
        most_tokens: More than what was seen can be billed as output.
        least_tokens: Less than what was seen can be billed as output.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._words = 0
        self._bytes = 0
        self._within = False
        self.most_tokens = 0

    @property
    def least_tokens(self) -> int:
        """Words, or bytes where these are longer than any token."""
        return max(self._words, self._bytes // MOST_BYTES_OF_A_TOKEN)

    def bound(self, data: bytes, start: int) -> None:
        """Lengths of the texts from ``start`` on; of a delta without any that we know, all bytes."""
        if start < 0:
            return
        texts = _TEXTS.findall(data, start)
        if b'"functionCall"' in data or b'"inlineData"' in data or b'"audio"' in data:
            self.most_tokens += len(data)
        elif texts:
            self.most_tokens += sum(map(len, texts))
        elif _DELTA.search(data):
            self.most_tokens += len(data)

    def read(self, event: Any) -> None:
        """Count what an event surely added to the answer."""
        if not isinstance(event, dict):
            return
        for text in _GENERATED.get(self._dialect, _of_none)(event):
            if not text:
                continue
            words = len(text.split())
            self._words += words - int(self._within and words > 0 and not text[0].isspace())
            self._within = not text[-1].isspace()
            self._bytes += len(text.encode("utf-8", "surrogatepass"))


def _of_chat(event: dict[str, Any]) -> Iterator[str]:
    """One text a choice: providers repeat reasoning under a second name."""
    for choice in _objects(event.get("choices")):
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            continue
        texts = [delta.get(key) for key in ("content", "reasoning", "reasoning_content", "refusal")]
        for tool in _objects(delta.get("tool_calls")):
            function = tool.get("function")
            texts.append(function.get("arguments") if isinstance(function, dict) else None)
        yield max((text for text in texts if isinstance(text, str)), key=len, default="")


def _of_responses(event: dict[str, Any]) -> Iterator[str]:
    """Summaries are shown in the place of what is billed, sound and pictures are no text."""
    kind = event.get("type")
    if not isinstance(kind, str) or not kind.endswith(".delta"):
        return
    if not any(word in kind for word in ("summary", "audio.", "image")):
        delta = event.get("delta")
        if isinstance(delta, str):
            yield delta


def _of_anthropic(event: dict[str, Any]) -> Iterator[str]:
    delta = event.get("delta")
    if event.get("type") == "content_block_delta" and isinstance(delta, dict):
        for key in ("text", "partial_json"):
            if isinstance(delta.get(key), str):
                yield delta[key]


def _of_gemini(event: dict[str, Any]) -> Iterator[str]:
    inner = event.get("response", event)  # as Code Assist wraps it
    for candidate in _objects(inner.get("candidates") if isinstance(inner, dict) else None):
        content = candidate.get("content")
        for part in _objects(content.get("parts") if isinstance(content, dict) else None):
            if isinstance(part.get("text"), str) and not part.get("thought"):
                yield part["text"]


def _of_converse(event: dict[str, Any]) -> Iterator[str]:
    """``contentBlockDelta``: text, or the arguments of a tool; what is thought is shown elsewhere.

    Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlockDelta.html
    """
    delta = event.get("delta")
    if not isinstance(delta, dict):
        return
    tool = delta.get("toolUse")
    for text in (delta.get("text"), tool.get("input") if isinstance(tool, dict) else None):
        if isinstance(text, str):
            yield text


def _of_cohere(event: dict[str, Any]) -> Iterator[str]:
    """Of the second version what a message's delta adds, of the first its generated text.

    Source: https://docs.cohere.com/reference/chat-stream, https://docs.cohere.com/v1/reference/chat-stream
    """
    if event.get("event_type") == "text-generation" and isinstance(event.get("text"), str):
        yield event["text"]
    delta = event.get("delta")
    message = delta.get("message") if isinstance(delta, dict) else None
    if not isinstance(message, dict):
        return
    content, call = message.get("content"), message.get("tool_calls")
    function = call.get("function") if isinstance(call, dict) else None
    texts = [message.get("tool_plan")]
    texts += [content.get(key) for key in ("text", "thinking")] if isinstance(content, dict) else []
    texts += [function.get("arguments")] if isinstance(function, dict) else []
    yield from (text for text in texts if isinstance(text, str))


def _of_ollama(event: dict[str, Any]) -> Iterator[str]:
    """Source: https://github.com/ollama/ollama/blob/main/docs/api.md."""
    message = event.get("message")
    texts = [event.get("response"), event.get("thinking")]
    if isinstance(message, dict):
        texts += [message.get("content"), message.get("thinking")]
    yield from (text for text in texts if isinstance(text, str))


def _of_audio(event: dict[str, Any]) -> Iterator[str]:
    """What was heard, as it is written down.

    Source: https://platform.openai.com/docs/api-reference/audio/transcript-text-delta-event
    """
    if event.get("type") == "transcript.text.delta" and isinstance(event.get("delta"), str):
        yield event["delta"]


def _of_none(_event: dict[str, Any]) -> Iterator[str]:
    """Pictures and vectors have no text."""
    yield from ()


def _of_native(event: dict[str, Any]) -> Iterator[str]:
    """Of whichever maker: Titan, Llama, Cohere, Mistral and DeepSeek, Nova; others as OpenAI.

    Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
    """
    for key in ("outputText", "generation", "text"):
        if isinstance(event.get(key), str):
            yield event[key]
    for outputs in ("outputs", "choices"):
        for one in _objects(event.get(outputs)):
            if isinstance(one.get("text"), str):
                yield one["text"]
    yield from _of_chat(event)
    block = event.get("contentBlockDelta")
    yield from _of_converse(block if isinstance(block, dict) else {})


def _of_realtime(event: dict[str, Any]) -> Iterator[str]:
    """Text as it comes; what is said aloud is counted by its length elsewhere."""
    if isinstance(event.get("delta"), str):
        yield event["delta"]


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()


_GENERATED: Final = {
    Dialect.OPENAI_CHAT: _of_chat,
    Dialect.OPENAI_RESPONSES: _of_responses,
    Dialect.ANTHROPIC: _of_anthropic,
    Dialect.GEMINI: _of_gemini,
    Dialect.BEDROCK_CONVERSE: _of_converse,
    Dialect.BEDROCK_NATIVE: _of_native,
    Dialect.COHERE: _of_cohere,
    Dialect.OLLAMA: _of_ollama,
    Dialect.AUDIO: _of_audio,
    Dialect.OPENAI_REALTIME: _of_realtime,
}
