from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain import NS_PER_SECOND, Code, Dialect, Effect, Reason
from tollkeeper.wire import refusal as refusals
from tollkeeper.wire.event_stream import EventStreamSplitter, payload_of
from tollkeeper.wire.refusal import Refusal, error_event, refusal, status_of, unanswered
from tollkeeper.wire.sse import Form

AMAZONS = (Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE, Dialect.BEDROCK_NATIVE)
SENTENCE = "agents.atlas allows no o3; ask for gpt-4o."


def reason(code: Code = Code.POLICY_DENIED, **more: int) -> Reason:
    return Reason(Effect.DENY, code, "agents.atlas.models", SENTENCE, **more)


def refused(
    why: Reason | None = None,
    dialect: Dialect | None = Dialect.OPENAI_CHAT,
    status: int | None = None,
) -> Refusal:
    why = why or reason()
    return refusal(dialect, why, "call-1", stream=False, status=status or status_of(why.code))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.UNKNOWN_AGENT, 401),
        (Code.AGENT_PAUSED, 403),
        (Code.POLICY_DENIED, 403),
        (Code.BUDGET_EXHAUSTED, 402),
        (Code.RATE_LIMITED, 429),
        (Code.APPROVAL_REJECTED, 403),
        (Code.APPROVAL_PENDING, 403),
        (Code.APPROVAL_LAPSED, 403),
        (Code.UNREADABLE_REQUEST, 400),
        (Code.UNKNOWN_ENDPOINT, 403),
        (Code.POLICY_UNAVAILABLE, 503),
    ],
)
def test_every_cause_has_its_status(code, status) -> None:
    assert status_of(code) == status


def test_every_code_has_a_status() -> None:
    assert all(400 <= status_of(code) < 600 for code in Code)


def test_openai_is_refused_in_its_shape() -> None:
    for dialect in (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES):
        answer = refused(dialect=dialect)

        assert json.loads(answer.body) == {
            "error": {
                "message": SENTENCE,
                "type": "invalid_request_error",
                "param": None,
                "code": "policy_denied",
            }
        }


def test_anthropic_is_refused_in_its_shape() -> None:
    answer = refused(reason(Code.BUDGET_EXHAUSTED), Dialect.ANTHROPIC)

    assert json.loads(answer.body) == {
        "type": "error",
        "error": {"type": "billing_error", "message": SENTENCE, "code": "budget_exhausted"},
        "request_id": "call-1",
    }


def test_gemini_is_refused_in_its_shape() -> None:
    answer = refused(reason(Code.RATE_LIMITED, retry_after_ns=1), Dialect.GEMINI)

    error = json.loads(answer.body)["error"]
    assert (error["code"], error["status"], error["message"]) == (
        429,
        "RESOURCE_EXHAUSTED",
        SENTENCE,
    )
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert error["details"][0]["reason"] == "RATE_LIMITED"


def test_without_a_dialect_the_refusal_is_plain_json() -> None:
    body = json.loads(refused(dialect=None).body)

    assert body == {"error": {"code": "policy_denied", "message": SENTENCE, "id": "call-1"}}


@pytest.mark.parametrize("dialect", [*Dialect, None])
@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("status", [None, 400])
def test_every_refusal_is_json_with_its_id_and_sentence(dialect, code, status) -> None:
    answer = refused(reason(code), dialect, status)

    headers = dict(answer.headers)
    assert answer.status == (status or status_of(code))
    assert headers["content-type"] == "application/json"
    assert headers["x-tollkeeper-id"] == "call-1"
    body = json.loads(answer.body)
    match dialect:
        case Dialect.COHERE:
            assert body["message"] == SENTENCE
        case Dialect.OLLAMA:
            assert body["error"] == SENTENCE
        case _ if dialect in AMAZONS:
            assert body["message"] == SENTENCE
        case _:
            assert body["error"]["message"] == SENTENCE


def test_bedrock_is_refused_in_its_shape() -> None:
    answer = refused(reason(Code.BUDGET_EXHAUSTED), Dialect.BEDROCK_CONVERSE)

    assert dict(answer.headers)["x-amzn-errortype"] == "ServiceQuotaExceededException"
    assert json.loads(answer.body) == {"message": SENTENCE, "code": "budget_exhausted"}


@pytest.mark.parametrize("dialect", AMAZONS)
def test_inside_an_event_stream_the_refusal_is_one_exception(dialect) -> None:
    refused = refusal(dialect, reason(), "call-1", stream=True, status=403)

    [(raw, payload)] = EventStreamSplitter(payload_of).feed(error_event(dialect, refused.body))

    assert b"validationException" in raw
    assert json.loads(payload or b"") == {"message": SENTENCE}


def test_what_a_retry_cannot_help_is_final() -> None:
    for code in Code:
        headers = dict(refused(reason(code)).headers)
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers


