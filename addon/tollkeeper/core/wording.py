"""How amounts, instants and names are written in sentences for clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from tollkeeper.domain import NANO_PER_USD

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NAMED: Final = 5
_NAME_CHARACTERS: Final = 64


def usd(nano_usd: int) -> str:
    """``$0.0123``: at least two decimals, at most nine, exact."""
    whole, rest = divmod(abs(nano_usd), NANO_PER_USD)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano_usd < 0 else ''}${whole}.{decimals}"


def instant(at_ns: int) -> str:
    """``2026-11-22T00:00:00Z``, to the second."""
    return f"{_EPOCH + timedelta(microseconds=at_ns // 1000):%Y-%m-%dT%H:%M:%SZ}"


def resets(resets_ns: int | None) -> str:
    """The end of a sentence about an account."""
    return "it does not reset" if resets_ns is None else f"it resets at {instant(resets_ns)}"


def listed(names: Sequence[str]) -> str:
    """At most five names, each at most 64 characters, for text that a client made up."""
    shown = [name[:_NAME_CHARACTERS] for name in names[:_MOST_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def tokens(count: int) -> str:
    """A count of tokens."""
    return f"{count} token" if count == 1 else f"{count} tokens"
