"""Documented limits and upper bounds, and that no model is left without one."""

import pytest
from genai_prices.data import providers as priced
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Dialect

CHAT, RESPONSES = Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES
ANTHROPIC, GEMINI = Dialect.ANTHROPIC, Dialect.GEMINI


@pytest.mark.parametrize(
    ("provider", "model", "tokens"),
    [
        ("openai", "gpt-4o", 16384),
        ("openai", "gpt-4o-mini-2024-07-18", 16384),
        ("openai", "gpt-4o-2024-05-13", 4096),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org::id", 16384),
        ("openai", "gpt-4.1-mini", 32768),
        ("openai", "o3", 100000),
        ("openai", "o4-mini", 100000),
        ("openai", "gpt-5", 128000),
        ("openai", "gpt-5-chat-latest", 128000),
        ("openai", "gpt-5.2-chat-latest", 16384),
        ("openai", "gpt-5-pro", 272000),
        ("openai", "gpt-5.4-nano", 128000),
        ("openai", "gpt-6.1-sol", 128000),
        ("openai-regional", "gpt-6.1-sol", 128000),
        ("openai", "GPT-4O", 16384),
        ("openai", "gpt-7", None),
        ("anthropic", "claude-3-5-sonnet-20241022", 8192),
        ("anthropic", "claude-3-haiku-20240307", 4096),
        ("anthropic", "claude-opus-4-20250514", 32000),
        ("anthropic", "claude-opus-4-1-20250805", 32000),
        ("anthropic", "claude-sonnet-4-5-20250929", 64000),
        ("anthropic", "claude-haiku-4-5", 64000),
        ("anthropic", "claude-sonnet-4-6", 128000),
        ("anthropic", "claude-opus-5-5", 128000),
        ("anthropic", "claude-haiku-5-5", 128000),
        ("google", "gemini-2.5-pro", 65536),
        ("google", "gemini-3.8-flash", 65536),
        ("google", "gemini-4-argon", 1048576),
        ("google", "gemini-2.0-flash", 8192),
        ("groq", "llama-3.1-8b-instant", 131072),
        ("groq", "openai/gpt-oss-20b", 65536),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", 8192),
        ("deepseek", "deepseek-chat", 393216),
        ("openrouter", "anthropic/claude-opus-5-5", 128000),
        ("openrouter", "nobody/nothing", None),
        ("xai", "grok-4.7", None),
        ("my-vllm", "gpt-4o", None),
    ],
)
def test_an_answer_is_no_longer_than_its_model_may_write(
    provider: str, model: str, tokens: int | None
) -> None:
    assert facts.max_output_tokens(provider, model) == tokens


@pytest.mark.parametrize("dialect", list(Dialect))
def test_every_model_of_the_price_catalogue_has_bounds_in_every_dialect(dialect: Dialect) -> None:
    for provider in priced:
        for model in provider.models:
            assert facts.image_bound_tokens(dialect, model.id) >= 258
            with_tools = facts.hidden_input_tokens(dialect, model.id, True)
            assert with_tools > facts.hidden_input_tokens(dialect, model.id, False) > 0
            assert isinstance(facts.hides_reasoning(dialect, model.id), bool)


@pytest.mark.parametrize(
    ("dialect", "model", "size", "at_least"),
    [
        (CHAT, "gpt-4o", None, 85 + 170 * 8),
        (CHAT, "gpt-4o-mini", None, 2833 + 5667 * 8),
        (RESPONSES, "o1", None, 75 + 150 * 8),
        (RESPONSES, "gpt-4.1-nano", None, 3779),
        (RESPONSES, "gpt-5.5", (4032, 3024), 11868),
        (RESPONSES, "gpt-6-astra", (4032, 3024), 14364),
        (CHAT, "gpt-6.1-sol", (9000, 6000), 63281),
        (CHAT, "gpt-6.1-sol", (20000, 20000), 468750),
        (CHAT, "anthropic/claude-opus-5-5", None, 4784),
        (CHAT, "gemini-3.8-flash", None, 2240),
        (ANTHROPIC, "claude-opus-5-5", None, 4784),
        (ANTHROPIC, "claude-haiku-4-5", None, 1661),
        (GEMINI, "gemini-3.8-flash", None, 2240),
        (GEMINI, "gemini-2.5-flash", None, 2304),
    ],
)
def test_an_image_is_never_billed_more_than_its_bound(
    dialect: Dialect, model: str, size: tuple[int, int] | None, at_least: int
) -> None:
    assert facts.image_bound_tokens(dialect, model, size) >= at_least


