from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.judging import USD, flat_sheet, make_call
from tollkeeper.core.sheet import STANDARD, UNLIMITED_TOKENS, PriceSheet, Rates, Tariff
from tollkeeper.domain import Call, Dialect, Usage

DEARER = Rates(*(7 * USD,) * 10)
FEATURES = ("vision", "audio_in", "audio_out", "cache_write_5m", "cache_write_1h", "inference_geo")

MARKED = (Dialect.ANTHROPIC, Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE)


def test_parts_are_taken_out_of_their_wholes() -> None:
    sheet = flat_sheet(input=100, cache_read=10, cache_write=125, cache_write_1h=200, output=1000)
    usage = Usage(
        input_tokens=10_000_000,
        cache_read_input_tokens=2_000_000,
        cache_write_input_tokens=3_000_000,
        cache_write_1h_input_tokens=1_000_000,
        output_tokens=1_000_000,
    )

    assert sheet.cost_nano_usd(usage) == 5 * 100 + 2 * 10 + 2 * 125 + 1 * 200 + 1000


def test_reasoning_audio_and_images_are_taken_out_of_the_output() -> None:
    sheet = flat_sheet(output=100, reasoning=300, audio_output=500, image_output=700)
    usage = Usage(
        output_tokens=10_000_000,
        reasoning_output_tokens=1_000_000,
        audio_output_tokens=2_000_000,
        image_output_tokens=3_000_000,
    )

    assert sheet.cost_nano_usd(usage) == 4 * 100 + 300 + 2 * 500 + 3 * 700


def test_cost_is_rounded_up_once() -> None:
    sheet = flat_sheet(input=1, output=1)

    assert sheet.cost_nano_usd(Usage(input_tokens=1, output_tokens=1)) == 1
    assert sheet.cost_nano_usd(Usage(input_tokens=500_000, output_tokens=500_000)) == 1
    assert sheet.cost_nano_usd(Usage(input_tokens=500_000, output_tokens=500_001)) == 2
    assert sheet.cost_nano_usd(Usage()) == 0


@given(st.integers(0, 3_000_000), st.integers(0, 10_000), st.sampled_from([None, "priority"]))
def test_quick_cost_of_plain_tokens_is_their_cost(
    input_tokens: int, output_tokens: int, tier: str | None
) -> None:
    plain = flat_sheet(input=7, output=9, requests=3).tariff[STANDARD]
    tariff = {STANDARD: (*plain, (200_000, DEARER)), "priority": ((0, DEARER),)}
    sheet = PriceSheet("here", None, None, tariff, asked_tier=tier)
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)

    for call in (make_call(), make_call(features=frozenset({"inference_geo"}))):
        quick = sheet.plain_cost_nano_usd(input_tokens, output_tokens, call)
        assert quick == sheet.cost_nano_usd(usage, call)


def test_overlapping_parts_are_counted_dearest_first_and_never_beyond_the_whole() -> None:
    sheet = flat_sheet(input=100, audio_input=900, cache_read=10)
    usage = Usage(
        input_tokens=1_000_000, audio_input_tokens=800_000, cache_read_input_tokens=700_000
    )

    assert sheet.cost_nano_usd(usage) == 720 + 2


def test_total_input_picks_one_bracket_for_all_tokens() -> None:
    low, high = (
        flat_sheet(input=100, output=1000),
        Rates(*(0,) * 10)._replace(input=200, output=1500),
    )
    sheet = replace(low, tariff={STANDARD: ((0, low.tariff[STANDARD][0][1]), (200_000, high))})

    assert sheet.cost_nano_usd(Usage(200_000, 1_000_000)) == 20 + 1000
    assert sheet.cost_nano_usd(Usage(200_001, 1_000_000)) == 41 + 1500


def test_searches_and_requests_are_charged_by_the_thousand() -> None:
    sheet = flat_sheet(web_searches=10 * USD, requests=5 * USD)

    assert sheet.cost_nano_usd(Usage(0, 0, web_searches=3)) == 3 * USD // 100 + USD // 200


