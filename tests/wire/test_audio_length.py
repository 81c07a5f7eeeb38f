"""A recording is never longer than what is counted, and what does not say is not guessed."""

from __future__ import annotations

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.wire.audio_length import most_milliseconds


def wav(seconds: float, hertz: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(hertz)
        out.writeframes(b"\0" * int(seconds * hertz) * channels * width)
    return held.getvalue()


def mp3(frames: int, header: str = "fffb9000", size: int = 417) -> bytes:
    """128 kbit/s at 44.1 kHz unless told otherwise: 26.12 ms a frame."""
    return (bytes.fromhex(header) + b"\0" * (size - 4)) * frames


def opus(packets: list[bytes], serial: int = 7) -> bytes:
    head, tags = b"OpusHead" + b"\x01\x01" + b"\0" * 9, b"OpusTags" + b"\0" * 8
    out = b""
    for number, packet in enumerate([head, tags, *packets]):
        lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        out += b"OggS\0\0" + b"\xff" * 8 + struct.pack("<III", serial, number, 0)
        out += bytes([len(lacing)]) + lacing + packet
    return out


@given(
    st.floats(0, 3),
    st.sampled_from([8000, 16_000, 44_100]),
    st.integers(1, 2),
    st.sampled_from([1, 2, 4]),
)
def test_a_wav_is_never_longer_than_counted(
    seconds: float, hertz: int, channels: int, width: int
) -> None:
    most = most_milliseconds(wav(seconds, hertz, channels, width))

    assert most is not None
    assert int(seconds * hertz) * 1000 / hertz <= most <= seconds * 1000 + 1010


def test_a_wav_whose_header_does_not_agree_with_itself_says_nothing() -> None:
    good = wav(1)
    slow = bytearray(good)
    slow[24:28] = struct.pack("<I", 1)
    twice = good[:36] + b"fmt \x10\0\0\0" + good[20:36] + good[36:]
    compressed = bytearray(good)
    compressed[20:22] = struct.pack("<H", 2)

    assert most_milliseconds(bytes(slow)) is None
    assert most_milliseconds(twice) is None
    assert most_milliseconds(bytes(compressed)) is None
    assert most_milliseconds(good[:40]) is None


def test_a_slow_wav_is_as_long_as_it_says() -> None:
    slow = wav(10, hertz=10)

    most = most_milliseconds(slow)

    assert most is not None
    assert most >= 10_000


def test_the_frames_of_an_mp3_are_added_up() -> None:
    tag = b"ID3\x04\0\0\0\0\0\x05" + b"\0" * 5

    most = most_milliseconds(tag + mp3(100) + b"TAG" + b"\0" * 125)

    assert most == int(100 * 1152 / 44.1) + 1000


@pytest.mark.parametrize(
    "data",
    [
        mp3(10) + b"garbage" * 9,
        mp3(1)[:2],
        b"\xff\xff\xff\xff" * 40,
        b"ID3\x04\0\0\xff\xff\xff\xff",
    ],
)
def test_an_mp3_with_anything_else_in_it_says_nothing(data: bytes) -> None:
    assert most_milliseconds(data) is None


@pytest.mark.parametrize(
    ("packet", "milliseconds"),
    [
        (bytes([19 << 3]) + b"x" * 40, 20),
        (bytes([3 << 3 | 1]) + b"x" * 300, 120),
        (bytes([16 << 3 | 3, 0x80 | 48]) + b"x", 120),
        (bytes([15 << 3]), 20),
        (bytes([0]) + b"x" * 255, 10),
    ],
)
def test_every_packet_of_opus_says_how_long_it_is(packet: bytes, milliseconds: int) -> None:
    assert most_milliseconds(opus([packet] * 50)) == 50 * milliseconds + 1000


def test_ogg_that_is_not_one_stream_of_opus_says_nothing() -> None:
    one = opus([bytes([19 << 3])] * 3)

    assert most_milliseconds(one + opus([bytes([19 << 3])], serial=8)) is None
    assert most_milliseconds(one.replace(b"OpusHead", b"\x01vorbis\0")) is None
    assert most_milliseconds(one[:-1]) is None
    assert most_milliseconds(opus([])) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"fLaC" + b"\0" * 60, b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3webm", b"RIFFxxxxAVI "],
)
def test_what_ties_no_time_to_bytes_says_nothing(data: bytes) -> None:
    assert most_milliseconds(data) is None


@given(
    st.sampled_from([b"RIFF0000WAVEfmt ", b"OggS\0", b"ID3", b"\xff\xfb"]), st.binary(max_size=200)
)
def test_any_bytes_give_a_length_or_none(head: bytes, rest: bytes) -> None:
    most = most_milliseconds(head + rest)

    assert most is None or most >= 1000
