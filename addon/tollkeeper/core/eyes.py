"""What comes from elsewhere, for the eyes of a person who decides on it: whole, readable, nothing hidden."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
_MOST_MARKS: Final = 4
"""Combining marks on one letter; no script needs more, and more climb over the neighbouring lines."""
_INDENT: Final = "  "
_HEX_ROW: Final = 32


def escape(text: object, *, lines: bool = False) -> str:
    r"""Make text from elsewhere safe to show: what a terminal obeys or hides becomes ``\x1b``, ``\u202e``.

    ANSI sequences, control characters, bidirectional overrides, invisible and unassigned characters;
    so nobody can paint over, reorder or hide what a person decides on.

    Args:
        lines: Keep line breaks (for bodies); everything else is escaped all the same.
    """
    shown: list[str] = []
    marks = 0
    for character in str(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if lines and character == "\n":
            shown.append(character)
        elif category in _UNSEEN or marks > _MOST_MARKS:
            shown.append(character.encode("unicode_escape", "surrogatepass").decode("ascii"))
        else:
            shown.append(character)
    return "".join(shown)


class _Literal(str):
    """A number as it was written, so that nothing is rounded on the way to the eye."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """An object's members in order, doubles included."""


def readable(body: bytes) -> list[str]:
    """The whole body as escaped lines: JSON indented, other text as it is, other bytes in hex.

    JSON keeps its order, doubled keys and the digits of numbers; only white space between the
    parts and the way that characters are written change.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return [body[i : i + _HEX_ROW].hex(" ", 4) for i in range(0, len(body), _HEX_ROW)]
    try:
        value = json.loads(
            text, parse_float=_Literal, parse_int=_Literal, parse_constant=_Literal,
            object_pairs_hook=_Members,
        )  # fmt: skip
        lines = list(_lines(value, "", ""))
    except (ValueError, RecursionError):
        lines = text.split("\n")
    return [escape(line) for line in lines]


def _lines(value: Any, indent: str, head: str, tail: str = "") -> Iterator[str]:
    deeper = indent + _INDENT
    if isinstance(value, _Members) and value:
        yield f"{indent}{head}{{"
        for number, (key, item) in enumerate(value, 1):
            yield from _lines(item, deeper, f"{_text(key)}: ", "," if number < len(value) else "")
        yield f"{indent}}}{tail}"
    elif isinstance(value, list) and value and not isinstance(value, _Members):
        yield f"{indent}{head}["
        for number, item in enumerate(value, 1):
            yield from _lines(item, deeper, "", "," if number < len(value) else "")
        yield f"{indent}]{tail}"
    else:
        yield f"{indent}{head}{_scalar(value)}{tail}"


def _scalar(value: Any) -> str:
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, _Members):
        return "{}"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
