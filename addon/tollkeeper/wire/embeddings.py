"""Embeddings and what is billed like them, a price for the tokens that go in: OpenAI's, Gemini's, Mistral's
moderation, vLLM's pooling.

Source: https://platform.openai.com/docs/api-reference/embeddings/create,
https://ai.google.dev/api/embeddings, https://docs.mistral.ai/api/#tag/classifiers,
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read

_KNOWN: Final = fields.words("""model input dimensions encoding_format user metadata output_dimension output_dtype
    truncate_prompt_tokens add_special_tokens priority messages prompt_truncate_len normalize""")
_GEMINI_KNOWN: Final = fields.words("""model content requests taskType title outputDimensionality task_type
    output_dimensionality embedContentConfig""")
_MEDIA: Final = fields.words("""image_url image image_base64 input_audio audio_url video_url video inlineData
    inline_data fileData file_data""")
"""Members that hold what is not billed by its bytes."""


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A list of texts or of tokens.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    values = tasks.values_of(inbound, None)
    given = tasks.one_of(values, "input", "messages")
    if given is None:
        raise WireError("input is missing; a text or a list of texts was expected.")
    tokens = isinstance(given, list) and all(type(one) is int for one in given)
    inputs = given if isinstance(given, list) and not tokens else [given]
    return _call(inbound, endpoint, tasks.model_of(values, endpoint), values, inputs, _KNOWN)


def parse_gemini(inbound: Inbound, endpoint: Endpoint) -> Call:
    """One content or a batch of requests, each of which may name the model once more.

    Raises:
        WireError: For what is missing, or names another model than the path.
    """
    values = read(inbound.body).values()
    model = endpoint.model
    requests = fields.objects(values, "requests")
    if model is None or (values.get("content") is None and not requests):
        raise WireError("content is missing; what is to be embedded was expected.")
    for one in (values, *requests):
        said = fields.text(one, "model")
        if said is not None and said.removeprefix("models/") != model:
            raise WireError("The path and the body name different models; name the same one.")
    inputs = [one for one in (values.get("content"), *requests) if one is not None]
    plain = {key: value for key, value in values.items() if key != "model"}
    return _call(inbound, endpoint, model, plain, inputs, _GEMINI_KNOWN)


def _call(
    inbound: Inbound,
    endpoint: Endpoint,
    model: str,
    values: Mapping[str, Any],
    inputs: list[Any],
    known: frozenset[str],
) -> Call:
    found = list(_walk(inputs))
    media = any(key in _MEDIA for key, _ in found)
    return tasks.task(
        inbound,
        endpoint,
        model,
        values,
        known,
        input_tokens=tasks.json_bound(values) + tasks.INPUT_ALLOWANCE * len(inputs),
        texts=tuple(text for _, text in found if text),
        features=frozenset({"vision", "audio_in"}) if media else frozenset(),
        opaque="media that is embedded" if media else None,
        unbounded="media of several inputs" if media and len(inputs) > 1 else None,
    )


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """``(member's name, text)`` of all that is given; numbers are tokens and have no text."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one, key)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name, ""
            yield from _walk(one, name)


def is_gemini(endpoint: Endpoint) -> bool:
    """Whether a Gemini endpoint embeds instead of generating."""
    return endpoint.dialect is Dialect.GEMINI and endpoint.operation in ("embed", "batch_embed")


def has_media(inputs: list[dict[str, Any]]) -> bool:
    """Whether anything that is to be embedded is not text."""
    return any(key in _MEDIA for key, _ in _walk(inputs))
