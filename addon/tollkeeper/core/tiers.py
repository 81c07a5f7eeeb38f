"""Which tier a model belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

_DATED: Final = re.compile(r"[-@:](20\d{2}-?\d{2}-?\d{2}|\d{4}|latest)$", re.ASCII)
"""Release dates as providers append them: ``-2024-08-06``, ``-20250929``, ``-0125``, ``@20250929``."""


def base_name(model: str) -> str:
    """The model's name without provider prefix (``models/``, ``vendor/``) and release date."""
    return _DATED.sub("", model.rpartition("/")[2])


def model_names(model: str) -> tuple[str, ...]:
    """The names that a model counts by, in small letters: as written, without vendor, without date.

    Providers that ignore letter case would else be asked for a model past the rules on it.
    """
    name = model.lower()
    return tuple(dict.fromkeys((name, name.rpartition("/")[2], base_name(name))))


def fits_model(names: Iterable[str], globs: Iterable[str]) -> bool:
    """Whether one of these names, in small letters, is or fits one that the owner wrote."""
    folded = [glob.lower() for glob in globs]
    return any(name == glob or fnmatchcase(name, glob) for name in names for glob in folded)


def tier_of(tiers: Mapping[str, tuple[str, ...]], model: str) -> str | None:
    """The first tier, cheapest first, that names the model or whose glob fits it; else None.

    A dated name belongs to its base name. A name as written beats a glob, so that
    ``claude-opus-*`` in one tier leaves room for a single exception in another.
    """
    names = model_names(model)
    for tier, globs in tiers.items():
        if any(glob.lower() in names for glob in globs):
            return tier
    return next((tier for tier, globs in tiers.items() if fits_model(names, globs)), None)
