"""A model call as every dialect of the simulator reads it, and how its answer is planned.

Tokens are counted the simulator's own way, deterministic and easy to check by hand: input is one
token for four UTF-8 bytes of each text, rounded up, plus four a message and three to begin the
answer; output is one token a word, and one for four characters of a tool call's arguments.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tollkeeper.domain import Usage
from tollkeeper.simulator.script import Script

MESSAGE_TOKENS = 4
ANSWER_TOKENS = 3

# Keys whose strings are labels of the format and not text that a model reads.
_LABELS = frozenset(
    {"type", "id", "role", "call_id", "tool_call_id", "tool_use_id", "media_type", "mimeType",
     "mime_type", "signature", "status", "cache_control", "detail"}
)  # fmt: skip
_IMAGES = frozenset({"image", "image_url", "input_image"})
_INLINE = frozenset({"inlineData", "inline_data"})
_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog")
_ARGUMENT_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Exchange:
    """A model call as the simulator understands it.

    Attributes:
        last_text: The text of the last message when it is the user's own, for directives.
        input_tokens: As the simulator counts them.
        tools: JSON schema of each offered tool's arguments, by name.
        forced_tool: The tool that the request insists on.
        include_usage: Whether an OpenAI chat stream ends with a usage event.
        sse: False for Gemini's streams as one JSON array.
        cached_tokens: Of the input, what a cache holds that the request names.
        serial: Makes the answer's ids.
    """

    model: str
    stream: bool
    last_text: str
    input_tokens: int
    max_output_tokens: int | None = None
    choices: int = 1
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    forced_tool: str | None = None
    include_usage: bool = False
    sse: bool = True
    cached_tokens: int = 0
    serial: int = 0
    created_s: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes that are sent at once.

    Attributes:
        output_tokens: Generated, and billed, when this frame is written.
        paced: True for pieces of the visible answer: ``delay``, ``cut`` and ``stall`` count these.
    """

    data: bytes
    output_tokens: int = 0
    paced: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and the frames to write, in order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    frames: tuple[Frame, ...]
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What one choice of the answer says, one token a piece.

    Attributes:
        words: Of the visible text.
        arguments: Of the tool call's JSON arguments.
        finish: ``stop``, ``length`` or ``tool``.
    """

    words: tuple[str, ...]
    arguments: tuple[str, ...]
    tool: str | None
    reasoning_tokens: int
    finish: str

    @property
    def text(self) -> str:
        """The visible text."""
        return "".join(self.words)

    @property
    def arguments_json(self) -> str:
        """The tool call's arguments; cut off in the middle when the limit was met there."""
        return "".join(self.arguments)

    @property
    def output_tokens(self) -> int:
        """All that this choice is billed, reasoning included."""
        return len(self.words) + len(self.arguments) + self.reasoning_tokens


def plan(exchange: Exchange, script: Script) -> Plan:
    """What to say, within the request's output limit (reasoning counts against it)."""
    tool = script.tool or (exchange.forced_tool if script.tokens is None else None)
    words = _words(exchange, script, tool)
    arguments = _arguments(exchange, script, tool) if tool else ()
    limit = None if script.ignore_limit else exchange.max_output_tokens
    left = limit if limit is not None else script.reasoning + len(words) + len(arguments)
    reasoning = min(script.reasoning, left)
    kept = words[: left - reasoning]
    kept_arguments = arguments[: left - reasoning - len(kept)]
    whole = len(kept) == len(words) and len(kept_arguments) == len(arguments)
    finish = ("tool" if tool else "stop") if whole and reasoning == script.reasoning else "length"
    return Plan(kept, kept_arguments, tool, reasoning, finish)


