"""Amounts, times and durations between people and integers."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final
from zoneinfo import ZoneInfo

import typer

from tollkeeper.core.wording import usd as dollars
from tollkeeper.domain import NANO_PER_USD, NS_PER_SECOND

__all__ = [
    "clock", "dollars", "iso", "now_ns", "parse_duration_ns", "parse_limit_usd", "parse_list",
    "parse_moment_ns", "parse_usd", "span", "usd",
]  # fmt: skip

_DURATION: Final = re.compile(r"(\d+)\s*([smhdw])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_USD: Final = Decimal(1_000_000_000)
"""Beyond a billion dollars nano-USD leave the integers that a database column holds."""


def usd(nano: int) -> str:
    """Exactly, as USD with two to nine decimals: ``0.05``, ``-1.000000001``."""
    sign, rest = ("-", -nano) if nano < 0 else ("", nano)
    decimals = f"{rest % NANO_PER_USD:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{rest // NANO_PER_USD}.{decimals}"


def parse_usd(text: str) -> int:
    """Nano-USD from ``5``, ``0.50`` or ``$5``; a bad parameter for anything else."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no amount in USD (write 5 or 0.50)") from None
    if not amount.is_finite() or abs(amount) > _LARGEST_USD:
        raise typer.BadParameter(f"{text!r} is no amount in USD")
    nano = amount * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise typer.BadParameter(f"{text!r} has more than nine decimals")
    return int(nano)


def parse_limit_usd(text: str) -> int:
    """As ``parse_usd``, never below zero."""
    nano = parse_usd(text)
    if nano < 0:
        raise typer.BadParameter(f"{text!r} is negative")
    return nano


def parse_duration_ns(text: str) -> int:
    """Nanoseconds from ``30s``, ``10m``, ``24h``, ``7d`` or ``2w``."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no duration (write 30s, 10m, 24h or 7d)")
    return int(match[1]) * _SECONDS[match[2]] * NS_PER_SECOND


def parse_moment_ns(text: str, at_ns: int, timezone: str) -> int:
    """A moment: ``7d`` is so long before ``at_ns``; a date is its midnight in the timezone.

    ISO-8601 with a time is taken as written; without an offset it is the timezone's.
    """
    if _DURATION.fullmatch(text.strip()):
        return at_ns - parse_duration_ns(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time (write 24h, 7d, 2026-11-01 or 2026-11-01T12:00Z)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone))
    return (moment - _EPOCH) // timedelta(seconds=1) * NS_PER_SECOND


def parse_list(text: str) -> tuple[str, ...]:
    """Names from ``a,b``; an empty text names nothing."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def iso(at_ns: int) -> str:
    """ISO-8601 in UTC, to the millisecond."""
    at = datetime.fromtimestamp(at_ns // NS_PER_SECOND, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ns // 1_000_000 % 1000:03d}Z"


def clock(at_ns: int) -> str:
    """For a table: local date and time to the second."""
    return f"{datetime.fromtimestamp(at_ns // NS_PER_SECOND, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def span(length_ns: int) -> str:
    """A length of time in its two largest units: ``3 d 4 h``, ``2 m 5 s``, ``0 s``."""
    seconds = max(0, length_ns) // NS_PER_SECOND
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size or (unit == "s" and not parts):
            parts.append(f"{seconds // size} {unit}")
        elif parts:
            break
        seconds %= size
    return " ".join(parts[:2])


def now_ns() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()
