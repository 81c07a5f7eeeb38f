from __future__ import annotations

from tollkeeper import facts
from tollkeeper.domain import NANO_PER_USD


def test_the_first_entry_that_fits_a_model_prices_a_tool() -> None:
    plain, preview = facts.tool_fees("openai", "gpt-5"), facts.tool_fees("openai", "GPT-4o")

    assert plain["web_search_preview"] == 10 * NANO_PER_USD
    assert preview["web_search_preview"] == 25 * NANO_PER_USD
    assert facts.tool_fees("openai", "gpt-4o-mini")["web_search"] == 11_200_000_000


def test_pages_that_a_model_fetches_cost_what_their_provider_says() -> None:
    assert facts.tool_fees("anthropic", "claude-sonnet-4-5")["web_fetch"] == 0
    assert facts.tool_fees("deepseek", "deepseek-flash")["web_fetch"] == 750_000_000


def test_a_provider_without_a_table_has_no_known_fee() -> None:
    assert facts.tool_fees("my-vllm", "gpt-5") == {}


def test_every_provider_of_the_table_is_known() -> None:
    for name in ("openai", "anthropic", "google", "xai", "perplexity"):
        assert name in facts.providers()
        assert facts.tool_fees(name, "sonar")


def test_a_region_is_dearer_for_newer_models_alone() -> None:
    assert facts.region_percent("openai-regional", "gpt-6.1-sol") == 110
    assert facts.region_percent("openai-regional", "gpt-5.2") == 100
    assert facts.region_percent("openai", "gpt-6.1-sol") == 100


def test_keeping_a_cache_has_a_price_where_the_makers_page_names_one() -> None:
    assert facts.cache_storage("google", "gemini-2.5-pro") == 4_500_000_000
    assert facts.cache_storage("google", "gemini-2.5-flash-lite") == NANO_PER_USD
    assert facts.cache_storage("google", "gemini-2.5-flash-image") == 0
    assert facts.cache_storage("vertex", "gemini-2.5-pro") == 0
