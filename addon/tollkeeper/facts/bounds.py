"""What a model may write, and what is billed beyond the bytes of a request (``models.yaml``).

All figures are upper bounds in tokens. Where documents disagree or are silent about a model, the
larger figure stands, because a reservation may be too large and never too small.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from tollkeeper.domain import Dialect
from tollkeeper.facts.tables import read_table

_FAMILY: Mapping[Dialect, str] = {
    Dialect.OPENAI_CHAT: "openai",
    Dialect.OPENAI_RESPONSES: "openai",
    Dialect.OPENAI_REALTIME: "openai",
    Dialect.ANTHROPIC: "anthropic",
    Dialect.GEMINI: "gemini",
    Dialect.CODE_ASSIST: "gemini",
    Dialect.OPENAI_TEXT: "openai",
    Dialect.EMBEDDINGS: "openai",
    Dialect.IMAGES: "openai",
    Dialect.AUDIO: "openai",
    Dialect.RERANK: "openai",
    Dialect.OCR: "openai",
    Dialect.COHERE: "openai",
    Dialect.OLLAMA: "openai",
    Dialect.BEDROCK_CONVERSE: "bedrock",
    Dialect.BEDROCK_INVOKE: "anthropic",
    Dialect.BEDROCK_NATIVE: "bedrock",
}


MAX_MODEL_CHARACTERS = 256
"""No provider's model name comes near; more is not looked at."""


@dataclass(frozen=True, slots=True)
class _Patch:
    """How an image of known size is billed: ``base`` and ``per_patch`` for each square."""

    pixels: int
    per_patch: float
    base: int


@dataclass(frozen=True, slots=True)
class _Tile:
    """How OpenAI's older models bill an image: ``base`` and ``per_tile`` for each square of 512."""

    base: int
    per_tile: int


@dataclass(frozen=True, slots=True)
class _Entry:
    models: tuple[str, ...]
    tokens: int = 0
    with_tools_tokens: int = 0
    patch: _Patch | None = None
    tile: _Tile | None = None
    crop: int | None = None
    capped: bool = True
    when: str = "always"

    def fits(self, names: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, glob) for glob in self.models for name in names)


@cache
def _table() -> Mapping[str, Any]:
    return read_table("models")


def _entries(rows: Iterable[Mapping[str, Any]]) -> tuple[_Entry, ...]:
    return tuple(
        _Entry(
            models=tuple(row["models"]),
            tokens=row.get("tokens", 0),
            with_tools_tokens=row.get("with_tools_tokens", 0),
            patch=_Patch(**row["patch"]) if "patch" in row else None,
            tile=_Tile(**row["tile"]) if "tile" in row else None,
            crop=row.get("crop"),
            capped=row.get("capped", True),
            when=row.get("when", "always"),
        )
        for row in rows
    )


@cache
def _output_limits() -> Mapping[str, tuple[_Entry, ...]]:
    limits: dict[str, tuple[_Entry, ...]] = {}
    for group in _table()["max_output"]:
        for provider in group["providers"]:
            limits[provider] = (*limits.get(provider, ()), *_entries(group["limits"]))
    return limits


@cache
def _by_family(table: str) -> Mapping[str, tuple[_Entry, ...]]:
    return {family: _entries(rows) for family, rows in _table()[table].items()}


def _names(model: str) -> tuple[str, ...]:
    """The model as it is named, without its author, and without ``ft:``; in lower case.

    Bedrock puts region and author before it: ``us.anthropic.claude-…``.
    """
    whole = model[:MAX_MODEL_CHARACTERS].lower()
    last = whole.rpartition("/")[2]
    return whole, last, last.removeprefix("ft:"), _VENDORS.sub("", last)


_VENDORS = re.compile(r"^(?:[a-z-]+\.)+", re.ASCII)


def max_output_tokens(provider: str, model: str) -> int | None:
    """The documented most that one answer of this model may hold, reasoning included.

    Args:
        provider: A name of ``providers()``; others have no table.
        model: As the provider names it.

    Returns:
        None when no limit below the context window is known.
    """
    names = _names(model)
    for entry in _output_limits().get(provider, ()):
        if entry.fits(names):
            return entry.tokens
    return None


def realtime_window(model: str) -> int | None:
    """The most that a response in a session with this model may be shown, or None."""
    names = _names(model)
    fitting = (one for one in _entries(_table()["realtime_window"]) if one.fits(names))
    found = next(fitting, None)
    return found.tokens if found is not None else None


def image_bound_tokens(dialect: Dialect, model: str, size: tuple[int, int] | None = None) -> int:
    """The most that one image may be billed.

    Args:
        dialect: Decides, with the model, which formula holds.
        model: As the call names it.
        size: Width and height in pixels where the caller read them from the image itself; the
            bound then holds for this image, else for any.
    """
    entry = _bound("images", dialect, model)
    if size is None:
        return entry.tokens
    billed = entry.tokens
    if entry.patch is not None:
        squares = _squares(size, entry.patch.pixels)
        billed = entry.patch.base + math.ceil(squares * entry.patch.per_patch)
    elif entry.tile is not None:
        billed = entry.tile.base + entry.tile.per_tile * _tiles(size)
    elif entry.crop is not None:
        billed = entry.crop * _crops(size)
    return min(billed, entry.tokens) if entry.capped else billed


def _squares(size: tuple[float, float], side: float) -> int:
    return math.ceil(size[0] / side) * math.ceil(size[1] / side)


def _tiles(size: tuple[int, int]) -> int:
    """Squares of 512 after scaling into 2048 by 2048 and then to 768 on the shorter side.

    It is not said whether a small image is scaled up; the larger number counts.
    Source: https://platform.openai.com/docs/guides/images-vision#calculating-costs
    """
    fit = min(1.0, 2048 / max(size))
    whole = (size[0] * fit, size[1] * fit)
    down, up = min(1.0, 768 / min(whole)), 768 / min(whole)
    return max(_squares((whole[0] * by, whole[1] * by), 512) for by in (down, up))


def _crops(size: tuple[int, int]) -> int:
    """Tiles that Gemini cuts: one up to 384 pixels, else by 768 or by the shorter side over 1.5.

    Two pages tell it differently; the larger number counts, and one more for the whole.
    Source: https://ai.google.dev/gemini-api/docs/tokens,
    https://ai.google.dev/gemini-api/docs/image-understanding
    """
    if max(size) <= 384:
        return 1
    unit = max(1, min(size) * 2 // 3)
    return 1 + max(_squares(size, 768), _squares(size, unit))


def hidden_input_tokens(dialect: Dialect, model: str, tools: bool) -> int:
    """The most prompt tokens that a provider adds and bills without their being in the request.

    Args:
        dialect: Decides, with the model, which prompts there are.
        model: As the call names it.
        tools: Whether the call offers any tool, the client's own or the provider's.
    """
    entry = _bound("hidden_input", dialect, model)
    return entry.tokens + (entry.with_tools_tokens if tools else 0)


def hides_reasoning(dialect: Dialect, model: str, asked: bool = True) -> bool:
    """Whether the model may bill output that its answer does not show.

    Args:
        dialect: Decides, with the model, what is known.
        model: As the call names it.
        asked: Whether the call asks for reasoning; some models reason only then.
    """
    when = _bound("hidden_reasoning", dialect, model).when
    return when == "always" or (when == "asked" and asked)


def _bound(table: str, dialect: Dialect, model: str) -> _Entry:
    names = _names(model)
    return next(entry for entry in _by_family(table)[_FAMILY[dialect]] if entry.fits(names))
