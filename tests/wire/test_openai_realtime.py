"""A Realtime session as it is followed: what each event asks for, and what the provider says."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Changes, Code, Effect, Reason
from tollkeeper.errors import WireError
from tollkeeper.simulator import realtime as simulated
from tollkeeper.wire.openai_realtime import Realtime

OPENAI = facts.providers()["openai"]
MODEL = "gpt-realtime"
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}


def session(model: str = MODEL) -> Realtime:
    return Realtime(OPENAI, "/v1/realtime", model)


def ask(talk: Realtime, event: dict[str, Any], *, busy: bool = False) -> Any:
    return talk.asked(json.dumps(event).encode(), busy=busy)


def tell(talk: Realtime, **event: Any) -> Any:
    return talk.told(json.dumps(event).encode())


def test_response_is_a_call_with_all_that_it_may_be_shown() -> None:
    talk = session()
    tell(talk, type="session.created", session={"instructions": "Be brief.", "tools": []})
    tools = [{"type": "function", "name": "shell", "parameters": {}}]
    ask(talk, {"type": "session.update", "session": {"tools": tools, "max_output_tokens": 300}})
    ask(talk, {"type": "conversation.item.create", "item": HELLO})

    call = ask(talk, {"type": "response.create"}).call

    assert call.model == MODEL
    assert call.metered
    assert call.tools_offered == ("shell",)
    assert call.max_output_tokens is None  # the provider has not yet said that the change holds
    assert call.features == {"audio_out", "fixed_model"}
    assert "hello" in call.prompt
    assert 0 < call.head_bound_tokens < 32_000


def test_no_session_is_billed_more_input_than_its_window() -> None:
    talk = session()
    words = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "x" * 99_999}],
    }
    ask(talk, {"type": "conversation.item.create", "item": words})

    assert ask(talk, {"type": "response.create"}).call.head_bound_tokens == 32_000


def test_model_whose_window_nobody_knows_is_bounded_by_what_it_is_shown() -> None:
    talk = session("gpt-realtime-99")

    assert ask(talk, {"type": "response.create"}).call.head_bound_tokens > 1024


def test_text_alone_makes_no_audio() -> None:
    talk = session()
    tell(talk, type="session.created", session={"output_modalities": ["text"]})

    call = ask(talk, {"type": "response.create"}).call
    spoken = ask(
        talk, {"type": "response.create", "response": {"output_modalities": ["audio"]}}
    ).call

    assert "audio_out" not in call.features
    assert "audio_out" in spoken.features


def test_answers_are_part_of_what_the_next_one_is_shown_also_where_nothing_tells_their_length() -> (
    None
):
    talk = session()
    before = ask(talk, {"type": "response.create"}).call.head_bound_tokens
    tell(talk, type="response.done", response={"id": "resp_1", "usage": {"output_tokens": 900}})
    after = ask(talk, {"type": "response.create"}).call
    tell(talk, type="response.done", response={"id": "resp_2", "usage": None})

    assert after.head_bound_tokens >= before + 900
    assert "audio_in" in after.features
    assert ask(talk, {"type": "response.create"}).call.head_bound_tokens == 32_000


def test_voice_detection_stays_and_never_begins_a_response() -> None:
    talk = session()
    detection = {"type": "semantic_vad", "eagerness": "low", "create_response": True}

    frame = ask(
        talk,
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": detection}}}},
    ).frame

    sent = json.loads(frame)["session"]["audio"]["input"]["turn_detection"]
    assert sent == detection | {"create_response": False}
    opening = json.loads(talk.opening or b"")["session"]["audio"]["input"]["turn_detection"]
    assert opening == {"type": "server_vad", "create_response": False}


def test_frame_that_needs_no_change_goes_on_byte_for_byte() -> None:
    talk = session()
    frames = [
        b'{ "type":"conversation.item.delete", "item_id" : "a"}',
        b'{"type": "response.cancel",  "event_id":"mine"}',
        b'{"audio":"AAAA","type":"input_audio_buffer.append"}',
    ]

    assert [talk.asked(frame, busy=False).frame for frame in frames] == frames


def test_turn_that_was_heard_is_answered_by_a_call_of_ours() -> None:
    talk = session()
    assert tell(talk, type="input_audio_buffer.speech_stopped", item_id="item_1").asks is None

    told = tell(talk, type="input_audio_buffer.committed", item_id="item_1")

    asked = told.asks()
    assert asked.call.metered
    assert json.loads(asked.frame)["type"] == "response.create"


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}])
def test_turn_that_the_client_commits_or_answers_itself_is_not_answered(detection: Any) -> None:
    talk = session()
    if detection is not None:
        heard = {"turn_detection": detection}
        ask(talk, {"type": "session.update", "session": {"audio": {"input": heard}}})
        tell(talk, type="input_audio_buffer.speech_stopped", item_id="item_1")

    assert tell(talk, type="input_audio_buffer.committed", item_id="item_1").asks is None


def transcribed(talk: Realtime, **members: Any) -> Any:
    heard = {"transcription": {"model": "whisper-1", **members}}
    return ask(talk, {"type": "session.update", "session": {"audio": {"input": heard}}})


def append(talk: Realtime, ms: int) -> Any:
    sound = base64.b64encode(bytes(48 * ms)).decode()
    return ask(talk, {"type": "input_audio_buffer.append", "audio": sound}).sound


def test_audio_that_is_written_down_says_how_long_it_lasts() -> None:
    talk = session()
    transcribed(talk)

    sound = append(talk, 500)

    assert sound.microseconds == 500_000
    _, call = sound.written_down(60_000_000)
    assert (call.model, call.operation) == ("whisper-1", "transcription")


def test_audio_that_nobody_writes_down_is_no_call_of_another_model() -> None:
    assert append(session(), 500) is None


def test_transcripts_are_asked_for_before_the_audio_that_they_would_be_of() -> None:
    talk = session()
    append(talk, 500)

    with pytest.raises(WireError, match="before you send audio"):
        transcribed(talk)
    ask(talk, {"type": "input_audio_buffer.commit"})
    tell(talk, type="input_audio_buffer.committed", item_id="item_1")
    transcribed(talk)


def test_what_was_not_committed_is_told_by_what_the_provider_heard_end() -> None:
    talk = session()
    transcribed(talk)
    append(talk, 3000)
    tell(talk, type="input_audio_buffer.speech_stopped", item_id="item_1", audio_end_ms=1800)

    told = tell(talk, type="input_audio_buffer.committed", item_id="item_1")

    assert (told.committed, told.buffered) == ("item_1", 1_200_000)


def test_piece_that_was_written_down_or_could_not_be_is_told() -> None:
    kind = "conversation.item.input_audio_transcription"
    usage = {"type": "duration", "seconds": 3}

    done = tell(session(), type=f"{kind}.completed", item_id="item_1", usage=usage).written
    failed = tell(session(), type=f"{kind}.failed", item_id="item_2", error={}).written

    assert (done.item, done.usage.audio_milliseconds) == ("item_1", 3000)
    assert (failed.item, failed.usage.audio_milliseconds) == ("item_2", 0)


def test_answer_to_our_opening_is_not_the_clients() -> None:
    talk = session()

    assert tell(talk, type="session.created", session={}).passes
    assert not tell(talk, type="session.updated", session={}).passes
    assert tell(talk, type="session.updated", session={}).passes


def test_provider_that_does_not_take_our_opening_ends_the_session() -> None:
    with pytest.raises(WireError):
        tell(session(), type="error", error={"event_id": "tollkeeper_opening"})


def test_error_ends_a_call_only_where_it_names_it_before_it_has_begun() -> None:
    talk = session()
    frame = ask(talk, {"type": "response.create"}).frame
    event_id = json.loads(frame)["event_id"]

    assert not tell(talk, type="error", error={"event_id": None}).error
    assert not tell(talk, type="error", error={"event_id": "another"}).error
    assert tell(talk, type="error", error={"event_id": event_id}).error
    tell(talk, type="response.created", response={"id": "resp_1"})
    assert not tell(talk, type="error", error={"event_id": event_id}).error


def test_error_shows_the_client_its_own_id_and_no_client_can_make_one_of_ours() -> None:
    talk = session()
    asked = ask(talk, {"type": "response.create", "event_id": "mine"})
    ours = json.loads(asked.frame)["event_id"]

    told = tell(talk, type="error", error={"event_id": ours, "message": "Not now."})

    assert json.loads(told.shown)["error"] == {"event_id": "mine", "message": "Not now."}
    assert not tell(talk, type="error", error={"event_id": "mine"}).error
    with pytest.raises(WireError, match="choose another"):
        ask(talk, {"type": "input_audio_buffer.commit", "event_id": ours}, busy=True)


def test_change_is_taken_back_only_by_an_error_that_is_its_own() -> None:
    talk = session()
    tell(talk, type="session.created", session={"max_output_tokens": 10})
    change = {"type": "session.update", "event_id": "x", "session": {"max_output_tokens": 4000}}
    frame = ask(talk, change).frame

    tell(talk, type="error", error={"event_id": "x"})
    assert ask(talk, {"type": "response.create"}).call.max_output_tokens == 4000
    tell(talk, type="error", error={"event_id": json.loads(frame)["event_id"]})
    assert ask(talk, {"type": "response.create"}).call.max_output_tokens == 10


def test_output_limit_goes_into_the_response() -> None:
    talk = session()
    asked = ask(talk, {"type": "response.create", "event_id": "a"})

    frame = talk.changed(asked.call, asked.frame, Changes(max_output_tokens=64))

    assert json.loads(frame)["response"] == {"max_output_tokens": 64}
    assert talk.changed(asked.call, asked.frame, Changes()) == asked.frame


def test_refusal_is_an_error_event_of_the_session() -> None:
    reason = Reason(Effect.DENY, Code.BUDGET_EXHAUSTED, "agents.atlas.budget_usd.total", "No.")

    event = json.loads(session().error_frame(reason, "call-1"))

    assert event["type"] == "error"
    assert (event["error"]["code"], event["error"]["message"]) == ("budget_exhausted", "No.")


def test_same_conversation_asks_a_person_once_and_another_one_anew() -> None:
    def digest(*texts: str) -> str:
        talk = session()
        for text in texts:
            item = HELLO | {"content": [{"type": "input_text", "text": text}]}
            ask(talk, {"type": "conversation.item.create", "item": item})
        made: str = ask(talk, {"type": "response.create"}).call.approval_digest
        return made

    assert digest("a", "b") == digest("a", "b") != digest("b", "a")


@pytest.mark.parametrize(
    "frame",
    [
        b"no json",
        b'{"type": "response.create", "type": "response.cancel"}',
        b'{"type": "response.create", "response": {"background": true}}',
        b'{"type": "response.create", "response": {"input": [{"type": "mcp_call"}]}}',
        b'{"type": "input_audio_buffer.append", "audio": 1}',
        b'{"type": "transcription_session.update", "session": {}}',
        b'{"session": {}}',
        b'{"type": ["response.create"]}',
    ],
)
def test_what_cannot_be_metered_goes_nowhere(frame: bytes) -> None:
    with pytest.raises(WireError):
        session().asked(frame, busy=False)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
ACTIONS = st.one_of(
    st.tuples(st.just("text"), WORDS),
    st.tuples(st.just("audio"), st.integers(1, 20_000)),
    st.tuples(st.just("instructions"), WORDS),
    st.tuples(st.just("answer"), st.integers(0, 4096)),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(ACTIONS, max_size=20))
def test_bound_is_never_below_what_the_provider_bills(actions: list[tuple[str, Any]]) -> None:
    talk = session()
    their = simulated.Session(MODEL, _nothing, None, lambda: None)  # type: ignore[arg-type]
    tell(talk, type="session.created", session=their.settings)
    for kind, value in actions:
        match kind:
            case "text":
                item = HELLO | {"content": [{"type": "input_text", "text": value}]}
                ask(talk, {"type": "conversation.item.create", "item": item})
                their.items.append(item)
            case "audio":
                sound = base64.b64encode(b"\1" * 48 * value).decode()
                ask(talk, {"type": "input_audio_buffer.append", "audio": sound})
                asyncio.run(their.commit("item_1"))
                their.items[-1]["heard_ms"] = value
                tell(talk, type="input_audio_buffer.committed", item_id="item_1")
            case "instructions":
                ask(talk, {"type": "session.update", "session": {"instructions": value}})
                their.change({"instructions": value})
                talk.settings.tell(dict(their.settings), updated=True)
            case _:
                tell(talk, type="response.done", response={"usage": {"output_tokens": value}})
                their.items.append({"type": "message", "role": "assistant", "said_tokens": value})

    billed = their.shown(their.settings, their.items).input_tokens

    assert billed is not None
    assert ask(talk, {"type": "response.create"}).call.head_bound_tokens >= billed


async def _nothing(_frame: bytes) -> None:
    """Nobody listens."""


def test_commit_of_the_clients_has_audio_written_down() -> None:
    talk = session()

    assert ask(talk, {"type": "input_audio_buffer.commit"}).commits
    assert not ask(talk, {"type": "input_audio_buffer.clear"}).commits
