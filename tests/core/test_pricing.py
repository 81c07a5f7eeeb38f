from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from genai_prices.data import providers as catalogue_providers

from core.judging import NOW, SECOND, USD, make_call, make_policy
from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Price, Provider, Usage

HOUR = 3600 * SECOND
DAWN = NOW // HOUR * HOUR
EVERY = {p.id: Provider(p.id, (), "openai", catalogue=p.id) for p in catalogue_providers}


def test_owners_price_overrides_the_catalogue_and_says_so() -> None:
    mine = Provider(
        "openai",
        (),
        "openai",
        catalogue="openai",
        prices={"gpt-4o": (Price({"input": 7, "output": 9}),)},
    )
    book = PriceBook(make_policy(providers={"openai": mine}))

    sheet, other = book.sheet("openai", "gpt-4o", NOW), book.sheet("openai", "gpt-4o-mini", NOW)

    assert sheet is not None
    assert sheet.source == "providers.openai.prices.gpt-4o"
    assert sheet.cost_nano_usd(Usage(1_000_000, 1_000_000)) == 16
    assert sheet.context_window == 128_000
    assert other is not None
    assert other.source.startswith("genai-prices")


def test_owners_exact_name_beats_a_glob_and_the_first_glob_beats_the_next() -> None:
    globs = enumerate(("m-*", "*", "m-1"), 1)
    prices = {glob: (Price({"input": n, "output": 0}),) for n, glob in globs}
    book = PriceBook(make_policy(providers={"p": Provider("p", (), "openai", prices=prices)}))

    def cost(model: str) -> int:
        sheet = book.sheet("p", model, NOW)
        assert sheet is not None
        return sheet.cost_nano_usd(Usage(1_000_000, 0))

    assert [cost("m-1"), cost("m-2"), cost("x")] == [3, 1, 2]
    assert [cost("M-1"), cost("M-2"), cost("X")] == [3, 1, 2]


def test_parts_without_an_owners_price_cost_like_their_whole() -> None:
    prices = {"*": (Price({"input": 100, "output": 1000, "cache_write": 150}),)}
    book = PriceBook(make_policy(providers={"p": Provider("p", (), "openai", prices=prices)}))
    sheet = book.sheet("p", "m", NOW)
    assert sheet is not None

    def cost(**parts: int) -> int:
        return sheet.cost_nano_usd(Usage(input_tokens=1_000_000, output_tokens=1_000_000, **parts))

    assert cost(cache_read_input_tokens=1_000_000) == 1100
    assert cost(cache_write_input_tokens=1_000_000) == 1150
    assert cost(cache_write_input_tokens=1_000_000, cache_write_1h_input_tokens=1_000_000) == 1150
    assert cost(reasoning_output_tokens=1_000_000) == 1100


def test_sheet_is_compiled_once_and_the_cache_is_bounded() -> None:
    book = PriceBook(make_policy(providers=EVERY))

    assert book.sheet("openai", "gpt-4o", NOW) is book.sheet("openai", "gpt-4o", NOW + SECOND)
    for index in range(PriceBook.CACHE_SIZE + 10):
        book.sheet("openai", f"made-up-{index}", NOW)
    assert len(book._sheets) <= PriceBook.CACHE_SIZE


def test_the_price_whose_date_has_come_is_in_force_and_the_next_is_reserved_an_hour_before() -> (
    None
):
    prices = (
        Price({"input": 1, "output": 1}, from_ns=DAWN - 2 * HOUR),
        Price({"input": 3, "output": 1}, from_ns=DAWN + 2 * HOUR),
    )
    mine = Provider("openai", (), "openai", catalogue="openai", prices={"gpt-4o": prices})
    book = PriceBook(make_policy(providers={"openai": mine}))

    def at(now_ns: int) -> tuple[str, int, int]:
        sheet = book.sheet("openai", "gpt-4o", now_ns)
        assert sheet is not None
        usage = Usage(1_000_000, 0)
        worst = sheet.worst_cost_nano_usd(1_000_000, 0, make_call())
        return sheet.source.partition(" ")[0], sheet.cost_nano_usd(usage), worst

    assert at(DAWN) == ("providers.openai.prices.gpt-4o", 1, 1)
    assert at(DAWN + 2 * HOUR - SECOND) == ("providers.openai.prices.gpt-4o", 1, 3)
    assert at(DAWN + 2 * HOUR) == ("providers.openai.prices.gpt-4o", 3, 3)
    assert at(DAWN - 4 * HOUR)[0] == "genai-prices"


