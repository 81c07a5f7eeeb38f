"""Meters pass every byte on and read what was used, whatever the chunks."""

from __future__ import annotations

import json

import pytest

from tollkeeper.domain import Call, Usage
from tollkeeper.wire.meter import StreamMeter
from tollkeeper.wire.sse import LineSplitter
from tollkeeper.wire.task_meter import meter
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


COHERE = asked("/v2/chat", {"model": "command-r", "messages": [], "stream": True}, "cohere")
WRITTEN = sent(
    "/v1/audio/transcriptions", ("model", "gpt-4o-transcribe"), ("file", wav(1)), ("stream", "true")
)


@pytest.mark.parametrize(
    ("call", "kind", "event", "words"),
    [
        (OLLAMA, "application/x-ndjson", {"response": "one two "}, 2),
        (OLLAMA, "application/x-ndjson", {"message": {"content": "one", "thinking": "two "}}, 1),
        (COHERE, "text/event-stream", {"type": "content-delta", "delta": {"message": {"content": {"text": "one two "}}}}, 2),
        (COHERE, "text/event-stream", {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "one two "}}}, 2),
        (COHERE, "application/stream+json", {"event_type": "text-generation", "text": "one two "}, 2),
        (COHERE, "application/stream+json", {"event_type": "stream-end", "response": {"text": "one two"}}, 0),
        (WRITTEN, "text/event-stream", {"type": "transcript.text.delta", "delta": "one two "}, 2),
    ],
)  # fmt: skip
def test_words_that_were_written_are_counted_and_end_a_stream_that_outgrows(
    call: Call, kind: str, event: dict[str, object], words: int
) -> None:
    data = json.dumps(event).encode() + b"\n"
    data = b"data: " + data + b"\n" if kind == "text/event-stream" else data
    counting = meter(call, kind)
    assert isinstance(counting, StreamMeter)
    counting.outgrows = lambda _, least: least > words

    passed = counting.feed(data) + counting.feed(data + data)

    assert counting.seen_output_tokens_least >= words
    assert counting.outgrown is (words > 0)
    assert passed == data * (2 if words else 3)


def test_speech_that_comes_as_events_is_counted_by_its_bytes_alone() -> None:
    spoken = asked(
        "/v1/audio/speech",
        {"model": "gpt-4o-mini-tts", "input": "x", "voice": "a", "stream_format": "sse"},
    )
    counting = meter(spoken, "text/event-stream")

    counting.feed(b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n')

    assert (counting.seen_output_tokens_least, counting.seen_output_tokens_bound) == (0, 44)
