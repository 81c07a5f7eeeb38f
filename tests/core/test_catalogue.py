from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise

import genai_prices
import pytest
from genai_prices import types
from genai_prices.data import providers as catalogue_providers
from hypothesis import given, settings
from hypothesis import strategies as st

from core.judging import NOW, SECOND, USD, make_call, make_policy
from tollkeeper import facts
from tollkeeper.core import catalogue
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.sheet import STANDARD, PriceSheet
from tollkeeper.domain import Provider, Usage

EVERY = {p.id: Provider(p.id, (), "openai", catalogue=p.id) for p in catalogue_providers}
BOOK = PriceBook(make_policy(providers=EVERY))
MODELS = [
    (provider.id, model.id)
    for provider in catalogue_providers
    for model in provider.models
    if provider.find_model(model.id) is model and BOOK.sheet(provider.id, model.id, NOW)
    if facts.billed_as(provider.id, model.id) == model.id
    if facts.published_rates(provider.id, model.id) is None
]
"""Models with the catalogue's price."""


def has_media_price(provider: str, model: str) -> bool:
    sheet = BOOK.sheet(provider, model, NOW)
    assert sheet is not None
    rates = sheet.tariff[STANDARD][0][1]
    return len({rates.output, rates.audio_output, rates.image_output, rates.reasoning}) > 1 or (
        len({rates.input, rates.audio_input, rates.image_input}) > 1
    )


MEDIA_MODELS = [named for named in MODELS if has_media_price(*named)]
THEIR_KEYS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "cache_write_1h_input_tokens": "cache_write_1h_tokens",
    "reasoning_output_tokens": "output_reasoning_tokens",
    "audio_input_tokens": "input_audio_tokens",
    "audio_output_tokens": "output_audio_tokens",
    "image_input_tokens": "input_image_tokens",
    "image_output_tokens": "output_image_tokens",
    "web_searches": "web_searches",
    "cache_read_audio_input_tokens": "cache_audio_read_tokens",
}


