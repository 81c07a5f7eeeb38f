"""OpenAI's image API: made from a text, edited, varied; JSON and forms.

An image model is billed for tokens: the text and the images that go in, the image that comes out by its
size and quality. What ``facts`` does not know a bound for can only be kept to a budget by a price for
each image.

Source: https://platform.openai.com/docs/api-reference/images and the parameter types of the
``openai`` 3.52 package (2026-11)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.multipart import Form

_KNOWN: Final = fields.words("""model prompt n size quality style background moderation output_format
    output_compression partial_images response_format user safety_identifier stream input_fidelity
    complexity frame_count frame_duration_ms image images mask markup
    aspect_ratio resolution width height steps seed negative_prompt image_url""")
_UNKNOWN_SIZES: Final = frozenset({"xhigh", "max"})
"""Qualities of newer models, which no table bounds."""

_IMAGE_FIELDS: Final = ("image", "images", "mask", "markup")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A request for one or several images.

    Raises:
        WireError: For what is missing, of the wrong type, or lets another model answer.
    """
    form = tasks.form_of(inbound)
    values = tasks.values_of(inbound, form)
    model = tasks.model_of(values, endpoint)
    _refuse_authors(values, form)
    given, digest = _given(values, form)
    prompt = fields.text(values, "prompt")
    if prompt is None and endpoint.operation != "image_variation":
        raise WireError("prompt is missing; say what is to be made.")
    count = fields.count(values, "n") or 1
    made, unbounded = _tokens(model, values, given)
    each = facts.image_fact(model)
    in_tokens = given * ((each.given if each else None) or 0)
    plain = {key: value for key, value in values.items() if key not in _IMAGE_FIELDS}
    call = tasks.task(
        inbound,
        endpoint,
        model,
        plain,
        _KNOWN,
        input_tokens=tasks.json_bound(plain) + in_tokens,
        output_tokens=made * count,
        texts=(prompt,) if prompt else (),
        features=frozenset({"image_out", "vision"} if given else {"image_out"}),
        most=Usage(images=count),
        unbounded=unbounded,
        digest=digest,
    )
    asked = {**values, "given": "some" if given else "none"}
    return replace(call, service_tier=facts.unit_tier(inbound.provider.name, model, asked))


def _refuse_authors(values: Mapping[str, Any], form: Form | None) -> None:
    names = (*values, *(form.names() if form else ()))
    if "svg" in names:
        raise WireError("svg lets a second model write and bill; ask for another output_format.")


def _given(values: Mapping[str, Any], form: Form | None) -> tuple[int, str]:
    """How many images go in, and a digest of them all."""
    digest = hashlib.sha256()
    if form is not None:
        files = form.files(*_IMAGE_FIELDS)
        for file in files:
            digest.update(f"{file.name}:{len(file.content)}:".encode() + file.content)
        return len(files), digest.hexdigest()
    count = 0
    for name in (*_IMAGE_FIELDS, "image_url"):
        value = values.get(name)
        if value is not None:
            count += len(value) if isinstance(value, list) else 1
            digest.update(tasks.canonical_bytes([name, value]))
    return count, digest.hexdigest() if count else ""


def _tokens(model: str, values: Mapping[str, Any], given: int) -> tuple[int, str | None]:
    """Tokens that one image may be billed as output, and what of the call nothing bounds."""
    known = facts.image_fact(model)
    quality, kind = fields.text(values, "quality"), fields.text(values, "output_format")
    if known is None or quality in _UNKNOWN_SIZES or kind in ("gif", "svg"):
        return 0, "the image that it makes"
    if given and known.given is None:
        return 0, "the image that goes in"
    partial = fields.count(values, "partial_images", 0) or 0
    return known.made + known.text + partial * known.partial, None
