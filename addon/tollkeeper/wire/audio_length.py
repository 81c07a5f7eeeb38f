"""How long a recording may last at most, from its bytes alone; a header is not believed.

A length is told only where the format ties time to bytes so that whoever decodes the file cannot hear
more than what is counted here: plain WAV (bytes by the rate that the decoder must use), MP3 (frames
that follow each other to the end) and Opus in Ogg (each packet says how long it is). Everything else,
and everything odd, has no length: M4A and WebM say it in tables, and silence in FLAC takes no bytes.

Source: http://soundfile.sapp.org/doc/WaveFormat/, https://www.rfc-editor.org/rfc/rfc3533,
https://www.rfc-editor.org/rfc/rfc6716#section-3.1, http://www.mp3-tech.org/programmer/frame_header.html
"""

from __future__ import annotations

from typing import Final

_SECOND_MS: Final = 1000
_MOST_FRAMES: Final = 500_000
"""Nearly three hours of 20 ms; more would keep everybody else waiting while they are counted."""

_MOST_CHUNKS: Final = 64
_PCM, _FLOAT = 1, 3

_MP3_KBPS: Final = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_HERTZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

_OPUS_SILK: Final = (10, 20, 40, 60)
_OPUS_CELT_TENTHS: Final = (25, 50, 100, 200)


def most_milliseconds(data: bytes) -> int | None:
    """More than the recording lasts, or None when its bytes do not say."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav(data)
    if data[:4] == b"OggS":
        return _ogg_opus(data)
    if data[:3] == b"ID3" or data[:1] == b"\xff":
        return _mp3(data)
    return None


def _wav(data: bytes) -> int | None:
    """All bytes of the file at the rate of its one ``fmt `` chunk, which must come first."""
    if data[12:16] != b"fmt " or len(data) < 44:
        return None
    kind, channels = int.from_bytes(data[20:22], "little"), int.from_bytes(data[22:24], "little")
    hertz = int.from_bytes(data[24:28], "little")
    a_second = int.from_bytes(data[28:32], "little")
    frame, bits = int.from_bytes(data[32:34], "little"), int.from_bytes(data[34:36], "little")
    size = int.from_bytes(data[16:20], "little")
    sane = kind in (_PCM, _FLOAT) and channels and hertz and bits in (8, 16, 24, 32, 64)
    if not sane or frame != channels * bits // 8 or a_second != hertz * frame:
        return None
    if size not in (16, 18) or not _leads_to_data(data, 20 + size):
        return None
    return len(data) * _SECOND_MS // a_second + _SECOND_MS


def _leads_to_data(data: bytes, at: int) -> bool:
    """Whether the chunks from here on come to the samples before another ``fmt `` chunk."""
    for _ in range(_MOST_CHUNKS):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            return True
        if name == b"fmt " or len(name) < 4:
            return False
        at += 8 + size + size % 2
    return False


def _mp3(data: bytes) -> int | None:
    """Frames of layer III one after the other; tags may stand before and behind them."""
    at = _after_tag(data)
    total, frames = 0.0, 0
    while at < len(data):
        header = data[at : at + 4]
        if header[:3] == b"TAG" and len(data) - at == 128:
            break
        frame = _mp3_frame(header)
        frames += 1
        if frame is None or frames > _MOST_FRAMES:
            return None
        size, milliseconds = frame
        at += size
        total += milliseconds
    return int(total) + _SECOND_MS if total else None


def _after_tag(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10 or any(byte & 0x80 for byte in data[6:10]):
        return 0
    size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
    return 10 + size + (10 if data[5] & 0x10 else 0)


def _mp3_frame(header: bytes) -> tuple[int, float] | None:
    """Bytes and milliseconds of the frame that this header begins."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate, speed = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or rate in (0, 15) or speed == 3:
        return None
    kbps = _MP3_KBPS[1 if version == 3 else 2][rate - 1]
    hertz = _MP3_HERTZ[version][speed]
    samples = 1152 if version == 3 else 576
    padding = header[2] >> 1 & 1
    return samples // 8 * kbps * 1000 // hertz + padding, samples * 1000 / hertz


def _ogg_opus(data: bytes) -> int | None:
    """Every packet of the one stream, by its own first byte."""
    at, tenths, packets, stream = 0, 0, 0, b""
    rest = b""
    while at < len(data):
        head = data[at : at + 27]
        if len(head) < 27 or head[:5] != b"OggS\x00" or packets > _MOST_FRAMES:
            return None
        stream = stream or head[14:18]
        lacing = data[at + 27 : at + 27 + head[26]]
        at += 27 + head[26]
        if head[14:18] != stream or len(lacing) != head[26] or at + sum(lacing) > len(data):
            return None
        for size in lacing:
            rest += data[at : at + min(size, 2)] if len(rest) < 2 else b""
            at += size
            if size < 255:
                packets += 1
                if packets > 2:
                    tenths += _opus_tenths(rest)
                elif packets == 1 and rest != b"Op":
                    return None
                rest = b""
    return tenths // 10 + _SECOND_MS if packets > 2 else None


def _opus_tenths(packet: bytes) -> int:
    """Tenths of a millisecond in a packet: the frame's length times how many there are."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = _OPUS_SILK[config & 3] * 10
    elif config < 16:
        frame = (100, 200)[config & 1]
    else:
        frame = _OPUS_CELT_TENTHS[config & 3]
    if code == 3:
        return frame * (packet[1] & 0x3F if len(packet) > 1 else 0)
    return frame * (2 if code else 1)
