"""What calls that are no conversation may be billed (``tasks.yaml``): images, audio, reranking.

All figures are upper bounds; what the table does not name is unknown: None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from tollkeeper.domain import NANO_PER_USD
from tollkeeper.facts.tables import read_table


@dataclass(frozen=True, slots=True)
class ImageFact:
    """Tokens of one image.

    Attributes:
        made: Of one that comes out.
        text: Written beside each.
        partial: Of each early look at it.
        given: Of one that goes in; None when unknown.
    """

    made: int
    text: int
    partial: int
    given: int | None


@dataclass(frozen=True, slots=True)
class SpeechFact:
    """Tokens of speech that is written down, per second in and per half minute out."""

    heard_per_second: int
    written_per_half_minute: int


@cache
def _table() -> Mapping[str, Any]:
    return read_table("tasks")


def _find(table: str, model: str) -> Mapping[str, Any] | None:
    name = model.rpartition("/")[2].lower()
    for entry in _table()[table]:
        if any(fnmatchcase(name, glob) for glob in entry["models"]):
            found: Mapping[str, Any] = entry
            return found
    return None


def image_fact(model: str) -> ImageFact | None:
    """What making an image with this model may be billed, or None."""
    entry = _find("images", model)
    if entry is None:
        return None
    return ImageFact(entry["made"], entry["text"], entry["partial"], entry["given"])


def speech_fact(model: str) -> SpeechFact | None:
    """What writing down speech with this model may be billed, or None."""
    entry = _find("transcription", model)
    if entry is None:
        return None
    return SpeechFact(entry["heard_per_second"], entry["written_per_half_minute"])


def least_audio_milliseconds(provider: str) -> int:
    """What a provider bills of audio however short it is."""
    for entry in _table()["least_audio"]:
        if entry["provider"] == provider:
            return int(entry["milliseconds"])
    return 0


def _priced(provider: str, model: str) -> Iterator[Mapping[str, Any]]:
    name = model.lower()
    for entry in _table()["prices"]:
        if entry["provider"] == provider and any(fnmatchcase(name, one) for one in entry["models"]):
            yield entry


def unit_rates(provider: str, model: str) -> tuple[Mapping[str, int], str] | None:
    """Rates by other measures than tokens, as nano-USD by name, and their source; None when unknown."""
    entry = next(_priced(provider, model), None)
    if entry is None:
        return None
    rates = {name: _nano(usd) for name, usd in entry["rates"].items()}
    return rates, f"{entry['source']} ({entry['date']})"


def unit_tiers(provider: str, model: str) -> Mapping[str, Mapping[str, int]]:
    """The same by what is asked for (size and quality of an image), where that changes the price."""
    entry = next(_priced(provider, model), {})
    return {
        tier: {name: _nano(usd) for name, usd in rates.items()}
        for tier, rates in entry.get("tiers", {}).items()
    }


def unit_tier(provider: str, model: str, asked: Mapping[str, object]) -> str | None:
    """The tier of ``unit_tiers`` that a request asks for, or None where the model has none.

    Args:
        asked: The request's members.
    """
    for entry in _priced(provider, model):
        if "by" in entry:
            named = (str(asked.get(name) or meant) for name, meant in entry["by"].items())
            return "-".join(named).lower()
    return None


def _nano(usd: str) -> int:
    return int((Decimal(usd) * NANO_PER_USD).to_integral_value(ROUND_CEILING))
