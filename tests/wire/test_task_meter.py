"""Meters pass every byte on and read what was used, whatever the chunks."""

from __future__ import annotations

import pytest

from tollkeeper.domain import Usage
from tollkeeper.wire.task_meter import LineSplitter, meter
from wire.asking import asked, sent
from wire.test_audio_length import wav

SPEECH = asked("/v1/audio/speech", {"model": "tts-1", "input": "hello", "voice": "a"})
HEARD = sent("/v1/audio/transcriptions", ("model", "whisper-1"), ("file", wav(1)))
OLLAMA = asked("/api/generate", {"model": "m", "prompt": "x"}, "ollama-cloud")


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/octet-stream", "audio/wav; rate=1"])
def test_speech_costs_what_the_request_said(kind: str) -> None:
    counting = meter(SPEECH, kind)

    assert counting.usage is None
    assert counting.feed(b"\xff\xf3") == b"\xff\xf3"
    assert not counting.done
    counting.finish()

    assert (counting.usage, counting.done) == (Usage(characters=5), True)


@pytest.mark.parametrize(
    ("call", "kind"), [(SPEECH, "text/html"), (HEARD, "text/plain"), (HEARD, "audio/mpeg")]
)
def test_a_page_or_plain_text_says_nothing(call: object, kind: str) -> None:
    counting = meter(call, kind)  # type: ignore[arg-type]
    counting.feed(b"<html>")
    counting.finish()

    assert counting.usage is None


@pytest.mark.parametrize(
    "body", [b'{"error": {"message": "no"}, "duration": 9}', b"{", b"[]", b"\xff", b""]
)
def test_an_error_or_a_broken_document_bills_nothing(body: bytes) -> None:
    counting = meter(HEARD, "application/json")
    counting.feed(body)
    counting.finish()

    assert counting.usage is None


def test_a_stream_that_is_cut_has_no_end_and_counts_what_was_seen() -> None:
    counting = meter(OLLAMA, "application/x-ndjson")
    line = b'{"model":"m","response":"so it is","done":false}\n'

    for at in range(len(line)):
        counting.feed(line[at : at + 1])
    counting.finish()

    assert (counting.done, counting.usage) == (False, None)
    assert counting.seen_output_tokens_bound >= len(b"so it is")


def test_lines_come_out_as_they_went_in() -> None:
    splitter = LineSplitter()

    events = [*splitter.feed(b"{}\n{"), *splitter.feed(b'"a":1}\n\n{"b"'), splitter.rest()]

    assert b"".join(raw for raw, _ in events) == b'{}\n{"a":1}\n\n{"b"'
    assert [payload for _, payload in events] == [b"{}", b'{"a":1}', b"", b'{"b"']
