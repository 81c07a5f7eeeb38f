"""How large an inline image is, read from its first bytes, because that is what it is billed by.

Only formats whose header the decoder must obey are read; of anything else, or anything odd, the
size is unknown and the caller takes the bound for any image.

Source: https://www.w3.org/TR/png-3/#11IHDR, https://www.w3.org/Graphics/JPEG/itu-t81.pdf (B.2.2),
https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

_HEAD_CHARACTERS: Final = 4096
_JPEG_CHARACTERS: Final = 512 * 1024
"""Profiles and thumbnails (up to 64 kB each) stand before a JPEG's frame header."""

_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def size_of(data: str) -> tuple[int, int] | None:
    """Width and height in pixels of an image in base64, or None when they cannot be told.

    Args:
        data: Base64, with or without ``data:image/…;base64,`` in front.
    """
    start = 0
    if data[:5].lower() == "data:":
        comma = data.find(",", 0, 256)
        if comma < 0 or not data[:comma].lower().endswith(";base64"):
            return None
        start = comma + 1
    head = _decoded(data[start : start + _HEAD_CHARACTERS])
    if head[:3] == b"\xff\xd8\xff":
        return _sane(_jpeg(_decoded(data[start : start + _JPEG_CHARACTERS])))
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR":
        return _sane((int.from_bytes(head[16:20]), int.from_bytes(head[20:24])))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _sane(_webp(head))
    return None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text[: len(text) // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _sane(size: tuple[int, int] | None) -> tuple[int, int] | None:
    return size if size is not None and min(size) > 0 else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """The frame header's size; segments before it are skipped by their lengths."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _FRAME_HEADERS:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width), int.from_bytes(height)
        elif marker in (0x01, *range(0xD0, 0xDB)):
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind, body = data[12:16], data[20:]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = body[6:8], body[8:10]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    return None
