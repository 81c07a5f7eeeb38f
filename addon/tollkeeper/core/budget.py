"""Calendar windows, and the account that a budget or quota counts on.

Windows are the owner's calendar: an hour, day, week (from Monday) or month as the wall clocks of the
policy's timezone show it. Where clocks are changed a day has 23 or 25 hours and no instant belongs
to two windows or to none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from tollkeeper.domain import NS_PER_SECOND, Account, Window

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BOUNDLESS: Final = frozenset({Window.TOTAL, Window.RUN})
_DAY_SECONDS: Final = 86400
_CACHE_SIZE: Final = 64
"""A policy has one timezone and four calendar windows; tests use a few more."""

_bounds: OrderedDict[tuple[Window, str], tuple[int, int]] = OrderedDict()


def account_for(subject: str, window: Window, now_ns: int, timezone: str) -> Account:
    """The account that a limit over ``window`` counts on at this moment.

    Args:
        timezone: A name of the IANA database; ``ZoneInfoNotFoundError`` for any other.
    """
    if window in _BOUNDLESS:
        return Account(subject, window)
    starts_ns, resets_ns = window_bounds(window, now_ns, timezone)
    return Account(subject, window, starts_ns, resets_ns)


def window_bounds(window: Window, now_ns: int, timezone: str) -> tuple[int, int]:
    """Start (inclusive) and end (exclusive) of the calendar window around ``now_ns``."""
    key = (window, timezone)
    known = _bounds.get(key)
    if known is not None and known[0] <= now_ns < known[1]:
        return known
    found = _compute(window, now_ns, ZoneInfo(timezone))
    _bounds[key] = found
    while len(_bounds) > _CACHE_SIZE:
        _bounds.popitem(last=False)
    return found


def _compute(window: Window, now_ns: int, zone: ZoneInfo) -> tuple[int, int]:
    if window is Window.HOUR:
        return _hour(now_ns, zone)
    day = (_EPOCH + timedelta(seconds=now_ns // NS_PER_SECOND)).astimezone(zone).date()
    starts_ns, resets_ns = _days(window, day, zone)
    if now_ns < starts_ns:
        return _days(window, day - timedelta(days=1), zone)
    if now_ns >= resets_ns:
        return _days(window, day + timedelta(days=1), zone)
    return starts_ns, resets_ns


def _days(window: Window, day: date, zone: ZoneInfo) -> tuple[int, int]:
    """The window of whole days that holds ``day``."""
    if window is Window.DAY:
        first, after = day, day + timedelta(days=1)
    elif window is Window.WEEK:
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return _midnight_ns(first, zone), _midnight_ns(after, zone)


def _midnight_ns(day: date, zone: ZoneInfo) -> int:
    """The first instant whose local date is ``day`` or later.

    Some zones skip midnight when their clocks go forward (Cairo, Santiago): the day then begins at
    01:00. Found by bisection over instants, so no rule about gaps is needed.
    """
    guess = int((datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH).total_seconds())
    seconds = range(guess - 26 * 3600, guess + 26 * 3600)
    index = bisect_right(
        seconds, False, key=lambda s: (_EPOCH + timedelta(seconds=s)).astimezone(zone).date() >= day
    )
    return seconds[index] * NS_PER_SECOND


def _hour(now_ns: int, zone: ZoneInfo) -> tuple[int, int]:
    """The hour of the wall clock; cut at a change of offset, so it may be shorter than 60 minutes.

    In a zone at +05:30 hours begin at half past in UTC.
    """
    second = now_ns // NS_PER_SECOND
    offset = _offset(second, zone)
    start = second - (second + offset) % 3600
    end = start + 3600
    if _offset(start, zone) != offset:
        start = _change(start, second, zone)
    if _offset(end - 1, zone) != offset:
        end = _change(second, end - 1, zone)
    return start * NS_PER_SECOND, end * NS_PER_SECOND


def _offset(second: int, zone: ZoneInfo) -> int:
    shift = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    assert shift is not None
    return int(shift.total_seconds())


def _change(low: int, high: int, zone: ZoneInfo) -> int:
    """The first second after ``low`` with the offset of ``high``; there is one change between."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == _offset(low, zone):
            low = middle
        else:
            high = middle
    return high


def offsets(timezone: str, first_ns: int, last_ns: int) -> list[tuple[int, int]]:
    """From when on the zone's clocks are how far ahead of UTC, between two moments, oldest first.

    Returns:
        Pairs of nanoseconds: since when, and the offset. There is at least one, from ``first_ns`` on.
    """
    zone = ZoneInfo(timezone)
    second, last = first_ns // NS_PER_SECOND, last_ns // NS_PER_SECOND
    found = [(first_ns, _offset(second, zone) * NS_PER_SECOND)]
    while second < last:
        after = min(second + _DAY_SECONDS, last)
        offset = _offset(after, zone) * NS_PER_SECOND
        if offset != found[-1][1]:
            found.append((_change(second, after, zone) * NS_PER_SECOND, offset))
        second = after
    return found
