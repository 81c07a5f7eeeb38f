from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper_cli.units import (
    iso,
    parse_duration_ns,
    parse_limit_usd,
    parse_moment_ns,
    parse_usd,
    span,
    usd,
)


@pytest.mark.parametrize(
    ("text", "nano"),
    [("5", 5_000_000_000), ("$0.50", 500_000_000), ("0.000000001", 1), ("-1", -1_000_000_000)],
)
def test_amounts_are_read_exactly(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text", ["", "x", "1,5", "0.0000000001", "NaN", "Infinity", "1e30", "5 USD"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_usd(text)


def test_a_limit_is_never_negative() -> None:
    with pytest.raises(typer.BadParameter, match="negative"):
        parse_limit_usd("-0.01")


@given(st.integers(-(10**17), 10**17))
def test_what_is_written_is_read_again(nano: int) -> None:
    assert parse_usd(usd(nano)) == nano


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("24h", 86400), ("7d", 604800), ("2w", 1209600)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration_ns(text) == seconds * NS_PER_SECOND


@pytest.mark.parametrize("text", ["", "5", "h", "0s", "-1h", "1.5h", "5 years", "٣h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (61, "1 m 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (-5, "0 s")],
)
def test_spans_show_their_two_largest_units(seconds: int, words: str) -> None:
    assert span(seconds * NS_PER_SECOND) == words


def test_times_are_utc() -> None:
    assert iso(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", "2026-11-20T12:00:00.000Z"),
        ("2026-11-01", "2026-11-01T04:00:00.000Z"),
        ("2026-11-02", "2026-11-02T05:00:00.000Z"),
        ("2026-11-01T12:00Z", "2026-11-01T12:00:00.000Z"),
    ],
)
def test_moments_are_read_on_the_clocks_of_the_timezone(text: str, moment: str) -> None:
    noon_ns = 1_795_262_400 * NS_PER_SECOND  # 2026-11-21T12:00Z

    assert iso(parse_moment_ns(text, noon_ns, "America/New_York")) == moment


@pytest.mark.parametrize("text", ["soon", "0h", "2026-13-01", ""])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"no (time|duration)"):
        parse_moment_ns(text, 0, "UTC")
