"""Strict reading of ``multipart/form-data``, and the edit of one text field.

Servers differ in what they make of a sloppy form: the last or the first of two equal fields, names in
percent escapes or in RFC 5987 spelling, a preamble, bare line feeds, folded headers. Whatever two of
them could read differently is refused here, so that the form that was judged is the one that runs.

Source: https://www.rfc-editor.org/rfc/rfc7578, https://www.rfc-editor.org/rfc/rfc2046#section-5.1
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tollkeeper.errors import WireError

MAX_PARTS: Final = 64
"""Sixteen images with a mask and some options are the largest form known."""

MAX_HEAD_BYTES: Final = 2048
"""Of one part; a disposition with a file's name takes about a hundred."""

MAX_TEXT_BYTES: Final = 256 * 1024
"""Of one text field: prompts end at 32,000 characters."""

_CONTENT_TYPE: Final = re.compile(
    r"multipart/form-data[ \t]*;[ \t]*boundary=(?:\"([^\"\\]{1,70})\"|([^\s\";,]{1,70}))",
    re.IGNORECASE,
)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_DISPOSITION: Final = re.compile(
    r"form-data;[ \t]*name=\"(?P<name>[A-Za-z_][\w.-]{0,63}(?:\[\w*\])?)\""
    r"(?P<file>;[ \t]*filename=\"[^\"\\\r\n\x00]{0,255}\")?",
    re.ASCII,
)
NO_LISTS: Final[frozenset[str]] = frozenset()
_ENCODINGS: Final = frozenset({"7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form.

    Attributes:
        start: Where its content begins in the body.
        is_file: Whether it came with a file's name.
        kind: Its content type in lower case, without parameters; empty when it has none.
    """

    name: str
    content: bytes
    start: int
    is_file: bool
    kind: str

    def text(self) -> str:
        """The content of a text field.

        Raises:
            WireError: A file, too long, or not UTF-8.
        """
        if self.is_file:
            raise WireError(f"{self.name} must be a plain field of the form, not a file.")
        if len(self.content) > MAX_TEXT_BYTES:
            raise WireError(f"{self.name} has more than {MAX_TEXT_BYTES} bytes.")
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError as e:
            raise WireError(f"{self.name} is not UTF-8.") from e


@dataclass(frozen=True, slots=True)
class Form:
    """A whole form: no plain field twice, and no field both as ``name`` and as ``name[]``."""

    parts: tuple[Part, ...]

    def texts(self) -> dict[str, str]:
        """The text fields that may stand only once, by name."""
        return {p.name: p.text() for p in self.parts if not p.is_file and "[" not in p.name}

    def files(self, *names: str) -> list[Part]:
        """The files of the fields so named, ``[]`` or not."""
        wanted = {*names, *(f"{name}[]" for name in names)}
        return [part for part in self.parts if part.name in wanted and part.is_file]

    def names(self) -> tuple[str, ...]:
        """Every field's name once, without brackets."""
        return tuple(dict.fromkeys(part.name.partition("[")[0] for part in self.parts))


def is_form(content_type: str) -> bool:
    """Whether a body says that it is a form, well or badly."""
    return content_type.strip().lower().startswith("multipart/")


def read_form(content_type: str, body: bytes, lists: frozenset[str] = NO_LISTS) -> Form:
    """Read a form.

    Args:
        content_type: The header as it came.
        lists: Fields that may have several values, as ``name[]``, or members, as ``name[key]``.

    Raises:
        WireError: One sentence about the first thing that is wrong or ambiguous.
    """
    mark = b"--" + _boundary(content_type)
    if not body.startswith(mark + b"\r\n"):
        raise WireError("The form does not begin with its boundary.")
    pieces, at = body.split(b"\r\n" + mark), 0
    if pieces.pop() not in (b"--", b"--\r\n"):
        raise WireError("The form does not end with its boundary.")
    if len(pieces) > MAX_PARTS:
        raise WireError(f"The form has more than {MAX_PARTS} fields.")
    parts = []
    for number, piece in enumerate(pieces):
        skipped = len(mark) if number == 0 else 0
        if piece[skipped : skipped + 2] != b"\r\n" or b"\n" + mark in piece:
            raise WireError("The form's boundary also stands inside of a field.")
        parts.append(_part(piece, skipped + 2, at))
        at += len(piece) + 2 + len(mark)
    return _checked(parts, lists)


def with_text(
    content_type: str, body: bytes, name: str, value: str, lists: frozenset[str]
) -> bytes:
    """The form with one text field set anew, every other byte as it was.

    Raises:
        WireError: When the form has no such field.
    """
    for part in read_form(content_type, body, lists).parts:
        if part.name == name and not part.is_file:
            end = part.start + len(part.content)
            return body[: part.start] + value.encode() + body[end:]
    raise WireError(f"The form has no field {name}.")


def _boundary(content_type: str) -> bytes:
    found = _CONTENT_TYPE.fullmatch(content_type.strip())
    boundary = (found[1] or found[2]) if found else ""
    if not _BOUNDARY.fullmatch(boundary):
        raise WireError(
            "The content type must be multipart/form-data with one boundary and nothing else."
        )
    return boundary.encode("ascii")


def _part(piece: bytes, start: int, offset: int) -> Part:
    end = piece.find(b"\r\n\r\n", start, start + MAX_HEAD_BYTES)
    if end < 0:
        raise WireError(f"A field of the form has no header, or one over {MAX_HEAD_BYTES} bytes.")
    headers = _headers(piece[start:end])
    found = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if found is None:
        raise WireError(
            'A field of the form must be named as form-data; name="…" and at most filename="…".'
        )
    if headers.get("content-transfer-encoding", "binary").lower() not in _ENCODINGS:
        raise WireError("A field of the form is encoded; send it as it is.")
    content = piece[end + 4 :]
    if headers.get("content-length", str(len(content))) != str(len(content)):
        raise WireError("A field of the form has another length than it says.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Part(found["name"], content, offset + end + 4, found["file"] is not None, kind)


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError as e:
        raise WireError("A header of a field of the form is not UTF-8.") from e
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not re.fullmatch(r"content-[a-z-]{1,32}", name) or name in headers:
            raise WireError(
                "A field of the form has a header that is unknown, folded or there twice."
            )
        if "\r" in value or "\n" in value or "\x00" in value:
            raise WireError("A header of a field of the form is broken.")
        headers[name] = value.strip(" \t")
    unknown = headers.keys() - {
        "content-disposition",
        "content-type",
        "content-transfer-encoding",
        "content-length",
    }
    if unknown:
        raise WireError("A field of the form has a header that is unknown, folded or there twice.")
    return headers


def _checked(parts: list[Part], lists: frozenset[str]) -> Form:
    seen: dict[str, str] = {}
    whole: set[str] = set()
    for part in parts:
        bare, bracket, _ = part.name.lower().partition("[")
        if bracket and bare not in lists:
            raise WireError(f"{part.name}: {bare} is one value; send it once and without brackets.")
        twice = part.name.lower() in whole and not part.name.endswith("[]")
        if twice or seen.setdefault(bare, bracket) != bracket:
            raise WireError(
                f"The form has the field {bare} twice; send it once, or all as {bare}[]."
            )
        whole.add(part.name.lower())
    return Form(tuple(parts))
