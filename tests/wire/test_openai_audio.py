from __future__ import annotations

import pytest

from tollkeeper.domain import Usage
from tollkeeper.errors import WireError
from tollkeeper.wire.openai_audio import characters_of
from wire.asking import asked, sent
from wire.test_audio_length import wav

HEARD = "/v1/audio/transcriptions"
SPOKEN = "/v1/audio/speech"


@pytest.mark.parametrize(("text", "count"), [("abc", 3), ("é€", 2), ("\U0001f600", 2)])
def test_characters_count_as_the_provider_may_count_them(text: str, count: int) -> None:
    call = asked(SPOKEN, {"model": "tts-1", "input": text, "voice": "alloy"})

    assert characters_of(text) == count
    assert call.most == Usage(characters=count)
    assert call.features == {"audio_out"}
    assert call.tokens_unbounded == "the speech that it makes"


def test_a_recording_is_as_long_as_its_bytes_say() -> None:
    by_length = sent(HEARD, ("model", "whisper-1"), ("file", wav(2)))
    by_tokens = sent(HEARD, ("model", "gpt-4o-transcribe"), ("file", wav(65)), ("prompt", "x" * 99))

    assert by_length.most is not None
    assert 2000 <= by_length.most.audio_milliseconds <= 3100
    assert by_length.tokens_unbounded == "the recording"
    assert by_tokens.tokens_unbounded is None
    assert by_tokens.extra_output_tokens == 3 * 2000
    assert by_tokens.head_bound_tokens >= 65 * 32 + 99


@pytest.mark.parametrize("file", [b"fLaC", b"\0\0\0\x20ftypM4A ", b""])
def test_a_recording_that_does_not_say_how_long_it_is_has_no_bound(file: bytes) -> None:
    call = sent(HEARD, ("model", "gpt-4o-transcribe"), ("file", file))

    assert call.most is None
    assert call.tokens_unbounded == "how long the recording lasts"


def test_a_recording_elsewhere_or_besides_another_has_no_bound() -> None:
    link = sent(HEARD, ("model", "whisper-large-v3"), ("url", "https://x.example/a.wav"))
    kept = sent(HEARD, ("model", "m"), ("file_id", "file-1"))
    both = sent(HEARD, ("model", "m"), ("file", wav(1)), ("url", "https://x.example/b.wav"))

    assert link.most is kept.most is both.most is None
    assert kept.stored == "file_id"


def test_what_a_provider_bills_at_least_is_reserved() -> None:
    call = sent(
        "/openai/v1/audio/transcriptions", ("model", "w"), ("file", wav(0.1)), provider="groq"
    )

    assert call.most == Usage(audio_milliseconds=10_000)


@pytest.mark.parametrize(
    "fields",
    [
        (("model", "m"),),
        (("file", b"RIFF"),),
        (("model", "m"), ("file", "no file")),
        (("model", "m"), ("model", "dear"), ("file", b"RIFF")),
        (("model", b"m"), ("file", b"RIFF")),
        (("model", "m"), ("file", b"RIFF"), ("file", b"RIFF")),
    ],
)
def test_what_is_missing_or_there_twice_is_refused(
    fields: tuple[tuple[str, str | bytes], ...],
) -> None:
    with pytest.raises(WireError):
        sent(HEARD, *fields)


def test_a_recording_in_json_is_refused() -> None:
    with pytest.raises(WireError, match="multipart/form-data"):
        asked(HEARD, {"model": "m", "file": "x"})