def two_tiers(asked: str | None = None, elective: frozenset[str] = frozenset()) -> PriceSheet:
    base = flat_sheet(input=1 * USD, output=1 * USD)
    tariff: Tariff = {
        STANDARD: base.tariff[STANDARD],
        "flex": ((0, Rates(*(USD // 2,) * 10)),),
        "priority": ((0, DEARER),),
    }
    return replace(base, tariff=tariff, asked_tier=asked, elective=elective)


MILLION = Usage(1_000_000, 0)


@pytest.mark.parametrize(
    ("asked", "told", "cost"),
    [
        (None, None, 1),
        (None, "default", 1),
        (None, "priority", 7),
        ("priority", None, 7),
        ("priority", "default", 1),
        ("flex", None, 1),
        ("flex", "flex", 0.5),
        ("auto", None, 7),
        ("auto", "flex", 0.5),
        ("default", None, 1),
        (None, "scale", 1),
        (None, "ultrafast", 7),
        ("PRIORITY", None, 7),
    ],
)
def test_answer_is_priced_by_the_tier_it_names_else_by_the_dearest_it_may_have_had(
    asked: str | None, told: str | None, cost: float
) -> None:
    usage = replace(MILLION, service_tier=told)

    assert two_tiers(asked).cost_nano_usd(usage) == int(cost * USD)


@pytest.mark.parametrize(
    ("asked", "known"),
    [(None, True), ("auto", True), ("default", True), ("flex", True), ("ultrafast", False)],
)
def test_tier_without_a_price_is_told_from_those_with_one(asked: str | None, known: bool) -> None:
    assert two_tiers().prices_tier(asked) is known
    assert replace(two_tiers(), any_tier=True).prices_tier(asked)


def test_elective_tier_is_reached_by_its_own_name_only() -> None:
    sheet = two_tiers(elective=frozenset({"priority"}))

    assert sheet.worst_cost_nano_usd(1_000_000, 0, make_call(service_tier="auto")) == USD
    assert sheet.worst_cost_nano_usd(1_000_000, 0, make_call(service_tier="priority")) == 7 * USD


def test_worst_case_counts_cache_writes_on_anthropic_only_when_the_call_marks_them() -> None:
    sheet = flat_sheet(input=100, cache_write=125, cache_write_1h=200)

    def worst(dialect: Dialect, *features: str) -> int:
        call = make_call(dialect=dialect, features=frozenset(features))
        return sheet.worst_cost_nano_usd(1_000_000, 0, call)

    assert worst(Dialect.ANTHROPIC) == 100
    assert worst(Dialect.ANTHROPIC, "cache_write_5m") == 125
    assert worst(Dialect.ANTHROPIC, "cache_write_1h") == 200
    assert worst(Dialect.OPENAI_CHAT) == 200


def test_worst_case_counts_every_choice_and_what_lies_beyond_the_limit() -> None:
    sheet = flat_sheet(output=1000)
    call = make_call(choices=3, extra_output_tokens=1_000_000)

    assert sheet.worst_cost_nano_usd(0, 1_000_000, call) == 4000


def test_worst_case_adds_the_allowance_for_server_tools_and_the_request_fee() -> None:
    assert flat_sheet(requests=USD).worst_cost_nano_usd(0, 0, make_call(), 5) == USD // 1000 + 5


def test_input_of_unknown_kind_is_taken_for_the_dearest() -> None:
    sheet = flat_sheet(input=100, audio_input=900)

    assert sheet.worst_cost_nano_usd(1_000_000, 0, make_call(opaque_input="file")) == 900


def test_worst_case_takes_the_coming_tariff_when_it_is_dearer() -> None:
    sheet = replace(flat_sheet(input=1 * USD), coming=({STANDARD: ((0, DEARER),)},))

    assert sheet.worst_cost_nano_usd(1_000_000, 0, make_call()) == 7 * USD
    assert sheet.cost_nano_usd(MILLION) == USD


def test_pinned_region_costs_a_tenth_more() -> None:
    sheet = flat_sheet(input=1 * USD)
    call = make_call(features=frozenset({"inference_geo"}))

    assert sheet.worst_cost_nano_usd(1_000_000, 0, call) == 1_100_000_000
    assert sheet.cost_nano_usd(MILLION, call) == 1_100_000_000


# --------------------------------------------------------------------------------- properties

RATE = st.integers(0, 200 * USD)
ROW = st.builds(Rates, *(RATE,) * 10, web_searches=RATE, requests=RATE)
BRACKETS = st.lists(ROW, min_size=1, max_size=3).map(
    lambda rows: tuple((index * 100_000, row) for index, row in enumerate(rows))
)
TARIFF = st.fixed_dictionaries(
    {STANDARD: BRACKETS}, optional={"flex": BRACKETS, "priority": BRACKETS, "fast": BRACKETS}
)
TIERS = st.sampled_from([None, "default", "auto", "flex", "priority", "fast", "scale"])


@st.composite
def sheets_and_calls(draw: st.DrawFn) -> tuple[PriceSheet, object]:
    asked = draw(TIERS)
    sheet = PriceSheet(
        "test",
        None,
        None,
        draw(TARIFF),
        tuple(draw(st.lists(TARIFF, max_size=2))),
        asked,
        draw(st.sampled_from([frozenset(), frozenset({"fast"})])),
    )
    call = make_call(
        dialect=draw(st.sampled_from(Dialect)),
        features=frozenset(draw(st.lists(st.sampled_from(FEATURES)))),
        service_tier=asked,
        choices=draw(st.integers(1, 4)),
        extra_output_tokens=draw(st.sampled_from([0, 700])),
    )
    return sheet, call


@st.composite
def usages(draw: st.DrawFn, call: object, most_input: int, most_output: int) -> Usage:
    """Any usage within the bounds, with the parts that the call's features allow."""
    features, dialect = call.features, call.dialect  # type: ignore[attr-defined]
    whole_input, whole_output = draw(st.integers(0, most_input)), draw(st.integers(0, most_output))

    def part(whole: int, *needs: str, free: bool = False) -> int:
        return draw(st.integers(0, whole)) if free or features & set(needs) else 0

    anywhere = dialect not in MARKED
    write = part(whole_input, "cache_write_5m", "cache_write_1h", free=anywhere)
    return Usage(
        input_tokens=whole_input,
        output_tokens=whole_output,
        cache_read_input_tokens=part(whole_input, free=True),
        cache_write_input_tokens=write,
        cache_write_1h_input_tokens=part(write, "cache_write_1h", free=anywhere),
        reasoning_output_tokens=part(whole_output, free=True),
        audio_input_tokens=part(whole_input, "audio_in"),
        audio_output_tokens=part(whole_output, "audio_out"),
        image_input_tokens=part(whole_input, "vision"),
        image_output_tokens=part(whole_output, free=True),
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(data: st.DataObject) -> None:
    sheet, call = data.draw(sheets_and_calls())
    most_input, limit = data.draw(st.integers(0, 400_000)), data.draw(st.integers(0, 50_000))
    most_output = limit * call.choices + call.extra_output_tokens  # type: ignore[attr-defined]
    usage = data.draw(usages(call, most_input, most_output))
    billed = replace(
        replace(sheet, tariff=data.draw(st.sampled_from([sheet.tariff, *sheet.coming]))),
        coming=(),
    )

    asked = call.service_tier  # type: ignore[attr-defined]
    tiers = [None, *billed._reachable(billed.tariff, asked)]

    cost = billed.cost_nano_usd(
        replace(usage, service_tier=data.draw(st.sampled_from(tiers))),
        call,  # type: ignore[arg-type]
    )

    worst = sheet.worst_cost_nano_usd(most_input, limit, call)  # type: ignore[arg-type]
    assert cost <= worst


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_affordable_output_is_the_most_that_fits(data: st.DataObject) -> None:
    sheet, call = data.draw(sheets_and_calls())
    tokens, left = data.draw(st.integers(0, 300_000)), data.draw(st.integers(0, 100 * USD))

    most = sheet.affordable_output_tokens(left, tokens, call)  # type: ignore[arg-type]

    def worst(output: int) -> int:
        return sheet.worst_cost_nano_usd(tokens, output, call)  # type: ignore[arg-type]

    assert most == 0 or worst(most) <= left
    unlimited = most >= UNLIMITED_TOKENS // 8
    assert worst(most + 1) > left or unlimited


def test_cached_audio_has_a_rate_of_its_own_where_one_is_known() -> None:
    sheet = flat_sheet(input=100, audio_input=900, cache_read=10, cache_read_audio=50)
    usage = Usage(
        input_tokens=1_000_000,
        audio_input_tokens=600_000,
        cache_read_input_tokens=500_000,
        cache_read_audio_input_tokens=400_000,
    )

    assert sheet.cost_nano_usd(usage) == 30 + 1 + 180 + 20


def test_a_speed_is_not_told_by_a_tier_that_is_named_beside_it() -> None:
    sheet = two_tiers("priority", elective=frozenset({"priority"}))

    told = [replace(MILLION, service_tier=tier) for tier in ("standard", "standard_speed", None)]
    assert [sheet.cost_nano_usd(usage) // USD for usage in told] == [7, 1, 7]


def test_the_region_that_the_answer_names_wins_over_the_one_asked_for() -> None:
    sheet = flat_sheet(input=USD, output=USD)
    asked = make_call(features=frozenset({"inference_geo"}))

    def cost(geo: str | None, call: Call) -> int:
        return sheet.cost_nano_usd(replace(MILLION, inference_geo=geo), call)

    assert cost(None, asked) == cost("us", asked) == cost("us", make_call()) == USD * 11 // 10
    assert cost("global", asked) == cost("not_available", make_call()) == USD


def test_fees_are_added_for_each_use_and_no_region_makes_them_dearer() -> None:
    sheet = replace(flat_sheet(requests=USD), fees={"web_search": 10 * USD, "x": 2 * USD})
    usage = Usage(0, 0, server_tools=(("web_search", 3), ("x", 1)), inference_geo="us")

    assert sheet.cost_nano_usd(usage) == (1 + 3 * 10 + 2) * USD // 1000
    assert sheet.missing(usage) == ()


def test_features_of_the_call_choose_the_fee() -> None:
    fees = {"web_search": USD, "web_search_preview": 3 * USD, "code_interpreter_4g": 5 * USD}
    sheet = replace(flat_sheet(), fees=fees)
    usage = Usage(0, 0, server_tools=(("web_search", 1), ("code_interpreter", 1)))
    call = make_call(features=frozenset({"web_search_preview", "memory_4g"}))

    both = make_call(features=call.features | {"memory_64g"})

    assert sheet.cost_nano_usd(usage, call) == 8 * USD // 1000
    assert sheet.missing(usage, call) == ()
    assert sheet.missing(usage, both) == ("code_interpreter",)


def test_what_has_no_price_is_named() -> None:
    sheet = replace(flat_sheet(), unpriced=frozenset({"audio_input", "image_output"}))
    usage = Usage(
        1, 1, audio_input_tokens=1, audio_output_tokens=1, web_searches=1,
        server_tools=(("file_search", 1),),
    )  # fmt: skip

    assert sheet.missing(usage) == ("audio_input", "file_search", "web_search")
    assert flat_sheet(web_searches=1).missing(Usage(1, 1, web_searches=1)) == ()


def test_a_tier_without_a_price_is_missing_unless_it_is_never_dearer() -> None:
    told = [replace(MILLION, service_tier=tier) for tier in ("ultrafast", "batch", "standard")]

    assert [two_tiers().missing(usage) for usage in told] == [("service tier ultrafast",), (), ()]
    assert two_tiers("ultrafast").missing(MILLION) == ("service tier ultrafast",)
