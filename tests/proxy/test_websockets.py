"""Frames of WebSockets when something breaks; how they go in health is in ``e2e/test_websockets.py``."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from mitmproxy import ctx, http, websocket
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from mitmproxy.test import taddons, tflow
from wsproto.frame_protocol import Opcode

from proxy.faults import Strike, striking
from proxy.house import OPENAI, House
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.closing import SHUT
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.settling import NOT_SENT
from tollkeeper.proxy.socket_turns import Socket
from tollkeeper.proxy.websockets import SHOWN_BYTES, SHOWN_MESSAGES, WebSockets
from tollkeeper.wire.openai_socket import Responses

BODY = {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 20, "stream": True}
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "delta": "one two"}


@pytest.fixture(autouse=True)
def open_to_sockets(house: House) -> None:
    house.govern_by({"websockets": True})


def under_way(house: House) -> tuple[WebSockets, http.HTTPFlow, Socket]:
    """A connection on which a call has been let go."""
    asked = house.judged(path="/v1/responses", body=BODY)
    assert asked.response is None
    turn = house.enforcer.passages[asked]
    assert turn.call is not None
    turn.answer = Answer(turn.call, "text/event-stream", "", take_out_usage=False)
    flow = tflow.twebsocketflow(messages=False)
    flow.server_conn.timestamp_tls_setup = time.time()
    made = WebSockets(house.enforcer, house.room)
    assert turn.caller.provider is not None
    talk = Responses(turn.caller.provider, "/v1/responses")
    socket = made.sockets[flow] = Socket(Passage(turn.caller), talk, turn)
    return made, flow, socket


def frame(
    made: WebSockets, flow: http.HTTPFlow, event: object, *, from_client: bool = False
) -> bool:
    """Whether a frame goes on."""
    message = websocket.WebSocketMessage(Opcode.TEXT, from_client, json.dumps(event).encode())
    assert flow.websocket is not None
    flow.websocket.messages.append(message)
    asyncio.run(made.websocket_message(flow))
    return not message.dropped


def test_fault_while_an_answer_is_metered_drops_its_frame_and_books_it_whole(house: House) -> None:
    made, flow, socket = under_way(house)
    assert frame(made, flow, CREATED)
    assert socket.turn is not None
    assert socket.turn.answer is not None
    socket.turn.answer.shut = True

    assert not frame(made, flow, DELTA)

    row = house.calls()[-1]
    assert (row["state"], row["basis"]) == ("settled", "reserved")
    assert not frame(made, flow, DELTA)  # nothing more passes


def test_answer_that_nobody_asked_for_ends_the_connection(house: House) -> None:
    made, flow, socket = under_way(house)
    socket.turn = None

    assert frame(made, flow, {"type": "rate_limits.updated"})
    assert not frame(made, flow, CREATED)


def test_frame_of_a_connection_that_nobody_knows_goes_nowhere(house: House) -> None:
    made = WebSockets(house.enforcer, house.room)

    assert not frame(made, tflow.twebsocketflow(), DELTA, from_client=True)


def test_frames_of_hosts_that_are_no_providers_pass(house: House) -> None:
    made, flow, socket = under_way(house)
    socket.upgrade.caller.provider = None

    assert frame(made, flow, {"anything": 1}, from_client=True)
    assert frame(made, flow, {"anything": 2})


@pytest.mark.parametrize("begun", [True, False])
def test_connection_that_ends_books_what_was_seen_or_whole(house: House, begun: bool) -> None:
    made, flow, _ = under_way(house)
    if begun:
        assert frame(made, flow, CREATED)
        assert frame(made, flow, DELTA)

    asyncio.run(made.websocket_end(flow))

    row = house.calls()[-1]
    assert row["basis"] == ("estimated" if begun else "reserved")
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_error_before_an_answer_costs_nothing_and_after_its_beginning_it_does(house: House) -> None:
    for events in ([], [CREATED, DELTA]):
        made, flow, socket = under_way(house)
        for event in (*events, {"type": "error", "status": 400, "error": {"message": "no"}}):
            assert frame(made, flow, event)
        assert socket.turn is None

    refused, broken = (row["cost_nano_usd"] for row in house.calls())
    assert refused == 0
    assert broken > 0


def test_proxy_that_ends_takes_no_new_call(house: House) -> None:
    made, flow, socket = under_way(house)
    house.judged(path="/v1/responses", body=BODY)
    socket.turn, calls = None, len(house.calls())
    house.station.shut = SHUT
    sent = Proxyserver()

    with taddons.context() as context:
        context.master.addons.lookup["proxyserver"] = sent
        passed = frame(made, flow, {"type": "response.create"} | BODY, from_client=True)

    assert not passed
    assert len(house.calls()) == calls
    [event] = sent.injected
    assert b"shutting down" in event.message.content


class Proxyserver:
    """The one of mitmproxy's addons that frames of our own are handed to."""

    def __init__(self) -> None:
        self.injected: list[WebSocketMessageInjected] = []

    def inject_event(self, event: WebSocketMessageInjected) -> None:
        self.injected.append(event)