def test_a_rate_says_how_long_to_wait() -> None:
    headers = dict(refused(reason(Code.RATE_LIMITED, retry_after_ns=2 * NS_PER_SECOND + 1)).headers)

    assert headers["retry-after"] == "3"
    assert "x-should-retry" not in headers


@given(st.integers(0, 10**15))
def test_a_wait_is_whole_seconds_that_are_enough_up_to_a_minute(wait_ns: int) -> None:
    seconds = refusals.retry_after_seconds(reason(retry_after_ns=wait_ns))

    assert seconds is not None
    assert 1 <= seconds <= 60
    assert seconds == 60 or seconds * NS_PER_SECOND >= wait_ns
    assert seconds == 1 or (seconds - 1) * NS_PER_SECOND < wait_ns


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        (0, "0"),
        (500_000_000, "0.5"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (12 * 10**9, "12"),
        (10**10, "10"),
    ],
)
def test_what_is_left_is_told_in_dollars(nano_usd, text) -> None:
    headers = dict(refused(reason(Code.BUDGET_EXHAUSTED, left_nano_usd=nano_usd)).headers)

    assert headers["x-tollkeeper-budget-left-usd"] == text


def test_a_stream_is_refused_like_any_other_call() -> None:
    why = reason()

    assert refusal(Dialect.ANTHROPIC, why, "c", stream=True, status=403) == refusal(
        Dialect.ANTHROPIC, why, "c", stream=False, status=403
    )


OTHER_EVENTS = (*AMAZONS, Dialect.OLLAMA)


@pytest.mark.parametrize("dialect", [*(one for one in Dialect if one not in OTHER_EVENTS), None])
def test_inside_a_stream_the_refusal_is_one_event(dialect) -> None:
    refused = refusal(dialect, reason(), "call-1", stream=True, status=403)

    event = error_event(dialect, refused.body)

    lines = event.decode().split("\n")
    assert lines[-3].startswith("data: {")
    assert lines[-2:] == ["", ""]
    assert SENTENCE in json.dumps(json.loads(lines[-3][6:]), ensure_ascii=False)


def test_inside_a_stream_of_lines_the_refusal_is_a_line_of_its_dialect() -> None:
    told = {}
    for dialect in (Dialect.OLLAMA, Dialect.COHERE):
        refused = refusal(dialect, reason(), "call-1", stream=True, status=403)
        line = error_event(dialect, refused.body, Form.LINES)
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        told[dialect] = json.loads(line)

    assert told[Dialect.OLLAMA] == {"error": SENTENCE}
    assert told[Dialect.COHERE]["event_type"] == "stream-end"
    assert told[Dialect.COHERE]["finish_reason"] == "ERROR"
    assert told[Dialect.COHERE]["error"] == SENTENCE


def test_inside_coheres_events_the_refusal_ends_the_message() -> None:
    refused = refusal(Dialect.COHERE, reason(), "call-1", stream=True, status=403)

    head, data, *rest = error_event(Dialect.COHERE, refused.body).decode().split("\n")

    assert (head, rest) == ("event: message-end", ["", ""])
    delta = {"error": SENTENCE, "finish_reason": "ERROR"}
    assert json.loads(data.removeprefix("data: ")) == {"type": "message-end", "delta": delta}


@pytest.mark.parametrize("dialect", [Dialect.GEMINI, Dialect.CODE_ASSIST])
def test_inside_an_array_the_refusal_is_its_last_element(dialect) -> None:
    refused = refusal(dialect, reason(), "call-1", stream=True, status=403)

    elements = json.loads(b'[{"candidates": []}' + error_event(dialect, refused.body, Form.ARRAY))

    assert elements[-1]["error"]["message"] == SENTENCE
    assert elements[-1]["error"]["code"] == 403


def test_text_becomes_an_error_that_geminis_sdk_raises() -> None:
    event = error_event(Dialect.GEMINI, b"The provider did not answer.")

    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert error == {
        "code": 503,
        "message": "The provider did not answer.",
        "status": "UNAVAILABLE",
    }


@pytest.mark.parametrize("dialect", [*Dialect, None])
def test_provider_without_an_answer_is_told_of_in_its_own_shape(dialect: Dialect | None) -> None:
    answer = unanswered(dialect, "api.example could not be resolved.", "call-1")

    assert answer.status == 502
    assert "x-should-retry" not in dict(answer.headers)
    said = json.loads(answer.body)
    text = "The provider did not answer: api.example could not be resolved."
    error = said["error"] if isinstance(said.get("error"), dict) else {"message": said.get("error")}
    assert text in (error.get("message"), said.get("message"))
    assert "provider_unreachable" in answer.body.decode().lower()


def test_what_is_said_of_a_provider_without_an_answer_is_bounded() -> None:
    answer = unanswered(Dialect.OPENAI_CHAT, "x" * 100_000, "call-1")

    assert len(answer.body) < 3000
