from __future__ import annotations

from decimal import Decimal

import pytest

from tollkeeper.core.statement import Figures, Key, Statement, day_of, exact, same_model


@pytest.mark.parametrize(
    ("name", "meets"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("openai/gpt-4.1-2025-04-14", "gpt-4.1"),
        ("models/gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("claude-3-5-haiku-latest", "claude-haiku-3-5"),
        ("Claude Haiku 3.5", "claude-haiku-3-5"),
        ("Claude Haiku 4.5", "claude-haiku-4-5"),
        ("deepseek/deepseek-r1:free", "deepseek-r1:free"),
        ("", ""),
    ],
)
def test_names_of_one_model_meet(name: str, meets: str) -> None:
    assert same_model(name) == meets
    assert same_model(meets) == meets


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-20", "2026-11-20"),
        ("2026/11/2", "2026-11-02"),
        ("1795132800", "2026-11-20"),
        ("1795132799", "2026-11-19"),
        ("2026-11-20T23:30:00-05:00", "2026-11-21"),
        ("2026-11-20 05:00:00 UTC", "2026-11-20"),
        ("2026-11-20T00:00:00Z", "2026-11-20"),
    ],
)
def test_days_are_utc_days(text: str, day: str) -> None:
    assert day_of(text) == day


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "20/11/2026", "99999999999999999"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        day_of(text)


@pytest.mark.parametrize(
    "value", [True, None, "NaN", "Infinity", "1e400", "x", 1.5, [], "1e999999999999999999999"]
)
def test_what_is_no_amount_is_none(value: object) -> None:
    assert exact(value) is None


def test_a_line_over_several_days_takes_the_days_from_all() -> None:
    statement = Statement("google-billing")
    for day in ("2026-11-20", ""):
        statement.add(Key("google", day, "gemini-2.5-pro"), Figures(cost_usd=Decimal("0.1")))

    assert statement.grouped() == {
        Key("google", "", "gemini-2.5-pro"): Figures(cost_usd=Decimal("0.2"))
    }
