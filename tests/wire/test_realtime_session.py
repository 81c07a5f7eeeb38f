"""What a session may hold: its settings until the provider has said so, its conversation as a bound."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tollkeeper.errors import WireError
from tollkeeper.wire.realtime_session import (
    MOST_PENDING,
    Conversation,
    Settings,
    merged,
    tool_names,
)

MODEL = "gpt-realtime"


def message(**part: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [part]}


def test_until_the_provider_has_answered_the_looser_of_two_sessions_holds() -> None:
    settings = Settings()
    settings.tell({"max_output_tokens": 100, "output_modalities": ["text"]}, updated=False)
    settings.ask("e1", {"max_output_tokens": 900, "output_modalities": ["audio"]}, MODEL)

    assert (settings.output_limit(), settings.speaks()) == (900, True)
    settings.tell({"max_output_tokens": 900, "output_modalities": ["audio"]}, updated=True)
    settings.ask("e2", {"max_output_tokens": 5}, MODEL)
    assert settings.output_limit() == 900
    settings.ask("e3", {"max_output_tokens": "inf"}, MODEL)
    assert settings.output_limit() is None
    settings.fail("e3")
    settings.tell({"max_output_tokens": 5}, updated=True)
    assert settings.output_limit() == 5


def test_changes_without_an_answer_have_a_bound() -> None:
    settings = Settings()
    for number in range(MOST_PENDING):
        settings.ask(f"e{number}", {"instructions": "x"}, MODEL)

    with pytest.raises(WireError, match="Wait for session"):
        settings.ask("more", {"instructions": "x"}, MODEL)


def test_shortest_format_that_may_hold_makes_audio_longest() -> None:
    settings = Settings()
    settings.tell({"audio": {"input": {"format": {"type": "audio/pcm"}}}}, updated=False)
    assert settings.bytes_per_ms() == 48

    telephone = {"type": "audio/pcmu", "rate": 8000}
    settings.ask(None, {"audio": {"input": {"format": telephone}}}, MODEL)

    assert settings.bytes_per_ms() == 8


@pytest.mark.parametrize(
    ("session", "why"),
    [
        ({"type": "transcription"}, "type realtime"),
        ({"model": "gpt-realtime-2"}, "model in the URL"),
        ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
        ({"voice": "alloy"}, "session.voice"),
        ({"audio": {"middle": {}}}, "session.audio.middle"),
        ({"audio": {"input": {"transcription": {"model": "gpt-realtime-whisper"}}}}, "committed"),
        ({"audio": {"input": {"transcription": {"language": "en"}}}}, "committed"),
        ({"audio": {"input": {"transcription": {"delay": "low"}}}}, "delay"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "audio/pcm"),
        ({"audio": {"input": {"format": {"type": ["audio/pcm"]}}}}, "audio/pcm"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}}, "24000"),
        ({"audio": None}, "session.audio is null"),
        ({"audio": {"input": None}}, "session.audio.input is null"),
        ({"audio": {"input": {"turn_detection": {"type": "psychic"}}}}, "server_vad"),
        ({"audio": {"input": {"turn_detection": {}}}}, "server_vad"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "type function"),
        ({"max_output_tokens": "many"}, "whole number"),
    ],
)
def test_what_cannot_be_metered_is_not_asked_for(session: dict[str, Any], why: str) -> None:
    settings = Settings()

    with pytest.raises(WireError, match=why):
        settings.ask(None, session, MODEL)

    assert not settings.pending


def test_change_leaves_what_it_does_not_name() -> None:
    session = {"instructions": "a", "audio": {"input": {"format": 1, "noise_reduction": 2}}}

    made = merged(session, {"audio": {"input": {"format": 3}, "output": {"voice": "ash"}}})

    heard = {"format": 3, "noise_reduction": 2}
    assert made == {"instructions": "a", "audio": {"input": heard, "output": {"voice": "ash"}}}


def test_tools_are_named_in_order() -> None:
    tools = [{"type": "function", "name": name} for name in ("b", "a")]

    assert tool_names({"tools": tools}) == ("b", "a")


def test_audio_counts_by_its_length_and_not_by_its_bytes() -> None:
    talk = Conversation(MODEL)
    minute = base64.b64encode(bytes(48 * 1000)).decode()

    for _ in range(60):
        talk.append(minute, 48)

    assert 600 <= talk.most_tokens() <= 601
    assert talk.features == {"audio_in"}


def test_audio_within_an_item_counts_by_its_length_too() -> None:
    talk = Conversation(MODEL)

    talk.item(message(type="input_audio", audio=base64.b64encode(bytes(48_000)).decode()), 48)

    assert 10 <= talk.most_tokens() < 200
    assert talk.features == {"audio_in"}


def test_image_counts_by_what_any_image_may_cost_unless_it_tells_its_size() -> None:
    talk = Conversation(MODEL)

    talk.item(message(type="input_image", image_url="data:image/png;base64,AAAA"), 48)

    assert talk.features == {"vision"}
    assert talk.most_tokens() > 1000
    with pytest.raises(WireError, match="data URI"):
        talk.item(message(type="input_image", image_url="https://example.com/cat.png"), 48)


@pytest.mark.parametrize("item", [{"type": "mcp_call"}, {}, {"type": ["message"]}])
def test_item_that_is_not_known_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Conversation(MODEL).item(item, 48)


@pytest.mark.parametrize(
    "item",
    [
        message(type="input_image", file_id="file-1"),
        message(type="input_text", text="a", prompt_id="p"),
        {"type": "function_call_output", "output": [{"type": "input_image", "image_url": "x"}]},
        {"type": "function_call", "name": "f", "arguments": {"a": 1}},
    ],
)
def test_part_of_an_item_that_nothing_measures_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Conversation(MODEL).item(item, 48)


def test_many_small_texts_take_neither_room_nor_time() -> None:
    talk = Conversation(MODEL)
    part = {"type": "input_text", "text": "x"}
    empty = {"type": "input_text", "text": ""}

    talk.item({"type": "message", "content": [part] * 300_000}, 48)
    talk.item({"type": "message", "content": [empty] * 100_000}, 48)

    assert len(talk.texts) == talk.characters == 64 * 1024


def test_texts_are_kept_within_a_bound_and_the_newest_first_to_stay() -> None:
    talk = Conversation(MODEL)

    for number in range(100):
        talk.item(message(type="input_text", text=f"{number:04d}" * 1000), 48)

    assert talk.texts[-1].startswith("0099")
    assert sum(map(len, talk.texts)) <= 64 * 1024
