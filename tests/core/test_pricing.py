from __future__ import annotations

from genai_prices.data import providers as catalogue_providers

from core.judging import NOW, SECOND, make_policy
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Provider, Usage

EVERY = {p.id: Provider(p.id, (), "openai", catalogue=p.id) for p in catalogue_providers}


def test_owners_price_overrides_the_catalogue_and_says_so() -> None:
    mine = Provider(
        "openai", (), "openai", catalogue="openai", prices={"gpt-4o": {"input": 7, "output": 9}}
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
    prices = {f: {"input": n, "output": 0} for n, f in enumerate(("m-*", "*", "m-1"), 1)}
    book = PriceBook(make_policy(providers={"p": Provider("p", (), "openai", prices=prices)}))

    def cost(model: str) -> int:
        sheet = book.sheet("p", model, NOW)
        assert sheet is not None
        return sheet.cost_nano_usd(Usage(1_000_000, 0))

    assert [cost("m-1"), cost("m-2"), cost("x")] == [3, 1, 2]


def test_parts_without_an_owners_price_cost_like_their_whole() -> None:
    prices = {"*": {"input": 100, "output": 1000, "cache_write": 150}}
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
