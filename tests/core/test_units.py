"""Prices by other measures than tokens: exact, never below the truth, and unknown where they do not fit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook, owners_rates
from tollkeeper.core.sheet import STANDARD, PriceSheet
from tollkeeper.core.units import fits, fitting, is_measured, measure_of, telling
from tollkeeper.domain import Call, Dialect, Mode, Policy, Usage

USD = 10**9
BOOK = PriceBook(Policy("", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * 10**9


def sheet(**rates: int) -> PriceSheet:
    prices = owners_rates({"input": 0, "output": 0, **rates})
    return PriceSheet("test", None, None, {STANDARD: ((0, prices),)})


def call(most: Usage | None = None, unbounded: str | None = None, **more: int) -> Call:
    return Call(
        "openai", Dialect.AUDIO, "speech", True, "m", max_output_tokens=0, most=most,
        tokens_unbounded=unbounded, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rates", "usage", "nano_usd"),
    [
        ({"audio_hours": 36 * USD // 100}, Usage(audio_milliseconds=60_000), 6_000_000),
        ({"audio_hours": 111_000_000}, Usage(audio_milliseconds=10_000), 308_334),
        ({"characters": 15 * USD}, Usage(characters=1), 15_000),
        ({"images": 40 * USD}, Usage(images=3), 120_000_000),
        ({"pages": 2 * USD}, Usage(pages=7), 14_000_000),
        ({"search_units": 2 * USD}, Usage(search_units=1), 2_000_000),
        ({"input": USD, "images": 40 * USD}, Usage(input_tokens=5, output_tokens=0, images=1), 40_005_000),
    ],
)  # fmt: skip
def test_each_measure_has_its_rate(rates: dict[str, int], usage: Usage, nano_usd: int) -> None:
    assert sheet(**rates).cost_nano_usd(usage) == nano_usd


COUNTS = st.fixed_dictionaries(
    {
        name: st.integers(0, 10**7)
        for name in ("audio_milliseconds", "characters", "images", "pages", "search_units")
    }
)
RATES = st.fixed_dictionaries(
    {
        name: st.integers(0, 100 * USD)
        for name in ("audio_hours", "characters", "images", "pages", "search_units")
    }
)


@given(RATES, COUNTS)
def test_a_cost_is_the_exact_sum_rounded_up_once(
    rates: dict[str, int], counts: dict[str, int]
) -> None:
    exact = (
        Fraction(counts["audio_milliseconds"] * rates["audio_hours"], 3_600_000)
        + Fraction(counts["characters"] * rates["characters"], 10**6)
        + Fraction(counts["images"] * rates["images"], 1000)
        + Fraction(counts["pages"] * rates["pages"], 1000)
        + Fraction(counts["search_units"] * rates["search_units"], 1000)
    )

    cost = sheet(**rates).cost_nano_usd(Usage(**counts))

    assert exact <= cost < exact + 1 + Fraction(1, 10**6)


@given(RATES, COUNTS, COUNTS)
def test_no_usage_within_the_bounds_costs_more_than_was_reserved(
    rates: dict[str, int], most: dict[str, int], used: dict[str, int]
) -> None:
    within = {name: min(count, most[name]) for name, count in used.items()}
    prices = sheet(**rates)

    worst = prices.worst_cost_nano_usd(0, 0, call(Usage(**most)))

    assert prices.cost_nano_usd(Usage(**within)) <= worst


def test_a_call_fits_where_one_of_its_measures_has_a_price() -> None:
    spoken = call(Usage(characters=5), "the speech")

    assert fits(sheet(characters=USD), spoken)
    assert fits(sheet(), spoken)
    assert not fits(sheet(input=USD), spoken)
    assert not fits(sheet(images=USD), spoken)
    assert fits(sheet(input=USD), call(Usage(characters=5)))
    assert not fits(sheet(characters=USD), call())
    assert fitting(None, call()) is None
    assert measure_of(spoken) == " by characters (the speech is bounded by nothing else)"


def test_a_conversation_with_a_model_that_is_billed_otherwise_has_no_price() -> None:
    chat = Call("openai", Dialect.OPENAI_CHAT, "chat", True, "whisper-1", head_bound_tokens=10)

    assert fitting(BOOK.sheet("openai", "whisper-1", NOW), chat) is None
    assert fitting(BOOK.sheet("openai", "tts-1", NOW), chat) is None
    assert fitting(BOOK.sheet("cohere", "rerank-v3.5", NOW), chat) is None


def test_what_could_not_be_bounded_is_priced_once_the_answer_says_it() -> None:
    spoken = call(Usage(characters=5), "the speech")
    by_tokens, by_images = sheet(input=USD, output=USD), sheet(images=USD)

    assert fitting(by_tokens, spoken) is None
    assert telling(by_tokens, spoken) is by_tokens
    assert telling(by_images, spoken) is None
    assert telling(None, spoken) is None


def test_an_answer_that_leaves_out_what_is_priced_is_not_measured() -> None:
    assert is_measured(sheet(input=USD), Usage(input_tokens=1, output_tokens=0))
    assert not is_measured(sheet(input=USD), Usage(images=1))
    assert is_measured(sheet(images=USD), Usage(images=1))
    assert not is_measured(sheet(images=USD), Usage(characters=1))
    assert not is_measured(sheet(images=USD), Usage(input_tokens=1, output_tokens=1))
    assert not is_measured(None, Usage())