def theirs(provider: str, model: str, usage: Usage, now_ns: int) -> Decimal:
    """The catalogue's own arithmetic, in nano-USD."""
    counts = {key: getattr(usage, ours) for ours, key in THEIR_KEYS.items()}
    context = {}
    if usage.service_tier is not None:
        context = {"service_tier": usage.service_tier, "speed": usage.service_tier}
    price = genai_prices.calc_price(
        genai_prices.Usage(**{key: count for key, count in counts.items() if count}),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(now_ns // SECOND, UTC),
        price_context=context,
    )
    return price.total_price * USD


@st.composite
def disjoint_usages(draw: st.DrawFn) -> Usage:
    """Parts that do not overlap, which the catalogue requires."""
    size = st.integers(0, 300_000)
    cached = draw(st.booleans())
    read, write_1h, write_5m = (draw(size) if cached else 0 for _ in range(3))
    audio_in, image_in = (0 if cached else draw(size) for _ in range(2))
    thinks = draw(st.booleans())
    reasoning = draw(size) if thinks else 0
    audio_out, image_out = (0 if thinks else draw(size) for _ in range(2))
    return Usage(
        input_tokens=draw(size) + read + write_1h + write_5m + audio_in + image_in,
        output_tokens=draw(size) + reasoning + audio_out + image_out,
        cache_read_input_tokens=read,
        cache_write_input_tokens=write_1h + write_5m,
        cache_write_1h_input_tokens=write_1h,
        reasoning_output_tokens=reasoning,
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
        image_input_tokens=image_in,
        image_output_tokens=image_out,
        web_searches=draw(st.integers(0, 3)),
        service_tier=draw(st.sampled_from([None, None, "priority", "flex", "fast", "default"])),
    )


def has_output_price(provider: str, model: str, now_ns: int) -> bool:
    moment = datetime.fromtimestamp(now_ns // SECOND, UTC)
    info = genai_prices.data_snapshot.get_snapshot().find_provider_model(
        model, None, provider, None
    )
    return info[1].get_prices(moment).output_mtok is not None


def in_beijing(now_ns: int) -> datetime:
    """The catalogue does not know that DeepSeek's weekends have no peak hours."""
    return datetime.fromtimestamp(now_ns // SECOND, UTC) + timedelta(hours=8)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(MODELS) | st.sampled_from(MEDIA_MODELS),
    disjoint_usages(),
    st.integers(0, 400 * 24 * 3600),
)
def test_cost_equals_the_catalogues_own_rounded_up(
    named: tuple[str, str], usage: Usage, ago_seconds: int
) -> None:
    provider, model = named
    now_ns = NOW - ago_seconds * SECOND
    sheet = BOOK.sheet(provider, model, now_ns)
    if sheet is None:  # priced today, by the second or not at all then
        return
    if usage.service_tier not in (None, "default", *sheet.tariff):
        usage = replace(usage, service_tier=None)
    # Fees are from a table of ours; the catalogue leaves most of them out.
    exact = theirs(provider, model, usage, now_ns)
    exact += Decimal(facts.tool_fees(provider, model).get("request", 0)) / 1000

    cost = replace(sheet, fees={}).cost_nano_usd(usage)

    if provider == "deepseek" and in_beijing(now_ns).weekday() >= 5:
        assert exact / 2 <= cost <= exact + 1
    elif not has_output_price(provider, model, now_ns) and usage.output_tokens:
        assert cost >= exact
    elif exact == 0 or _has_nine_decimals(provider, model):
        assert cost == int(exact.to_integral_value(ROUND_CEILING))
    else:
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        assert exact <= cost <= exact + Decimal(tokens) / 1_000_000 + 2


CACHED_AUDIO = [
    named
    for named in MODELS
    if (sheet := BOOK.sheet(*named, NOW)) and sheet.tariff[STANDARD][0][1].cache_read_audio
]


@pytest.mark.parametrize(("provider", "model"), CACHED_AUDIO)
def test_cached_audio_costs_what_the_catalogue_says(provider: str, model: str) -> None:
    sheet = BOOK.sheet(provider, model, NOW)
    assert sheet is not None
    usage = Usage(
        input_tokens=10_000, output_tokens=100, audio_input_tokens=4_000,
        cache_read_input_tokens=5_000, cache_read_audio_input_tokens=3_000,
    )  # fmt: skip

    assert sheet.cost_nano_usd(usage) == theirs(provider, model, usage, NOW)


def test_media_that_the_catalogue_has_no_price_for_are_named() -> None:
    def unpriced(provider: str, model: str) -> set[str]:
        sheet = BOOK.sheet(provider, model, NOW)
        assert sheet is not None
        return set(sheet.unpriced)

    assert unpriced("openai", "gpt-4o-audio-preview") >= {"audio_input", "audio_output"}
    assert not unpriced("openai", "gpt-audio") & {"audio_input", "audio_output"}
    assert unpriced("google", "gemini-2.5-pro") == set()


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("whisper-1", "audio_input"),
        ("tts-1", "audio_output"),
        ("gpt-4o-mini-tts", "audio_output"),
        ("gpt-image-1-mini", "image_output"),
        ("gpt-image-2", "image_output"),
    ],
)
def test_what_bills_a_medium_by_its_only_price_has_a_price_for_it(model: str, kind: str) -> None:
    sheet = BOOK.sheet("openai", model, NOW)

    assert sheet is not None
    assert kind not in sheet.unpriced
    assert sheet.unpriced


def test_a_model_of_text_and_images_has_no_price_for_images_by_its_price_of_text() -> None:
    sheet = BOOK.sheet("openai", "gpt-5-image", NOW)

    assert sheet is not None
    assert "image_output" in sheet.unpriced


def _has_nine_decimals(provider: str, model: str) -> bool:
    info = next(p for p in catalogue_providers if p.id == provider).find_model(model)
    assert info is not None
    lists = (
        [info.prices]
        if isinstance(info.prices, types.ModelPrice)
        else [one.prices for one in info.prices]
    )
    variants = [variant.prices for variant in info.price_variants or ()]
    amounts = [
        amount
        for price in (*lists, *variants)
        for value in vars(price).values()
        if value is not None
        for amount in (
            [value.base, *(tier.price for tier in value.tiers)]
            if isinstance(value, types.TieredPrices)
            else [value]
        )
    ]
    return all((amount * USD) % 1 == 0 for amount in amounts)


def test_most_of_the_catalogue_has_a_sheet() -> None:
    assert len(MODELS) > 1_500


