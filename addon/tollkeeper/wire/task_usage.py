"""What answers that are no conversation say they used, read into one ``Usage`` and none of it dropped.

Where nothing is said of tokens, ``output_tokens`` stays None, so that only a price by another measure
settles the call as measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Usage
from tollkeeper.wire import usage as figures
from tollkeeper.wire.fields import words

_EMBEDDING_KNOWN: Final = words("""prompt_tokens total_tokens completion_tokens input_tokens output_tokens cost
    prompt_tokens_details.text_tokens prompt_tokens_details.image_tokens
    prompt_tokens_details.audio_tokens prompt_tokens_details.cached_tokens prompt_audio_seconds
    cost_details.upstream_inference_cost cost_details.upstream_inference_prompt_cost search_units""")
_IMAGE_KNOWN: Final = words("""input_tokens output_tokens total_tokens input_tokens_details.text_tokens
    input_tokens_details.image_tokens input_tokens_details.cached_tokens
    output_tokens_details.image_tokens output_tokens_details.text_tokens
    output_tokens_details.reasoning_tokens cost cost_in_usd_ticks""")
_AUDIO_KNOWN: Final = words("""input_tokens output_tokens total_tokens seconds prompt_tokens completion_tokens
    input_token_details.text_tokens input_token_details.audio_tokens prompt_audio_seconds cost""")
_COHERE_KNOWN: Final = words("""billed_units.input_tokens billed_units.output_tokens billed_units.search_units
    billed_units.images billed_units.image_tokens tokens.input_tokens tokens.output_tokens
    tokens.image_tokens cached_tokens""")
_OCR_KNOWN: Final = words("pages_processed doc_size_bytes")


def _of(answer: Mapping[str, Any], *path: str) -> dict[str, Any]:
    value: Any = answer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def embeddings(answer: Mapping[str, Any], _call: Call) -> Usage | None:
    """Tokens that went in; nothing comes out.

    Source: https://platform.openai.com/docs/api-reference/embeddings/create
    """
    said = _of(answer, "usage")
    counts = [
        figures.number(said.get(key)) for key in ("prompt_tokens", "input_tokens", "total_tokens")
    ]
    known = [count for count in counts if count is not None]
    if not known:
        return None
    return Usage(
        input_tokens=max(known),
        output_tokens=figures.part(said, "completion_tokens"),
        image_input_tokens=figures.part(said, "prompt_tokens_details", "image_tokens"),
        audio_input_tokens=figures.part(said, "prompt_tokens_details", "audio_tokens"),
        cache_read_input_tokens=figures.part(said, "prompt_tokens_details", "cached_tokens"),
        unknown=figures.unknown(said, _EMBEDDING_KNOWN),
        provider_cost_nano_usd=figures.provider_cost(said),
    )


def gemini_embedding(answer: Mapping[str, Any], _call: Call) -> Usage | None:
    """Newer models say how many tokens went in; for older ones nothing is said.

    Source: https://ai.google.dev/api/embeddings
    """
    said = _of(answer, "usageMetadata")
    tokens = figures.number(said.get("promptTokenCount", said.get("totalTokenCount")))
    return None if tokens is None else Usage(input_tokens=tokens, output_tokens=0)


def images(answer: Mapping[str, Any], _call: Call) -> Usage | None:
    """Images that were made, and the tokens of models that are billed by them.

    Source: https://platform.openai.com/docs/api-reference/images/object
    """
    said = _of(answer, "usage")
    data = answer.get("data")
    made = len(data) if isinstance(data, list) else int("b64_json" in answer or "url" in answer)
    if not said and not made:
        return None
    read = figures.openai_responses(said)
    output = read.output_tokens
    text = figures.part(said, "output_tokens_details", "text_tokens")
    return Usage(
        input_tokens=read.input_tokens,
        output_tokens=output,
        image_input_tokens=read.image_input_tokens,
        image_output_tokens=max((output or 0) - text, 0),
        cache_read_input_tokens=read.cache_read_input_tokens,
        unknown=(
            *figures.unknown(said, _IMAGE_KNOWN),
            *figures.unknown(_of(answer, "svg_usage"), frozenset(), "svg_usage."),
        ),
        images=made,
        provider_cost_nano_usd=figures.provider_cost(said),
    )


def audio(answer: Mapping[str, Any], call: Call) -> Usage | None:
    """The length of what was heard, or the tokens of it.

    Source: https://platform.openai.com/docs/api-reference/audio/json-object, …/audio/verbose-json-object
    """
    said = _of(answer, "usage")
    details = "input_token_details"
    output = figures.number(said.get("output_tokens", said.get("completion_tokens")))
    milliseconds = max(
        _milliseconds(said.get("seconds")),
        _milliseconds(said.get("prompt_audio_seconds")),
        _milliseconds(answer.get("duration")),
    )
    if output is None and not milliseconds:
        return call.most if call.operation == "speech" else None
    least = facts.least_audio_milliseconds(call.provider)
    return Usage(
        input_tokens=figures.number(said.get("input_tokens", said.get("prompt_tokens"))),
        output_tokens=output,
        audio_input_tokens=figures.part(said, details, "audio_tokens"),
        audio_output_tokens=output or 0 if call.operation == "speech" else 0,
        unknown=figures.unknown(said, _AUDIO_KNOWN),
        audio_milliseconds=max(milliseconds, least) if milliseconds else 0,
        characters=call.most.characters if call.most is not None else 0,
        provider_cost_nano_usd=figures.provider_cost(said),
    )


def _milliseconds(seconds: object) -> int:
    """A length in seconds, rounded up; nonsense is 0."""
    if type(seconds) not in (int, float):
        return 0
    assert isinstance(seconds, int | float)
    return math.ceil(seconds * 1000) if 0 < seconds < 1e9 else 0


def rerank(answer: Mapping[str, Any], call: Call) -> Usage | None:
    """Search units, or tokens that went in.

    Source: https://docs.cohere.com/reference/rerank, https://docs.together.ai/reference/rerank-1
    """
    units = figures.part(_of(answer, "meta"), "billed_units", "search_units")
    units = max(units, figures.part(answer, "usage", "search_units"))
    read = embeddings(answer, call)
    if read is None:
        return Usage(search_units=units) if units else None
    if units:
        return Usage(
            search_units=units,
            unknown=read.unknown,
            provider_cost_nano_usd=read.provider_cost_nano_usd,
        )
    return read


def ocr(answer: Mapping[str, Any], _call: Call) -> Usage | None:
    """Pages that were read.

    Source: https://docs.mistral.ai/api/#tag/ocr
    """
    said = _of(answer, "usage_info")
    pages = figures.number(said.get("pages_processed"))
    if pages is None:
        return None
    return Usage(pages=pages, unknown=figures.unknown(said, _OCR_KNOWN))


def cohere(answer: Mapping[str, Any], call: Call) -> Usage | None:
    """Billed units, wherever the version and the stream put them.

    Source: https://docs.cohere.com/reference/chat, https://docs.cohere.com/v1/reference/chat-stream
    """
    places = (("usage",), ("delta", "usage"), ("meta",), ("response", "meta"))
    said = next((found for place in places if "billed_units" in (found := _of(answer, *place))), {})
    billed = _of(said, "billed_units")
    tokens = figures.number(billed.get("input_tokens"))
    if not billed or (tokens is None and "output_tokens" not in billed and "images" not in billed):
        return None
    images_in = figures.part(billed, "image_tokens")
    return Usage(
        input_tokens=(tokens or 0) + images_in,
        output_tokens=figures.number(billed.get("output_tokens")) or 0,
        image_input_tokens=images_in,
        search_units=0 if call.operation == "embed" else figures.part(billed, "search_units"),
        unknown=figures.unknown(
            {"billed_units": billed, "tokens": _of(said, "tokens")}, _COHERE_KNOWN
        ),
    )


def ollama(answer: Mapping[str, Any], _call: Call) -> Usage | None:
    """Tokens that were read and written; a prompt that was cached may be left out.

    Source: https://github.com/ollama/ollama/blob/main/docs/api.md
    """
    read = figures.number(answer.get("prompt_eval_count"))
    written = figures.number(answer.get("eval_count"))
    if read is None and written is None:
        return None
    model = answer.get("model")
    return Usage(
        input_tokens=read,
        output_tokens=written or 0,
        model=model if isinstance(model, str) and model else None,
    )
