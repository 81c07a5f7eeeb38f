from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.judging import NOW, SECOND
from tollkeeper.core.budget import account_for, offsets, window_bounds
from tollkeeper.domain import Account, Window

CALENDAR = (Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Pacific/Apia",
    "America/St_Johns",
)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("window", "zone", "now", "starts", "resets"),
    [
        ("day", "UTC", "2026-11-21T07:00Z", "2026-11-21T00:00Z", "2026-11-22T00:00Z"),
        ("week", "UTC", "2026-11-22T23:59Z", "2026-11-16T00:00Z", "2026-11-23T00:00Z"),
        ("week", "UTC", "2026-11-23T00:00Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
        ("month", "UTC", "2026-12-31T23:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("month", "UTC", "2028-02-29T12:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("hour", "UTC", "2026-11-21T07:59Z", "2026-11-21T07:00Z", "2026-11-21T08:00Z"),
        ("hour", "Asia/Kolkata", "2026-11-21T07:10Z", "2026-11-21T06:30Z", "2026-11-21T07:30Z"),
        ("hour", "Asia/Kathmandu", "2026-11-21T07:10Z", "2026-11-21T06:15Z", "2026-11-21T07:15Z"),
        ("day", "Europe/Berlin", "2026-11-21T23:30Z", "2026-11-21T23:00Z", "2026-11-22T23:00Z"),
        # clocks go forward on 29 March 2026, back on 25 October
        ("day", "Europe/Berlin", "2026-03-29T10:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("day", "Europe/Berlin", "2026-10-25T10:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("week", "Europe/Berlin", "2026-10-25T10:00Z", "2026-10-18T22:00Z", "2026-10-25T23:00Z"),
        ("month", "Europe/Berlin", "2026-10-25T10:00Z", "2026-09-30T22:00Z", "2026-10-31T23:00Z"),
        # midnight does not exist in Santiago on 6 September 2026: the day begins at 01:00
        ("day", "America/Santiago", "2026-09-06T10:00Z", "2026-09-06T04:00Z", "2026-09-07T03:00Z"),
        # Lord Howe goes forward by half an hour at 02:00 on 4 October 2026
        (
            "hour",
            "Australia/Lord_Howe",
            "2026-10-03T15:40Z",
            "2026-10-03T15:30Z",
            "2026-10-03T16:00Z",
        ),
        (
            "hour",
            "Australia/Lord_Howe",
            "2026-10-03T15:20Z",
            "2026-10-03T14:30Z",
            "2026-10-03T15:30Z",
        ),
    ],
)
def test_window_is_the_calendar_of_the_zone(
    window: str, zone: str, now: str, starts: str, resets: str
) -> None:
    assert window_bounds(Window(window), ns(now), zone) == (ns(starts), ns(resets))


@pytest.mark.parametrize("window", [Window.TOTAL, Window.RUN])
def test_total_and_run_have_no_bounds(window: Window) -> None:
    assert account_for("run:x", window, NOW, "UTC") == Account("run:x", window)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CALENDAR),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2005, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001 - made UTC below
)
def test_every_instant_is_in_one_window_whose_neighbours_touch_it(
    window: Window, zone: str, moment: datetime
) -> None:
    now_ns = int(moment.replace(tzinfo=UTC).timestamp()) * SECOND

    starts, resets = window_bounds(window, now_ns, zone)

    assert starts <= now_ns < resets
    assert window_bounds(window, starts, zone) == (starts, resets)
    assert window_bounds(window, resets - 1, zone) == (starts, resets)
    assert window_bounds(window, resets, zone)[0] == resets
    assert window_bounds(window, starts - 1, zone)[1] == starts


@pytest.mark.parametrize("zone", ZONES)
def test_the_hours_of_a_year_follow_each_other_and_never_cross_a_day(zone: str) -> None:
    now_ns, borders = ns("2026-01-01T00:00Z"), []
    while now_ns < ns("2026-12-31T00:00Z"):
        starts, now_ns = window_bounds(Window.HOUR, now_ns, zone)
        borders.append(starts)

    assert all(0 < after - before <= 3600 * SECOND for before, after in pairwise(borders))
    place = ZoneInfo(zone)
    for starts in borders[1::97]:
        first = datetime.fromtimestamp(starts // SECOND, place).date()
        _, resets = window_bounds(Window.HOUR, starts, zone)
        assert datetime.fromtimestamp(resets // SECOND - 1, place).date() == first


def test_offsets_name_every_change_of_the_clocks() -> None:
    first, last = ns("2026-01-01T00:00+00:00"), ns("2026-12-31T00:00+00:00")

    assert offsets("Europe/Berlin", first, last) == [
        (first, 3600 * 10**9),
        (ns("2026-03-29T01:00+00:00"), 7200 * 10**9),
        (ns("2026-10-25T01:00+00:00"), 3600 * 10**9),
    ]
    assert offsets("UTC", first, first) == [(first, 0)]
