"""Frames of a WebSocket: what they ask, and how they are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.domain import Code, Dialect, Effect, Reason
from tollkeeper.errors import WireError
from tollkeeper.wire import openai_socket, route
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.talk import Told

OPENAI = facts.providers()["openai"]
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 20}


def call_of(frame: dict[str, Any]) -> Any:
    data = json.dumps({"type": "response.create", **frame}).encode()
    return openai_socket.call_in(OPENAI, "/v1/responses", data)[1]


def test_frame_makes_the_call_that_its_body_would_make_over_https() -> None:
    endpoint = route.recognise(OPENAI, "POST", "/v1/responses")
    assert endpoint is not None
    body = json.dumps(BODY | {"stream": True}).encode()
    over_https = route.parse(Inbound(OPENAI, "POST", "/v1/responses", "", {}, body), endpoint)

    framed = call_of(BODY)

    assert (framed.dialect, framed.stream, framed.metered) == (Dialect.OPENAI_RESPONSES, True, True)
    assert framed.max_output_tokens == 20
    assert framed.turns[0].bound_tokens == over_https.turns[0].bound_tokens
    assert framed.unknown_parameters == ()


def test_objects_are_found_in_the_input_of_a_frame_that_has_a_type() -> None:
    referred = call_of(BODY | {"input": [{"type": "item_reference", "id": "msg_1"}]})
    followed = call_of(BODY | {"previous_response_id": "resp_1"})

    assert referred.stored_ids == ("msg_1",)
    assert followed.stored_ids == ("resp_1",)


@pytest.mark.parametrize(
    "frame",
    [
        b"[]",
        b"{",
        b'{"type":"session.update"}',
        b'{"model":"gpt-4o-mini","input":"x"}',
        b'{"type":7}',
        b'{"type":"response.create","type":"x","model":"gpt-4o-mini"}',
        b'{"type":"response.create"}',
        b'{"type":"response.create","response":{"model":"gpt-4o-mini"}}',
        b'{"type":"response.create","model":"gpt-4o-mini","background":true}',
    ],
)
def test_what_cannot_be_metered_is_not_read(frame: bytes) -> None:
    with pytest.raises(WireError):
        openai_socket.call_in(OPENAI, "/v1/responses", frame)


def test_refusal_is_an_error_event_of_the_protocol() -> None:
    reason = Reason(Effect.DENY, Code.BUDGET_EXHAUSTED, "agents.atlas.budget_usd.total", "No.")

    event = json.loads(openai_socket.error_frame(reason, "call-1"))

    assert (event["type"], event["status"]) == ("error", 402)
    assert (event["error"]["code"], event["error"]["message"]) == ("budget_exhausted", "No.")


def test_events_are_told_apart_from_what_a_model_says_of_them() -> None:
    said = {"type": "response.output_text.delta", "delta": '{"type":"error"}'}
    nested = {"type": "response.output_item.done", "item": {"type": "error"}}
    ended = {"type": "response.failed", "response": {"id": "resp_1"}}

    def told(event: object) -> Told:
        return openai_socket.Responses(OPENAI, "/v1/responses").told(json.dumps(event).encode())

    assert told(said) == told(nested) == Told()
    assert told({"type": "error", "status": 400}) == Told(error=True)
    assert told({"type": "response.created", "response": {}}) == Told(begins=True)
    assert told(ended) == Told(ends=True, failed=True, response="resp_1")
