from __future__ import annotations

import pytest

from tollkeeper.core.tiers import base_name, tier_of

TIERS = {
    "cheap": ("gpt-4o-mini", "claude-haiku-*", "gemini-*-flash"),
    "standard": ("gpt-4o", "claude-sonnet-*"),
    "premium": ("o3", "claude-opus-*", "claude-haiku-9"),
}


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("gpt-4o-mini", "cheap"),
        ("gpt-4o", "standard"),
        ("gpt-4o-2024-08-06", "standard"),
        ("gpt-4o-mini-2024-07-18", "cheap"),
        ("claude-haiku-4-5-20251001", "cheap"),
        ("gemini-2.5-flash", "cheap"),
        ("gemini-2.5-flash-latest", "cheap"),
        ("models/gemini-2.5-flash", "cheap"),
        ("openai/gpt-4o", "standard"),
        ("o3-2025-04-16", "premium"),
        ("claude-haiku-9", "premium"),
        ("GPT-4o-Mini", "cheap"),
        ("Claude-Haiku-9", "premium"),
        ("gpt-5", None),
        ("o3-mini", None),
    ],
)
def test_model_belongs_to_the_tier_of_its_base_name(model: str, tier: str | None) -> None:
    assert tier_of(TIERS, model) == tier


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("vendor/model:latest", "model"),
        ("claude-3-5-sonnet", "claude-3-5-sonnet"),
    ],
)
def test_base_name_has_no_vendor_and_no_date(model: str, base: str) -> None:
    assert base_name(model) == base
