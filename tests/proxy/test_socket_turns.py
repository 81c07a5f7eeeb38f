"""Calls on a WebSocket: whose error ends which, and at what price they are settled."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from mitmproxy import ctx, http, websocket
from wsproto.frame_protocol import Opcode

from proxy.house import House
from proxy.test_websockets import (
    ASKED,
    CREATED,
    DELTA,
    Proxyserver,
    frame,
    under_way,
    waiting_socket,
)
from tollkeeper.domain import Code, Effect, Reason
from tollkeeper.proxy.websockets import WebSockets
from tollkeeper.wire.openai_realtime import Realtime

USAGE = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
ERROR = {"type": "error", "status": 500, "error": {"message": "no"}}


@pytest.fixture(autouse=True)
def open_to_sockets(house: House, monkeypatch: pytest.MonkeyPatch) -> Proxyserver:
    house.govern_by({"websockets": True})
    sent = Proxyserver()
    monkeypatch.setattr(ctx, "master", SimpleNamespace(addons={"proxyserver": sent}), raising=False)
    return sent


def begun(number: int) -> dict[str, object]:
    return {"type": "response.created", "response": {"id": f"resp_{number}"}}


def ended(number: int, how: str = "completed") -> dict[str, object]:
    response = {"id": f"resp_{number}", "usage": USAGE, "model": "gpt-4o-mini"}
    return {"type": f"response.{how}", "response": response}


def test_error_that_comes_late_does_not_end_the_next_call(house: House) -> None:
    made, flow, socket = waiting_socket(house)
    assert frame(made, flow, ASKED, from_client=True)
    for event in (begun(1), ended(1, "failed")):
        assert frame(made, flow, event)
    assert frame(made, flow, ASKED, from_client=True)

    assert frame(made, flow, ERROR)  # of the first call

    assert socket.turn is not None
    for event in (begun(2), DELTA, ended(2)):
        assert frame(made, flow, event)
    costs = [row["cost_nano_usd"] for row in house.calls()[-2:]]
    assert min(costs) > 0


def test_call_that_is_not_begun_after_such_an_error_is_booked_whole_when_the_next_comes(
    house: House,
) -> None:
    made, flow, _ = waiting_socket(house)
    for event, ours in ((ASKED, True), (begun(1), False), (ended(1, "failed"), False)):
        assert frame(made, flow, event, from_client=ours)
    assert frame(made, flow, ASKED, from_client=True)
    assert frame(made, flow, ERROR)

    assert frame(made, flow, ASKED, from_client=True)

    doubted, last = house.calls()[-2:]
    assert (doubted["state"], doubted["basis"]) == ("settled", "reserved")
    assert doubted["cost_nano_usd"] == doubted["worst_nano_usd"]
    assert last["state"] == "forwarded"


def test_error_after_an_answer_that_ended_well_is_of_the_call_that_is_asked(house: House) -> None:
    made, flow, socket = waiting_socket(house)
    for event, ours in ((ASKED, True), (begun(1), False), (ended(1), False), (ASKED, True)):
        assert frame(made, flow, event, from_client=ours)

    assert frame(made, flow, ERROR)

    assert socket.turn is None
    assert house.calls()[-1]["cost_nano_usd"] == 0


def test_end_of_an_answer_that_is_told_twice_ends_no_later_call(house: House) -> None:
    made, flow, socket = waiting_socket(house)
    for event, ours in ((ASKED, True), (begun(1), False), (ended(1), False), (ASKED, True)):
        assert frame(made, flow, event, from_client=ours)

    assert frame(made, flow, ended(1))

    assert socket.turn is not None


def test_two_answers_at_once_end_the_connection(house: House) -> None:
    made, flow, _ = under_way(house)
    assert frame(made, flow, CREATED)

    assert not frame(made, flow, begun(7))

    row = house.calls()[-1]
    assert (row["state"], row["basis"]) == ("settled", "reserved")


def test_call_is_settled_at_the_dearer_price_of_the_model_that_its_answer_names(
    house: House,
) -> None:
    made, flow, socket = under_way(house)
    assert socket.turn is not None
    assert socket.turn.call is not None
    socket.turn.call = replace(socket.turn.call, deployment="my-deployment")
    end = ended(1)
    end["response"] = {**dict(end["response"]), "model": "gpt-4o"}  # type: ignore[call-overload]

    assert frame(made, flow, begun(1))
    assert frame(made, flow, end)

    row = house.calls()[-1]
    assert row["cost_nano_usd"] == 9 * 2500 + 3 * 10_000


def test_refusals_of_what_comes_many_a_second_are_told_once(
    house: House, open_to_sockets: Proxyserver
) -> None:
    made, flow, socket = waiting_socket(house)
    reason = Reason(Effect.DENY, Code.POLICY_DENIED, "rules.quiet", "No.")

    for _ in range(5):
        made.turns.refuse(flow, socket, reason, flows=True)
    assert len(open_to_sockets.injected) == 1

    made.turns.refuse(flow, socket, reason)
    assert len(open_to_sockets.injected) == 2


@pytest.mark.parametrize("cause", ["policy", "agent"])
def test_connection_ends_with_its_next_frame_where_nothing_may_pass_any_more(
    house: House, cause: str
) -> None:
    made, flow, socket = waiting_socket(house)
    assert frame(made, flow, ASKED, from_client=True)
    if cause == "policy":
        house.govern_by({})
    else:
        house.ledger().set_agent_state("atlas", "paused", 1, "tester")

    assert not frame(made, flow, {"type": "response.create"}, from_client=True)

    assert socket.turn is not None  # what is under way is settled when the connection ends
    asyncio.run(made.websocket_end(flow))
    assert house.open_calls() == 0


def test_nothing_overtakes_a_call_that_was_held_on_its_way_out(
    house: House, open_to_sockets: Proxyserver
) -> None:
    rule = {"name": "ask", "call": {"operation": "realtime"}, "hold": {}}
    house.govern_by({"websockets": True, "rules": [rule]})
    made, flow, socket = waiting_socket(house)
    provider = socket.upgrade.caller.provider
    assert provider is not None
    socket.talk = Realtime(provider, "/v1/realtime", "gpt-realtime")
    said = {"type": "message", "content": [{"type": "input_text", "text": "and all that"}]}
    more = {"type": "conversation.item.create", "item": said}

    async def held_and_approved() -> bool:
        assert not await passes(made, flow, {"type": "response.create"})
        await house.waits()
        house.verdict(house.approvals()[-1])
        assert socket.holding is not None
        await socket.holding
        overtakes = await passes(made, flow, more)
        ours = next(one.message for one in open_to_sockets.injected if one.message.from_client)
        assert await passes(made, flow, json.loads(ours.content), ours.content)
        assert await passes(made, flow, more)
        return overtakes

    assert not asyncio.run(held_and_approved())


async def passes(
    made: WebSockets, flow: http.HTTPFlow, event: object, injected: bytes = b""
) -> bool:
    content = injected or json.dumps(event).encode()
    message = websocket.WebSocketMessage(Opcode.TEXT, True, content, injected=bool(injected))
    assert flow.websocket is not None
    flow.websocket.messages.append(message)
    await made.websocket_message(flow)
    return not message.dropped
