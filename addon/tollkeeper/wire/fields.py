"""Reading one field of a request: its value in the type it must have, or one clear sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tollkeeper.errors import WireError

MAX_COUNT: Final = 1 << 40
"""No provider counts further; beyond it a number is a mistake or an attack."""


def shown(said: object) -> str:
    """What a client calls something, for a sentence: short, on one line, and nothing but text."""
    if not isinstance(said, str):
        return "of no type"
    return said[:64] if said.isascii() and said.isprintable() else json.dumps(said[:64])


def text(body: Mapping[str, Any], key: str) -> str | None:
    """A text that is not empty, or None when missing or null."""
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise WireError(f"{key} must be text that is not empty.")
    return value


def flag(body: Mapping[str, Any], key: str) -> bool:
    """``true`` or ``false``; missing and null are ``false``."""
    value = body.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise WireError(f"{key} must be true or false.")
    return value


def count(body: Mapping[str, Any], key: str, least: int = 1) -> int | None:
    """A whole number from ``least`` up, or None when missing or null."""
    value = body.get(key)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= MAX_COUNT:
        raise WireError(f"{key} must be a whole number of at least {least}.")
    return value


def items(body: Mapping[str, Any], key: str) -> list[Any]:
    """A list, empty when missing or null."""
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise WireError(f"{key} must be a list.")
    return value


def objects(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects, empty when missing or null."""
    values = items(body, key)
    for value in values:
        if not isinstance(value, dict):
            raise WireError(f"{key} must be a list of objects.")
    return values


def mapping(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object, empty when missing or null."""
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError(f"{key} must be an object.")
    return value


def name_of(tool: Mapping[str, Any], where: str = "tools") -> str:
    """The name of a tool, which must be there."""
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise WireError(f"A tool in {where} has no name.")
    return name


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names once each, in order."""
    return tuple(dict.fromkeys(names))


def words(listed: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(listed.split())
