from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.wire.image import size_of


def png(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
        + width.to_bytes(4)
        + height.to_bytes(4)
        + b"\x08\x06\0\0\0"
        + b"\0" * 40
    )


def jpeg(width: int, height: int, before: bytes = b"\xff\xe0\0\x10JFIF" + b"\0" * 10) -> bytes:
    frame = b"\xff\xc0\0\x11\x08" + height.to_bytes(2) + width.to_bytes(2) + b"\x03" + b"\0" * 20
    return b"\xff\xd8" + before + frame


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + body + b"\0" * 20


def thumbnail() -> bytes:
    """An application segment that holds a whole small JPEG."""
    inner = b"Exif\0\0" + jpeg(16, 16)
    return b"\xff\xe1" + (len(inner) + 2).to_bytes(2) + inner


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), (640, 480)),
        (jpeg(1024, 768), (1024, 768)),
        (jpeg(1024, 768, thumbnail()), (1024, 768)),
        (jpeg(1024, 768, b"\xff\xe2\xff\xff" + b"x" * 65533), (1024, 768)),
        (jpeg(1024, 0), None),
        (
            webp(
                b"VP8X", b"\x10\0\0\0" + (799).to_bytes(3, "little") + (599).to_bytes(3, "little")
            ),
            (800, 600),
        ),
        (webp(b"VP8L", b"\x2f" + (99 | 49 << 14).to_bytes(4, "little") + b"\0" * 6), (100, 50)),
        (
            webp(
                b"VP8 ",
                b"\0\0\0\x9d\x01\x2a" + (320).to_bytes(2, "little") + (200).to_bytes(2, "little"),
            ),
            (320, 200),
        ),
        (b"GIF89a\x10\0\x10\0", None),
        (b"%PDF-1.7", None),
        (b"", None),
        (png(0, 5), None),
    ],
)
def test_the_size_is_read_where_the_header_decides_it(
    data: bytes, size: tuple[int, int] | None
) -> None:
    text = base64.b64encode(data + b"\0" * (-len(data) % 3)).decode()

    assert size_of(text) == size
    assert size_of(f"data:image/png;base64,{text}") == size


@pytest.mark.parametrize(
    "text", ["data:image/png,xx", "data:image/png;base64", "!!!!", "https://x/y.png"]
)
def test_what_is_no_base64_has_no_known_size(text: str) -> None:
    assert size_of(text) is None


@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF....WEBPVP8X"]),
)
def test_no_bytes_make_it_fail(noise: bytes, start: bytes) -> None:
    size = size_of(base64.b64encode(start + noise).decode())

    assert size is None or min(size) > 0


def test_a_small_image_is_bounded_by_its_own_size(parse) -> None:
    def bounded(data: bytes) -> int:
        url = "data:image/png;base64," + base64.b64encode(data).decode()
        part = {"type": "image_url", "image_url": {"url": url}}
        return int(
            parse("chat", model="gpt-5.6", messages=[{"role": "user", "content": [part]}])
            .turns[0]
            .bound_tokens
        )

    assert bounded(png(64, 64)) < 200 < bounded(png(2048, 2048)) < bounded(b"GIF89a")
