from __future__ import annotations

import pytest

from core.judging import NOW
from tollkeeper.core.wording import instant, listed, resets, tokens, usd


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (12_300, "$0.0000123"),
        (250_000_000, "$0.25"),
        (500_000_000, "$0.50"),
        (1_000_000_000, "$1.00"),
        (1_234_567_890_123, "$1234.567890123"),
        (-1_500_000_000, "-$1.50"),
    ],
)
def test_amounts_are_exact_with_two_to_nine_decimals(nano_usd: int, text: str) -> None:
    assert usd(nano_usd) == text


def test_instants_are_utc_to_the_second() -> None:
    assert instant(NOW) == "2026-11-21T07:00:00Z"
    assert resets(NOW) == "it resets at 2026-11-21T07:00:00Z"
    assert resets(None) == "it does not reset"


def test_long_lists_and_long_names_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["x" * 99]) == "x" * 64
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_one_token_is_singular() -> None:
    assert (tokens(1), tokens(2)) == ("1 token", "2 tokens")
