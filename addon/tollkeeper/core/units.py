"""What is billed by other measures than tokens: hours of audio, characters, images, pages, searches.

A model has a price by tokens, by such a measure, or by both. A call fits a sheet when the sheet
prices one of the measures that the call is bounded in; where it does not, the price is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tollkeeper.domain import Call, Usage

if TYPE_CHECKING:
    from tollkeeper.core.sheet import PriceSheet, Rates

_THOUSAND: Final = 1000
_HOUR_MILLISECONDS: Final = 3_600_000
_HOUR_SECONDS: Final = 3600
_MEGA: Final = 1_000_000

MEASURES: Final = (
    "audio_hours",
    "characters",
    "images",
    "pages",
    "search_units",
    "cache_storage",
)
"""The rates that are not of tokens, as an owner's price names them."""

_COUNTS: Final = {"audio_hours": "audio_milliseconds", "cache_storage": "kept_token_seconds"}
"""Counts in a usage that do not have the name of their rate."""


def units_numerator(rates: Rates, usage: Usage) -> int:
    """What a usage's other measures cost at these rates, in nano-USD times a million, rounded up."""
    audio = usage.audio_milliseconds * rates.audio_hours * _MEGA
    return (
        -(-audio // _HOUR_MILLISECONDS)
        - (-usage.kept_token_seconds * rates.cache_storage // _HOUR_SECONDS)
        + usage.characters * rates.characters
        + (
            usage.images * rates.images
            + usage.pages * rates.pages
            + usage.search_units * rates.search_units
        )
        * _THOUSAND
    )


def fits(sheet: PriceSheet, call: Call) -> bool:
    """Whether the sheet prices a measure in which all that the call may be billed is bounded."""
    if not sheet.priced or (call.tokens_unbounded is None and sheet.by_tokens):
        return True
    counts = named_counts(call.most)
    return bool(counts) and all(_prices(rates, counts) for rates in sheet.rows())


def fitting(sheet: PriceSheet | None, call: Call) -> PriceSheet | None:
    """The sheet, or None where it says nothing about what the call may cost."""
    return sheet if sheet is not None and fits(sheet, call) else None


def telling(sheet: PriceSheet | None, call: Call) -> PriceSheet | None:
    """The sheet, where it can price what an answer says it used, though nothing bounded it before."""
    if sheet is not None and sheet.by_tokens:
        return sheet
    return fitting(sheet, call)


def is_measured(sheet: PriceSheet | None, usage: Usage) -> bool:
    """Whether a usage says all that this sheet needs for a price.

    An output alone does not: its input would cost nothing.
    """
    counts = named_counts(usage)
    if sheet is None:
        return usage.output_tokens is not None or bool(counts)
    if sheet.by_tokens:
        given = usage.input_tokens is not None or bool(counts)
        return given and usage.output_tokens is not None
    return all(_prices(rates, counts) for rates in sheet.rows())


def by_tokens(rows: Iterable[Rates]) -> bool:
    """Whether these rates are of tokens or requests: a price of 0 for all measures is one of tokens."""
    return all(
        bool(rates.input or rates.output or rates.requests)
        or not any(getattr(rates, name) for name in MEASURES)
        for rates in rows
    )


def named_counts(usage: Usage | None) -> tuple[str, ...]:
    """The measures in which a usage counts anything, by the names of their rates."""
    if usage is None:
        return ()
    return tuple(name for name in MEASURES if getattr(usage, _COUNTS.get(name, name)))


def measure_of(call: Call) -> str:
    """For a reason: by what a price is missing, where tokens would not do."""
    names = named_counts(call.most)
    if call.tokens_unbounded is None or not names:
        return ""
    return f" by {' or '.join(names)} ({call.tokens_unbounded} is bounded by nothing else)"


def _prices(rates: Rates, counts: tuple[str, ...]) -> bool:
    return any(getattr(rates, name) for name in counts)
