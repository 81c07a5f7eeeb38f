"""Strict reading of JSON bodies, and edits that leave every other byte as it was.

What two readers could understand differently is refused, because then what was judged would not be
what the provider runs: encodings other than UTF-8, a byte-order mark, duplicate keys at any depth,
``NaN`` and ``Infinity``, numbers that overflow, anything but an object at the top; half of a
surrogate pair is found when its text is first encoded (``encoded``).
"""

from __future__ import annotations

import json
import json.decoder
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tollkeeper.canonical import canonical_encoder
from tollkeeper.errors import WireError

MAX_DEPTH: Final = 128
"""Providers' own limits on schemas and contents lie far below; recursion over this is safe."""

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Twice the policy's default ``body_limit_bytes``; the last bound, whatever a policy says."""

_scanstring: Callable[[str, int, bool], tuple[str, int]] = vars(json.decoder)["scanstring"]
_space = re.compile(r"[ \t\n\r]*").match


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: its value and where the value stands in the text (characters)."""

    value: Any
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """A body as it was read.

    Attributes:
        text: The whole body, decoded.
        members: The members of the top-level object, in order.
        opens: Where the top-level object's first member would stand (after the brace).
    """

    text: str
    members: Mapping[str, Member]
    opens: int

    def values(self) -> dict[str, Any]:
        """The top-level object as plain values."""
        return {key: member.value for key, member in self.members.items()}


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise WireError(f"The body has the key {_shown(twice)} twice in one object; send it once.")
    return values


def _constant(name: str) -> Any:
    raise WireError(f"The body has {name}, which is not JSON.")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise WireError("The body has a number that is too large to read.")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)
_scan: Callable[[str, int], tuple[Any, int]] = vars(_decoder)["scan_once"]


def _shown(key: str) -> str:
    return json.dumps(key[:40])


def read(body: bytes) -> Document:
    """Read a body whose top level must be an object.

    Raises:
        WireError: One sentence about the first thing that is wrong.
    """
    if len(body) > MAX_BODY_BYTES:
        raise WireError(f"The body is larger than {MAX_BODY_BYTES} bytes.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as e:
        raise WireError(f"The body is not UTF-8 (byte {e.start}).") from e
    try:
        start = _space(text).end()  # type: ignore[union-attr]
        if text[start : start + 1] != "{":
            raise WireError(_not_an_object(text))
        members, end = _object(text, start)
    except (ValueError, StopIteration) as e:
        raise WireError(f"The body is not valid JSON: {_why(e)}.") from e
    except RecursionError as e:
        raise WireError(f"The body is nested deeper than {MAX_DEPTH} levels.") from e
    if _space(text, end).end() != len(text):  # type: ignore[union-attr]
        raise WireError("The body goes on after the end of its JSON object.")
    _check_depth(members)
    return Document(text, members, start + 1)


def _not_an_object(text: str) -> str:
    if not text:
        return "The body is empty; a JSON object was expected."
    if text[0] == "\ufeff":
        return "The body begins with a byte-order mark; send plain UTF-8."
    return "The body is not a JSON object."


def _why(e: Exception) -> str:
    if isinstance(e, json.JSONDecodeError):
        return f"{e.msg} at character {e.pos}"
    if isinstance(e, StopIteration):
        return f"a value was expected at character {e.value}"
    return "a number has too many digits"


def _object(text: str, start: int) -> tuple[dict[str, Member], int]:
    """Members of the object whose brace is at ``start``, and the place after its end."""
    members: dict[str, Member] = {}
    at = _space(text, start + 1).end()  # type: ignore[union-attr]
    if text[at : at + 1] == "}":
        return members, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting a key in double quotes", text, at)
        key, at = _scanstring(text, at + 1, True)
        at = _space(text, at).end()  # type: ignore[union-attr]
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, at)
        at = _space(text, at + 1).end()  # type: ignore[union-attr]
        value, end = _scan(text, at)
        if key in members:
            _pairs([(key, None), (key, None)])
        members[key] = Member(value, at, end)
        at = _space(text, end).end()  # type: ignore[union-attr]
        mark = text[at : at + 1]
        if mark == "}":
            return members, at + 1
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' or '}'", text, at)
        at = _space(text, at + 1).end()  # type: ignore[union-attr]


def _check_depth(members: Mapping[str, Member]) -> None:
    level: list[Any] = [m.value for m in members.values() if type(m.value) in (dict, list)]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
    raise WireError(f"The body is nested deeper than {MAX_DEPTH} levels.")


canonical = canonical_encoder(ascii_only=False)
"""One text for all bodies that say the same: sorted keys, no spaces, no needless escapes."""


def encoded(text: str) -> bytes:
    """The text in UTF-8.

    Raises:
        WireError: For half of a surrogate pair, which JSON can escape and no text can hold.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as e:
        raise WireError("The body has half of a surrogate pair, which no text can hold.") from e


def splice(document: Document, edits: Mapping[tuple[str, ...], Any]) -> bytes:
    """The body with members set, every byte outside of them identical.

    Args:
        document: The body as read.
        edits: New values by path of one or two keys, ``("stream_options", "include_usage")``. A
            missing member is put in at the end of its object; where the outer member is missing or
            null, it is made.

    Raises:
        WireError: When the outer member of a path of two is not an object.
    """
    changes = _changes(document.text, document.members, document.opens, edits)
    text = document.text
    for start, end, new in sorted(changes, key=lambda change: change[0], reverse=True):
        text = text[:start] + new + text[end:]
    return text.encode("utf-8")


def _changes(
    text: str, members: Mapping[str, Member], opens: int, edits: Mapping[tuple[str, ...], Any]
) -> list[tuple[int, int, str]]:
    """``(start, end, new text)`` of every edit to one object; no two of them overlap."""
    changes: list[tuple[int, int, str]] = []
    added: list[str] = []
    for key in dict.fromkeys(path[0] for path in edits):
        inner = {path[1:]: value for path, value in edits.items() if path[0] == key}
        member = members.get(key)
        if () not in inner and member is not None and member.value is not None:
            if not isinstance(member.value, dict):
                raise WireError(f"{key} must be an object.")
            nested, _ = _object(text, member.start)
            changes += _changes(text, nested, member.start + 1, inner)
            continue
        new = json.dumps(inner[()] if () in inner else {path[0]: v for path, v in inner.items()})
        if member is not None:
            changes.append((member.start, member.end, new))
        else:
            added.append(f"{json.dumps(key)}: {new}")
    if added:
        at = max((m.end for m in members.values()), default=opens)
        changes.append((at, at, (", " if members else "") + ", ".join(added)))
    return changes