@pytest.mark.parametrize("governed", [True, False])
def test_few_messages_are_kept_for_the_views(house: House, governed: bool) -> None:
    made, flow, socket = under_way(house)
    if not governed:
        socket.upgrade.caller.provider = None

    for _ in range(3 * SHOWN_MESSAGES):
        frame(made, flow, DELTA)

    assert flow.websocket is not None
    assert len(flow.websocket.messages) == SHOWN_MESSAGES


def test_long_messages_are_not_kept_for_the_views(house: House) -> None:
    made, flow, _ = under_way(house)
    long = {"type": "rate_limits.updated", "fill": "x" * (SHOWN_BYTES // 2)}

    for _ in range(5):
        frame(made, flow, long)

    assert flow.websocket is not None
    assert len(flow.websocket.messages) == 2


ASKED = {"type": "response.create"} | BODY


def waiting_socket(house: House) -> tuple[WebSockets, http.HTTPFlow, Socket]:
    """A connection on which nobody has asked for anything yet."""
    made, flow, socket = under_way(house)
    assert socket.turn is not None
    assert socket.turn.admission is not None
    house.enforcer.books.settle_now(socket.turn.admission.id, NOT_SENT)
    flow.request.path, socket.turn = "/v1/responses", None
    return made, flow, socket


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_fault_at_any_line_of_a_frame_lets_it_go_nowhere_and_leaves_no_call_open(
    house: House, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(
        ctx, "master", SimpleNamespace(addons={"proxyserver": Proxyserver()}), raising=False
    )
    at, passed = 0, False
    while not passed:
        at += 1
        strike = Strike(at, error)
        made, flow, _ = waiting_socket(house)
        with striking(strike), suppress(error):
            frame(made, flow, ASKED, from_client=True)
        assert flow.websocket is not None
        passed = strike.where == "nowhere"
        if not passed:
            assert flow.websocket.messages[-1].dropped, strike.where
            asyncio.run(made.websocket_end(flow))
            assert house.open_calls() == 0, strike.where

    assert at > 50


@pytest.mark.parametrize("before", ["own", "injected"])
def test_frame_goes_nowhere_where_another_key_is_wanted_than_its_connection_was_opened_with(
    house: House, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setenv("REAL_KEY", "sk-real")
    providers = {"openai": {"key": {"env": "REAL_KEY"}}}
    other = {"own": "injected", "injected": "own"}[before]

    def govern(key: str) -> None:
        agents = {"atlas": {"key": key}}
        house.govern_by({"providers": providers, "agents": agents, "websockets": True})

    govern(before)
    made, flow, socket = waiting_socket(house)
    fields = [("Host", OPENAI), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    opened = house.judged(method="GET", path="/v1/responses", body=b"", fields=fields)
    assert opened.response is None, opened.response.text
    socket.upgrade = house.enforcer.passages[opened]
    sent = Proxyserver()
    monkeypatch.setattr(ctx, "master", SimpleNamespace(addons={"proxyserver": sent}), raising=False)

    assert frame(made, flow, ASKED, from_client=True)
    asyncio.run(made.turns.settle(flow, socket, cut=True, refused=True))
    govern(other)
    assert not frame(made, flow, ASKED, from_client=True)

    [event] = sent.injected
    assert b"Connect again" in event.message.content
    assert house.calls()[-1]["outcome"] == "not_sent"
