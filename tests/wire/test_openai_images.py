from __future__ import annotations

import pytest

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import NANO_PER_USD, Mode, Policy, Usage
from tollkeeper.errors import WireError
from wire.asking import asked, sent

MADE = "/v1/images/generations"
EDITED = "/v1/images/edits"
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * NANO_PER_USD


def test_as_many_of_the_dearest_images_are_reserved_as_are_asked_for() -> None:
    body = {"model": "gpt-image-1-mini", "prompt": "an otter", "quality": "low"}

    one, three = (
        asked(MADE, body),
        asked(MADE, body | {"n": 3, "partial_images": 2, "stream": True}),
    )

    assert (one.extra_output_tokens, three.extra_output_tokens) == (6563, 3 * 6763)
    assert (one.most, three.most) == (Usage(images=1), Usage(images=3))
    assert one.features == {"image_out"}
    assert three.stream


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "gpt-image-2.5-sunburst"}, "the image that it makes"),
        ({"model": "gpt-image-2", "quality": "max"}, "the image that it makes"),
        ({"model": "gpt-image-2", "output_format": "gif"}, "the image that it makes"),
        ({"model": "gpt-image-2", "images": [{"image_url": "https://x.example/a"}]}, "the image that goes in"),
        ({"model": "gpt-image-2", "quality": "high"}, None),
    ],
)  # fmt: skip
def test_what_no_table_bounds_is_said(body: dict[str, object], said: str | None) -> None:
    assert asked(MADE, {"prompt": "x"} | body).tokens_unbounded == said


def test_images_that_go_in_count_in_json_and_in_a_form() -> None:
    plain = asked(EDITED, {"model": "gpt-image-1-mini", "prompt": "x"})
    listed = asked(
        EDITED,
        {"model": "gpt-image-1-mini", "prompt": "x", "images": [{"image_url": "data:,"}] * 2},
    )
    posted = sent(
        EDITED, ("model", "gpt-image-1-mini"), ("prompt", "x"), ("image[]", b"a"), ("image[]", b"b")
    )

    assert listed.head_bound_tokens - plain.head_bound_tokens == 2 * 6821
    assert posted.head_bound_tokens >= 2 * 6821
    assert posted.features == listed.features == {"image_out", "vision"}
    assert listed.approval_digest != plain.approval_digest


def test_a_file_kept_by_the_provider_is_named_as_such() -> None:
    body = {"model": "gpt-image-1-mini", "prompt": "x", "images": [{"file_id": "file-1"}]}

    assert asked(EDITED, body).stored == "file_id"


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x"},
        {"model": "m"},
        {"model": "m", "prompt": "x", "n": 0},
        {"model": "m", "prompt": "x", "svg": {"model": "dear"}},
    ],
)
def test_what_is_missing_or_hides_a_model_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(WireError):
        asked(MADE, body)


def test_the_number_in_a_form_is_read_once_and_as_a_number() -> None:
    posted = sent(EDITED, ("model", "m"), ("prompt", "x"), ("n", "4"), ("image", b"a"))

    assert posted.most == Usage(images=4)
    for wrong in (("n", "four"), ("n", "1e3"), ("n[]", "9"), ("svg[model]", "dear")):
        with pytest.raises(WireError):
            sent(EDITED, ("model", "m"), ("prompt", "x"), wrong, ("image", b"a"))


def test_a_variation_needs_no_prompt() -> None:
    assert sent("/v1/images/variations", ("model", "dall-e-2"), ("image", b"a")).prompt == ""


@pytest.mark.parametrize(
    ("provider", "body", "usd_each"),
    [
        ("openai", {"model": "dall-e-2"}, 0.02),
        ("openai", {"model": "dall-e-2", "size": "256x256"}, 0.016),
        ("openai", {"model": "dall-e-3"}, 0.04),
        ("openai", {"model": "dall-e-3", "quality": "hd"}, 0.08),
        ("openai", {"model": "dall-e-3", "size": "1024x1792"}, 0.08),
        ("openai", {"model": "dall-e-3", "size": "1024x1792", "quality": "hd"}, 0.12),
        ("xai", {"model": "grok-2-image"}, 0.07),
        ("xai", {"model": "grok-imagine-image", "resolution": "1k"}, 0.02),
    ],
)
def test_an_image_that_is_billed_by_itself_costs_what_its_size_and_quality_cost(
    provider: str, body: dict[str, object], usd_each: float
) -> None:
    call = asked(MADE, {"prompt": "x", "n": 2} | body, provider)
    sheet = fitting(BOOK.sheet(provider, call.model or "", NOW, call.service_tier), call)

    assert sheet is not None
    assert sheet.prices_tier(call.service_tier)
    assert sheet.worst_cost_nano_usd(0, 0, call) == round(2 * usd_each * NANO_PER_USD)


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        ("openai", MADE, {"model": "dall-e-3", "size": "auto"}),
        ("openai", MADE, {"model": "dall-e-2", "quality": "hd"}),
        ("xai", MADE, {"model": "grok-imagine-image", "resolution": "2k"}),
        ("xai", EDITED, {"model": "grok-imagine-image", "image": {"url": "https://x.example/a"}}),
    ],
)
def test_an_image_of_another_size_or_quality_has_no_known_price(
    provider: str, path: str, body: dict[str, object]
) -> None:
    call = asked(path, {"prompt": "x"} | body, provider)
    sheet = BOOK.sheet(provider, call.model or "", NOW, call.service_tier)

    assert sheet is not None
    assert not sheet.prices_tier(call.service_tier)