@pytest.mark.parametrize(
    ("size", "newer", "older"),
    [
        ((256, 256), 177, 165),
        ((512, 512), 438, 426),
        ((768, 768), 861, 849),
        ((1024, 1024), 1446, 1434),
        ((1280, 720), 1273, 1261),
        ((1920, 1080), 2768, 1625),
        ((2560, 1440), 3069, 1657),
        ((4032, 3024), 4005, 1661),
    ],
)
def test_images_that_were_measured_are_within_their_bounds(
    size: tuple[int, int], newer: int, older: int
) -> None:
    # Source: https://huggingface.co/datasets/JOHNISKING/image-token-cost
    assert newer <= facts.image_bound_tokens(ANTHROPIC, "claude-opus-5-5", size) <= 5000
    assert older <= facts.image_bound_tokens(ANTHROPIC, "claude-haiku-4-5", size) <= 1700
    assert facts.image_bound_tokens(ANTHROPIC, "claude-opus-5-5", size) < newer * 1.2 or (
        max(size) > 1568
    )


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((1024, 1024), 765),
        ((2048, 4096), 1105),
        ((512, 512), 765),
        ((1920, 1080), 1105),
        ((8000, 100), 1445),
    ],
)
def test_tiles_are_counted_as_openais_examples_do(size: tuple[int, int], tokens: int) -> None:
    assert facts.image_bound_tokens(CHAT, "gpt-4o", size) == tokens


def test_crops_of_gemini_are_counted() -> None:
    assert facts.image_bound_tokens(GEMINI, "gemini-2.5-flash", (384, 384)) == 258
    assert facts.image_bound_tokens(GEMINI, "gemini-2.5-flash", (960, 540)) == 258 * 7
    assert facts.image_bound_tokens(GEMINI, "gemini-2.5-flash", (20_000, 300)) == 12384


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_a_known_size_never_counts_more_than_an_unknown_one(width: int, height: int) -> None:
    for dialect, model in ((CHAT, "gpt-4o-mini"), (RESPONSES, "gpt-4.1-nano"),
                           (ANTHROPIC, "claude-opus-5-5"), (GEMINI, "gemini-2.0-flash")):  # fmt: skip
        known = facts.image_bound_tokens(dialect, model, (width, height))
        assert 0 < known <= facts.image_bound_tokens(dialect, model)


def test_a_small_image_of_known_size_is_bound_by_its_size() -> None:
    assert facts.image_bound_tokens(CHAT, "gpt-6.1-sol", (512, 512)) < 400
    assert facts.image_bound_tokens(CHAT, "gpt-6.1-sol") == 126000


@pytest.mark.parametrize(
    ("model", "documented"),
    [("claude-opus-4-7", 804), ("claude-sonnet-4-6", 589), ("claude-3-opus-20240229", 530)],
)
def test_the_prompt_that_enables_tools_is_counted(model: str, documented: int) -> None:
    more = facts.hidden_input_tokens(ANTHROPIC, model, True) - facts.hidden_input_tokens(
        ANTHROPIC, model, False
    )

    assert more >= documented


@pytest.mark.parametrize(
    ("dialect", "model", "asked", "hides"),
    [
        (CHAT, "gpt-4o", True, False),
        (CHAT, "gpt-5.4", False, True),
        (CHAT, "o3", False, True),
        (CHAT, "llama-3.1-8b-instant", True, False),
        (CHAT, "something-new", False, True),
        (ANTHROPIC, "claude-3-5-haiku-latest", True, False),
        (ANTHROPIC, "claude-sonnet-4-6", False, False),
        (ANTHROPIC, "claude-sonnet-4-6", True, True),
        (ANTHROPIC, "claude-opus-5-5", False, True),
        (GEMINI, "gemini-2.0-flash", True, False),
        (GEMINI, "gemini-2.5-pro", False, True),
    ],
)
def test_reasoning_that_is_billed_and_not_shown_is_known(
    dialect: Dialect, model: str, asked: bool, hides: bool
) -> None:
    assert facts.hides_reasoning(dialect, model, asked) is hides


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(Dialect)), st.text(max_size=400))
def test_no_name_whatsoever_is_left_without_a_bound(dialect: Dialect, model: str) -> None:
    assert facts.image_bound_tokens(dialect, model) > 0
    assert facts.hidden_input_tokens(dialect, model, True) > 0
