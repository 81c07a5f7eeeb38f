"""Imagen's predictions: as many images as are asked for, on Gemini's API and on Vertex."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import NANO_PER_USD, Mode, Policy, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from wire.asking import asked

PATH = "/v1beta/models/imagen-4.0-generate-001:predict"
VERTEX = "/v1/projects/p/locations/us-central1/publishers/google/models/imagen-4.0-fast-generate-001:predict"
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * NANO_PER_USD
PROMPT = {"instances": [{"prompt": "a river"}]}


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (PROMPT, 4),
        (PROMPT | {"parameters": {"sampleCount": 2}}, 2),
        (PROMPT | {"parameters": {"sampleCount": 1, "numberOfImages": 3}}, 3),
        ({"instances": [{"prompt": "a"}, {"prompt": "b"}], "parameters": {"sampleCount": 2}}, 4),
    ],
)
def test_as_many_images_are_reserved_as_may_be_made(body: dict[str, Any], most: int) -> None:
    call = asked(PATH, body, "google")
    sheet = fitting(BOOK.sheet("google", call.model or "", NOW), call)

    assert (call.most, call.model) == (Usage(images=most), "imagen-4.0-generate-001")
    assert sheet is not None
    assert sheet.worst_cost_nano_usd(0, 0, call) == most * 40_000_000


def test_on_vertex_a_region_makes_no_image_dearer() -> None:
    call = asked(VERTEX, PROMPT | {"parameters": {"sampleCount": 1}}, "vertex")
    sheet = fitting(BOOK.sheet("vertex", call.model or "", NOW), call)

    assert sheet is not None
    assert sheet.worst_cost_nano_usd(0, 0, call) == 20_000_000


def test_a_model_that_no_table_prices_has_no_price() -> None:
    path = "/v1beta/models/imagen-9-generate:predict"
    call = asked(path, PROMPT, "google")

    assert fitting(BOOK.sheet("google", call.model or "", NOW), call) is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "instances is missing"),
        ({"instances": []}, "instances is missing"),
        (PROMPT | {"parameters": {"sampleCount": "4"}}, "sampleCount"),
        (PROMPT | {"parameters": {"mode": "upscale"}}, "billed otherwise"),
        (
            PROMPT | {"parameters": {"sampleCount": 1, "sample_count": 8}},
            "may count as sampleCount",
        ),
        (PROMPT | {"parameters": {"Mode": "upscale"}}, "may count as mode"),
    ],
)
def test_what_is_not_read_is_refused(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        asked(PATH, body, "google")


def test_an_image_that_goes_in_is_vision() -> None:
    body = {"instances": [{"prompt": "a", "referenceImages": [{"referenceId": 1}]}]}

    assert "vision" in asked(PATH, body, "google").features


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"predictions": [{}, 3]}', b'{"error": {}}']
)
def test_an_answer_without_images_says_nothing(answer: bytes) -> None:
    meter = route.meter(asked(PATH, PROMPT, "google"), "application/json", take_out_usage=False)

    assert meter.feed(answer) == answer
    meter.finish()
    assert meter.usage is None


def test_images_in_a_bucket_are_counted_too() -> None:
    meter = route.meter(asked(PATH, PROMPT, "google"), "application/json", take_out_usage=False)

    meter.feed(json.dumps({"predictions": [{"gcsUri": "gs://b/1.png"}]}).encode())
    meter.finish()

    assert meter.usage == Usage(output_tokens=0, images=1)
