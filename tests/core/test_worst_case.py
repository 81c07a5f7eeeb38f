"""A provider that bills the worst its rules allow, over every model of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from core.judging import NOW, make_call, make_policy
from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.sheet import STANDARD, PriceSheet
from tollkeeper.domain import Call, Dialect, Usage

DIALECTS = {"anthropic": Dialect.ANTHROPIC, "google": Dialect.GEMINI}
NAMED = [name for name, one in facts.providers().items() if one.catalogue]
BOOK = PriceBook(make_policy(providers=facts.providers()))
FEATURES = (
    frozenset[str](),
    frozenset({"vision", "audio_in", "audio_out", "image_out", "inference_geo"}),
    frozenset({"cache_write_1h", "cache_write_5m"}),
)


def models(name: str) -> list[str]:
    from genai_prices.data import providers

    return [m.id for p in providers if p.id == facts.providers()[name].catalogue for m in p.models]


def worst_usages(call: Call, tokens: int, output: int, tier: str | None) -> Iterator[Usage]:
    """Corners of what may be billed: all of the input, and all of the output, of one kind."""
    marked = call.dialect is not Dialect.ANTHROPIC
    inputs: list[dict[str, int]] = [{}, {"cache_read_input_tokens": tokens}]
    if marked or call.features & {"cache_write_5m", "cache_write_1h"}:
        inputs.append({"cache_write_input_tokens": tokens})
    if marked or "cache_write_1h" in call.features:
        written = {"cache_write_input_tokens": tokens, "cache_write_1h_input_tokens": tokens}
        inputs.append(written)
    if "audio_in" in call.features:
        heard = {"audio_input_tokens": tokens}
        inputs += [heard, heard | {"cache_read_input_tokens": tokens}]
        inputs.append(inputs[-1] | {"cache_read_audio_input_tokens": tokens})
    if "vision" in call.features:
        inputs.append({"image_input_tokens": tokens})
    outputs: list[dict[str, int]] = [{}, {"reasoning_output_tokens": output}]
    outputs.append({"image_output_tokens": output})
    if "audio_out" in call.features:
        outputs.append({"audio_output_tokens": output})
    for given, made in product(inputs, outputs):
        yield Usage(tokens, output, service_tier=tier, **given, **made)


def lengths(sheet: PriceSheet) -> list[int]:
    starts = {start for rows in sheet.tariff.values() for start, _ in rows if start}
    return sorted({1, 1_000, *(start + step for start in starts for step in (0, 1))})


@pytest.mark.parametrize("name", NAMED)
def test_no_model_of_the_catalogue_can_be_billed_above_its_reservation(name: str) -> None:
    for model, features in product(models(name), FEATURES):
        for asked in (None, "auto", "flex", "priority", "fast"):
            sheet = BOOK.sheet(name, model, NOW, asked)
            if sheet is None or not sheet.prices_tier(asked):
                continue
            dialect = DIALECTS.get(name, Dialect.OPENAI_CHAT)
            call = make_call(
                provider=name, model=model, dialect=dialect, features=features,
                service_tier=asked, choices=2, extra_output_tokens=10,
            )  # fmt: skip
            told = {None, *sheet._reachable(sheet.tariff, asked)} - {STANDARD}
            for tokens, tier in product(lengths(sheet), told):
                worst = sheet.worst_cost_nano_usd(tokens, 500, call)
                for usage in worst_usages(call, tokens, 1_010, tier):
                    assert sheet.cost_nano_usd(usage, call) <= worst, (model, asked, usage)