def usage(exchange: Exchange, script: Script, planned: Plan) -> Usage:
    """What is billed when the whole answer is generated; counts are inclusive."""
    billed_input = exchange.input_tokens if script.input is None else script.input
    reads = min(script.cache_read + exchange.cached_tokens, billed_input)
    long_writes = min(script.cache_write_1h, billed_input - reads)
    writes = min(script.cache_write, billed_input - reads - long_writes)
    return Usage(
        input_tokens=billed_input,
        output_tokens=planned.output_tokens * exchange.choices,
        cache_read_input_tokens=reads,
        cache_write_input_tokens=writes + long_writes,
        cache_write_1h_input_tokens=long_writes,
        reasoning_output_tokens=planned.reasoning_tokens * exchange.choices,
        model=script.model or exchange.model,
        service_tier=script.service_tier,
    )


def groups(pieces: tuple[str, ...], chunks: int | None) -> Iterator[tuple[str, int]]:
    """Pieces joined into ``chunks`` groups of nearly equal size, each with its token count."""
    if not pieces:
        return
    count = min(len(pieces), max(1, chunks)) if chunks is not None else len(pieces)
    for index in range(count):
        part = pieces[index * len(pieces) // count : (index + 1) * len(pieces) // count]
        yield "".join(part), len(part)


def count_tokens(texts: Iterable[str], messages: int, images: int = 0) -> int:
    """Input tokens of these texts, messages and images' own tokens together."""
    texts_tokens = sum((len(t.encode("utf-8", "surrogatepass")) + 3) // 4 for t in texts)
    return texts_tokens + messages * MESSAGE_TOKENS + ANSWER_TOKENS + images


def asked_tokens(messages: Sequence[Any], image_tokens: int, *beside: Any) -> int:
    """Input tokens of a call: its messages and what stands beside them (a system prompt, tools).

    Args:
        image_tokens: What one image costs in this dialect.
    """
    texts = itertools.chain(texts_in(messages), *(texts_in(one) for one in beside))
    return count_tokens(texts, len(messages), images_in(messages) * image_tokens)


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a JSON value that a model would read, in order; no image data."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from texts_in(item)
        case dict() if not is_image(value):
            for key, item in value.items():
                if key not in _LABELS:
                    yield from texts_in(item)


def own_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last message when it is the user's."""
    last = messages[-1] if messages else {}
    return " ".join(texts_in(last.get("content"))) if last.get("role") == "user" else ""


def is_image(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is an image part of any dialect."""
    kind = value.get("type")
    return kind in _IMAGES if isinstance(kind, str) else bool(_INLINE & value.keys())


def images_in(value: Any) -> int:
    """How many image parts a JSON value contains."""
    match value:
        case list():
            return sum(images_in(item) for item in value)
        case dict():
            return 1 if is_image(value) else sum(images_in(item) for item in value.values())
    return 0


def example(schema: Mapping[str, Any]) -> Any:
    """A smallest value that fits a JSON schema's types; references are not followed."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    match str(kind[0] if isinstance(kind, list) else kind).lower():
        case "object":
            known = schema.get("properties", {})
            return {name: example(known.get(name, {})) for name in schema.get("required", ())}
        case "array":
            return [example(schema.get("items", {}))] * int(schema.get("minItems", 0))
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return "simulated"


def _words(exchange: Exchange, script: Script, tool: str | None) -> tuple[str, ...]:
    if script.text is not None:
        words = script.text.split(" ")
    elif script.tokens is not None:
        words = list(itertools.islice(itertools.cycle(_WORDS), script.tokens))
    elif tool:
        words = []
    else:
        words = f"Hello from the simulated {exchange.model}.".split(" ")
    return tuple(word if index == 0 else f" {word}" for index, word in enumerate(words))


def _arguments(exchange: Exchange, script: Script, tool: str) -> tuple[str, ...]:
    made_up = json.dumps(example(exchange.tools.get(tool, {})), separators=(",", ":"))
    text = made_up if script.args is None else script.args
    size = _ARGUMENT_CHARACTERS
    return tuple(text[i : i + size] for i in range(0, len(text), size))
