"""What all calls that are no conversation have in common: embeddings, images, audio, reranking, OCR.

Their bodies are JSON or forms, nothing limits their output, and some are billed by other measures than
tokens. The output that they may be billed stands in ``extra_output_tokens``, so that no limit is ever
put into a request that has no place for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Call, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, encoded, read
from tollkeeper.wire.multipart import Form, is_form, read_form

RESENT: Final = fields.words("stream stream_options stream_format user metadata safety_identifier")
"""Left out of the approval digest: what a client changes when it sends the same call again."""

INPUT_ALLOWANCE: Final = 16
"""Start and end markers around one text that is embedded or ranked."""

LISTS: Final = fields.words(
    "image include timestamp_granularities known_speaker_names known_speaker_references keywords"
    " languages chunking_strategy"
)
"""Fields of a form that may stand more than once or have members."""

_DIGITS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)


def form_of(inbound: Inbound) -> Form | None:
    """The body as a form, or None when it is to be read as JSON."""
    kind = inbound.headers.get("content-type", "")
    return read_form(kind, inbound.body, LISTS) if is_form(kind) else None


def values_of(inbound: Inbound, form: Form | None) -> dict[str, Any]:
    """The plain fields of a JSON body or of a form; numbers and truth values of a form as such."""
    if form is None:
        return read(inbound.body).values()
    return {name: _typed(value) for name, value in form.texts().items()}


def _typed(value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    return int(value) if _DIGITS.fullmatch(value) else value


def model_of(values: Mapping[str, Any], endpoint: Endpoint) -> str:
    """The model, from the path where the path names one.

    Raises:
        WireError: Missing, or another one in the body than in the path.
    """
    said = fields.text(values, "model")
    if endpoint.model is not None and said not in (None, endpoint.model):
        raise WireError("The path and the body name different models; name the same one.")
    model = endpoint.model or said
    if model is None:
        raise WireError("model is missing; name the model to call.")
    return model


def task(
    inbound: Inbound,
    endpoint: Endpoint,
    model: str,
    values: Mapping[str, Any],
    known: frozenset[str],
    *,
    input_tokens: int,
    output_tokens: int = 0,
    texts: tuple[str, ...] = (),
    features: frozenset[str] = frozenset(),
    opaque: str | None = None,
    most: Usage | None = None,
    unbounded: str | None = None,
    digest: str = "",
) -> Call:
    """The call that such a request makes.

    Args:
        values: The plain fields, by which ``stream``, unknown fields and the digest are told.
        input_tokens: At least what can be billed as input.
        output_tokens: At least what can be billed as output.
        unbounded: What of it cannot be bounded in tokens.
        digest: Of the files that came along.
    """
    plain = {key: value for key, value in values.items() if key != "model"}
    return Call(
        provider=inbound.provider.name,
        dialect=endpoint.dialect,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=values.get("stream") is True or values.get("stream_format") == "sse",
        head_bound_tokens=input_tokens,
        opaque_input=opaque,
        max_output_tokens=0,
        extra_output_tokens=output_tokens,
        features=features,
        unknown_parameters=tuple(key for key in values if key not in known),
        prompt=bound.prompt_of(list(texts)),
        approval_digest=bound.approval_digest(
            (endpoint.dialect, inbound.provider.name, endpoint.operation, model, digest),
            plain,
            RESENT,
            (),
        ),
        most=most,
        tokens_unbounded=unbounded,
    )


def one_of(values: Mapping[str, Any], *names: str) -> Any:
    """The one of these members that is given, or None.

    Raises:
        WireError: When two are, because servers differ in which of them they take.
    """
    given = [name for name in names if values.get(name) not in (None, "", [])]
    if len(given) > 1:
        raise WireError(f"{given[0]} and {given[1]} say the same; send one of them.")
    return values[given[0]] if given else None


def json_bound(value: object) -> int:
    """Tokens that texts, numbers and lists of them cannot exceed when they are rendered."""
    return bound.text_bound(canonical(value)) + bound.HEAD_ALLOWANCE


def canonical_bytes(value: object) -> bytes:
    """One form of a value for a digest."""
    return encoded(canonical(value))