def test_the_accounts_own_tier_counts_for_calls_that_name_none() -> None:
    plain = EVERY["openai"]
    dear = replace(plain, default_tier="priority")
    usage = Usage(1_000_000, 0)
    costs = []
    for provider in (plain, dear):
        sheet = PriceBook(make_policy(providers={"openai": provider})).sheet("openai", "gpt-5", NOW)
        assert sheet is not None
        worst = sheet.worst_cost_nano_usd(1_000_000, 0, make_call())
        costs.append((worst, sheet.cost_nano_usd(usage)))

    assert costs == [(1_250_000_000, 1_250_000_000), (2_500_000_000, 2_500_000_000)]


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("anthropic/claude-sonnet-4.5", True),
        ("anthropic/claude-sonnet-4.5:online", True),
        ("anthropic/claude-sonnet-4.5:floor", True),
        ("anthropic/claude-sonnet-4.5:nitro", False),
        ("openai/gpt-4o:extended", True),
        ("meta-llama/llama-3.3-70b-instruct:free", True),
    ],
)
def test_a_route_that_may_be_dearer_than_its_model_has_no_price(model: str, known: bool) -> None:
    book = PriceBook(make_policy(providers=EVERY))

    assert (book.sheet("openrouter", model, NOW) is not None) is known


def test_a_model_that_always_searches_is_billed_for_it_with_each_request() -> None:
    book = PriceBook(make_policy(providers=EVERY))
    sheet = book.sheet("openai", "gpt-4o-search-preview", NOW)

    assert sheet is not None
    assert sheet.cost_nano_usd(Usage(0, 0)) == USD * 25 // 1000
    assert sheet.worst_cost_nano_usd(0, 0, make_call()) == USD * 25 // 1000


def test_owners_price_of_a_search_comes_before_the_tables() -> None:
    prices = {"*": (Price({"input": 1, "output": 1, "web_searches": 2 * USD}),)}
    mine = Provider("openai", (), "openai", catalogue="openai", prices=prices)
    sheet = PriceBook(make_policy(providers={"openai": mine})).sheet("openai", "gpt-5", NOW)

    assert sheet is not None
    assert sheet.cost_nano_usd(Usage(0, 0, web_searches=3)) == 6 * USD // 1000


def test_a_regions_newer_models_cost_a_tenth_more_and_searches_do_not() -> None:
    book = PriceBook(make_policy(providers=facts.providers()))

    def cost(provider: str, model: str) -> int:
        sheet = book.sheet(provider, model, NOW)
        assert sheet is not None
        usage = Usage(10_000, 1_000, cache_read_input_tokens=4_000, web_searches=1)
        return sheet.cost_nano_usd(usage) - 10 * USD // 1000

    assert cost("openai-regional", "gpt-5.4") * 10 == cost("openai", "gpt-5.4") * 11
    assert cost("openai-regional", "gpt-5") == cost("openai", "gpt-5")


def test_a_retired_name_costs_what_its_provider_now_serves_it_as() -> None:
    book = PriceBook(make_policy(providers=facts.providers()))

    old, new = book.sheet("xai", "grok-4-fast-reasoning", NOW), book.sheet("xai", "grok-4.3", NOW)

    assert old is not None
    assert new is not None
    assert old.tariff == new.tariff
    assert old.cost_nano_usd(Usage(1_000_000, 0)) == 2_500_000_000


def test_a_published_price_comes_before_the_catalogues_and_after_the_owners() -> None:
    mine = {"embed-v4.0": (Price({"input": 7, "output": 0}),)}
    known = facts.providers()
    book = PriceBook(make_policy(providers=known))
    owned = PriceBook(
        make_policy(providers={**known, "cohere": replace(known["cohere"], prices=mine)})
    )

    ours, owners = book.sheet("cohere", "embed-v4.0", NOW), owned.sheet("cohere", "embed-v4.0", NOW)

    assert ours is not None
    assert owners is not None
    assert ours.source.startswith("https://")
    assert ours.missing(Usage(9, 0, audio_input_tokens=1)) == ("audio_input",)
    assert ours.cost_nano_usd(Usage(1_000_000, 0, image_input_tokens=500_000)) == 295_000_000
    assert owners.cost_nano_usd(Usage(1_000_000, 0, image_input_tokens=500_000)) == 7


@pytest.mark.parametrize(
    ("provider", "model", "features", "usd_per_thousand"),
    [
        ("openai", "gpt-5", frozenset(), 10),
        ("openai", "gpt-4o", frozenset({"web_search_preview"}), 25),
        ("openai", "gpt-4o-mini", frozenset(), Decimal("11.2")),
        ("azure", "gpt-4o", frozenset(), 14),
        ("vertex", "claude-sonnet-4-5", frozenset(), 10),
        ("vertex", "gemini-2.5-flash", frozenset(), 35),
        ("openrouter", "anthropic/claude-haiku-5.5", frozenset(), 10),
    ],
)
def test_a_search_costs_what_the_table_says_and_else_what_the_catalogue_says(
    provider: str, model: str, features: frozenset[str], usd_per_thousand: Decimal
) -> None:
    sheet = PriceBook(make_policy(providers=facts.providers())).sheet(provider, model, NOW)
    call = make_call(features=features)
    assert sheet is not None

    assert sheet.cost_nano_usd(Usage(0, 0, web_searches=1000), call) == usd_per_thousand * USD
    assert sheet.missing(Usage(0, 0, web_searches=1), call) == ()