@pytest.mark.parametrize(
    ("provider", "model", "entry"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-3-5-haiku-latest", "anthropic/claude-3-5-haiku-latest"),
        ("google", "gemini-2.5-pro-preview-05-06", "google/gemini-2.5-pro"),
        ("google", "gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("azure", "gpt-4o-2024-08-06", "azure/gpt-4o"),
        ("aws", "openai.gpt-oss-120b-1:0", "aws/openai.gpt-oss-120b-1:0"),
        ("aws", "apac.amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
        ("google", "claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
    ],
)
def test_known_names_find_their_entry(provider: str, model: str, entry: str) -> None:
    sheet = BOOK.sheet(provider, model, NOW)

    assert sheet is not None
    assert sheet.source.endswith(entry)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-9"),
        ("openai", "gpt-4o-ultra"),
        ("anthropic", "claude-sonnet-4-5-ultra"),
        ("anthropic", "my-claude-sonnet-4-5"),
        ("google", "gemini-2.5-pro-ultra"),
        ("google", "gemini-2.5-pro-5"),
        ("openai", ""),
        ("openai", "gpt-4o\n"),
        ("nobody", "gpt-4o"),
    ],
)
def test_unknown_names_have_no_sheet(provider: str, model: str) -> None:
    assert BOOK.sheet(provider, model, NOW) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [("google", "veo-3.0-generate-001"), ("perplexity", "sonar-deep-research")],
)
def test_models_billed_by_what_no_usage_counts_have_no_sheet(provider: str, model: str) -> None:
    assert BOOK.sheet(provider, model, NOW) is None


def test_entry_without_any_price_is_free_only_when_the_provider_says_so() -> None:
    assert BOOK.sheet("google", "gemma-3", NOW) is None
    free = BOOK.sheet("openrouter", "deepseek/deepseek-r1-0528:free", NOW)
    assert free is None or free.cost_nano_usd(Usage(1_000_000, 1_000_000)) == 0


def worst(sheet: PriceSheet | None) -> int:
    assert sheet is not None
    return sheet.worst_cost_nano_usd(10_000, 100, make_call())


def input_rate(sheet: PriceSheet | None) -> int:
    assert sheet is not None
    return sheet.tariff[STANDARD][0][1].input


def test_new_prices_hold_from_their_date_and_are_reserved_an_hour_before() -> None:
    start = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * SECOND
    long_before, before, after = (
        BOOK.sheet("google", "gemini-4-argon", start - seconds * SECOND)
        for seconds in (7200, 1800, 0)
    )
    assert before is not None

    assert input_rate(long_before) == input_rate(before) < input_rate(after)
    assert worst(before) == worst(after) > worst(long_before)


def test_service_tiers_of_the_catalogue_are_in_the_sheet() -> None:
    gpt, claude = BOOK.sheet("openai", "gpt-5", NOW), BOOK.sheet("anthropic", "claude-opus-5", NOW)
    assert gpt is not None
    assert claude is not None

    assert gpt.tariff.keys() >= {STANDARD, "priority", "flex"}
    assert claude.elective == {"fast"}


def test_all_constraints_of_the_catalogue_begin_on_a_quarter_of_an_hour() -> None:
    times = [
        moment
        for provider in catalogue_providers
        for model in provider.models
        if isinstance(model.prices, list)
        for one in model.prices
        if isinstance(one.constraint, types.TimeOfDateConstraint)
        for moment in (one.constraint.start_time, one.constraint.end_time)
    ]

    assert times
    assert all((t.minute % 15, t.second, t.microsecond) == (0, 0, 0) for t in times)


def test_brackets_of_every_sheet_ascend_from_zero() -> None:
    for provider, model in MODELS:
        sheet = BOOK.sheet(provider, model, NOW)
        assert sheet is not None
        for brackets in sheet.tariff.values():
            assert all(a[0] < b[0] for a, b in pairwise(brackets))
            assert brackets[0][0] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 48 * 4 - 1))
def test_a_call_may_end_an_hour_later_and_still_cost_no_more(quarter: int) -> None:
    begin = NOW + quarter * catalogue.QUARTER_NS
    sheet = BOOK.sheet("deepseek", "deepseek-v4-pro", begin)
    assert sheet is not None
    most = sheet.worst_cost_nano_usd(50_000, 2_000, make_call())

    for minutes in range(0, 61, 15):
        later = BOOK.sheet(
            "deepseek",
            "deepseek-v4-pro",
            begin + int(timedelta(minutes=minutes).total_seconds()) * SECOND,
        )
        assert later is not None
        assert later.cost_nano_usd(Usage(50_000, 2_000)) <= most


@pytest.mark.parametrize(
    ("day", "hour", "usd"),
    [(20, 2, "0.30"), (20, 12, "0.15"), (21, 2, "0.15"), (22, 7, "0.15"), (23, 2, "0.30")],
)
def test_deepseeks_weekends_have_no_peak_hours(day: int, hour: int, usd: str) -> None:
    moment = int(datetime(2026, 11, day, hour, tzinfo=UTC).timestamp())
    entry = catalogue.find("deepseek", "deepseek-flash")
    assert entry is not None

    tariffs = entry.tariffs(moment * SECOND // catalogue.QUARTER_NS)

    assert tariffs is not None
    assert tariffs[0]["standard"][0][1].input == int(Decimal(usd) * USD)
