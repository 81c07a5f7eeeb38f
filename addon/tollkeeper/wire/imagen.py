"""Imagen's ``:predict``, on Gemini's API and on Vertex: images, billed one by one.

Source: https://ai.google.dev/gemini-api/docs/imagen,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api,
https://ai.google.dev/gemini-api/docs/pricing (images that are filtered out are not billed)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read
from tollkeeper.wire.meter import JsonMeter
from tollkeeper.wire.metering import Meter
from tollkeeper.wire.reading import WholeReading

OPERATION: Final = "image_predict"

MOST_SAMPLES: Final = 4
"""Made where nothing is said of how many."""

_KNOWN: Final = fields.words("instances parameters")
_COUNTS: Final = ("sampleCount", "numberOfImages")
_BILLS: Final = {name.lower(): name for name in (*_COUNTS, "mode")}
_GIVEN: Final = fields.words("image referenceImages mask")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """An order for images.

    Raises:
        WireError: For what is missing or of the wrong type, and for what is billed otherwise.
    """
    values = read(inbound.body).values()
    instances = fields.objects(values, "instances")
    parameters = fields.mapping(values, "parameters")
    if not instances or endpoint.model is None:
        raise WireError("instances is missing; a list with one prompt was expected.")
    for key in parameters:
        meant = _BILLS.get(key.replace("_", "").lower(), key)
        if key != meant:
            raise WireError(f"parameters.{fields.shown(key)} may count as {meant}; write it so.")
    mode = fields.text(parameters, "mode")
    if mode not in (None, "generate"):
        raise WireError(f"The mode {fields.shown(mode)} is billed otherwise and is not read.")
    counts = [fields.count(parameters, key) for key in _COUNTS]
    each = max((count for count in counts if count is not None), default=MOST_SAMPLES)
    given = any(instance.get(key) for instance in instances for key in _GIVEN)
    prompts = [instance.get("prompt") for instance in instances]
    call = tasks.task(
        inbound,
        endpoint,
        endpoint.model,
        values,
        _KNOWN,
        input_tokens=0,
        texts=tuple(prompt for prompt in prompts if isinstance(prompt, str)),
        features=frozenset({"image_out", "vision"} if given else {"image_out"}),
        most=Usage(images=each * len(instances)),
        unbounded="the image that it makes",
    )
    return replace(call, stream=False)


def meter(call: Call) -> Meter:
    """The meter for the answer to such a call."""
    return JsonMeter(ImagenReading(call))


class ImagenReading(WholeReading):
    """What was made."""

    def document(self, value: Any) -> None:
        """Predictions, of which those that were filtered out have no image."""
        predictions = value.get("predictions") if isinstance(value, dict) else None
        made = sum(
            1
            for one in (predictions if isinstance(predictions, list) else ())
            if isinstance(one, dict) and (one.get("bytesBase64Encoded") or one.get("gcsUri"))
        )
        if made:
            self._usage = Usage(output_tokens=0, images=made)
