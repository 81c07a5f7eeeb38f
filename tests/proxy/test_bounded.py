"""What the end-to-end tests of framing do not reach: the side that talks to providers, and pieces."""

from __future__ import annotations

import time

import pytest
from mitmproxy import http
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import _base, _http1
from mitmproxy.test import tflow, tutils

from proxy.house import mitmproxy_context
from tollkeeper.proxy.bounded import (
    HEAD_LIMIT_BYTES,
    HEAD_SECONDS,
    INTERIM_LIMIT,
    JOINED_LIMIT_BYTES,
    BoundedClient,
    BoundedServer,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def asked() -> BoundedClient:
    """A connection that has sent a request."""
    with mitmproxy_context() as made:
        below = context.Context(tflow.tclient_conn(), made.options)
    below.server.address = ("api.openai.com", 443)
    below.server.state = below.client.state
    client = BoundedClient(below)
    list(client.handle_event(events.Start()))
    headers = _http1.RequestHeaders(1, tutils.treq(), end_stream=True)
    list(client.handle_event(headers))
    list(client.handle_event(_http1.RequestEndOfMessage(1)))
    return client


def serving() -> BoundedServer:
    """A connection whose client has sent one request and the beginning of the next."""
    with mitmproxy_context() as made:
        server = BoundedServer(context.Context(tflow.tclient_conn(), made.options))
    list(server.handle_event(events.Start()))
    told(
        server,
        b"GET http://x/1 HTTP/1.1\r\nHost: x\r\n\r\nGET http://x/2 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    return server


def sent(server: BoundedServer, response: http.Response, *pieces: bytes) -> list[commands.Command]:
    """What the connection does for an answer in these pieces."""
    heard: list[_http1.HttpEvent] = [_http1.ResponseHeaders(1, response, end_stream=False)]
    heard += [_http1.ResponseData(1, piece) for piece in pieces]
    heard.append(_http1.ResponseEndOfMessage(1))
    return [command for event in heard for command in server.handle_event(event)]


@pytest.mark.parametrize("headers", [{}, {"transfer-encoding": "chunked"}])
def test_message_that_is_here_whole_is_one_piece_and_the_next_request_is_read_after_it(
    headers: dict[str, str],
) -> None:
    answer = http.Response.make(200, b"hello", headers)

    first, second, *_ = sent(serving(), answer, b"hello")

    assert isinstance(first, commands.SendData)
    assert first.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.data.endswith(b"5\r\nhello\r\n0\r\n\r\n" if headers else b"\r\n\r\nhello")
    assert isinstance(second, _base.ReceiveHttp)
    assert isinstance(second.event, _http1.RequestHeaders)


@pytest.mark.parametrize("length", [5, JOINED_LIMIT_BYTES + 1])
def test_stream_and_long_message_leave_as_they_come(length: int) -> None:
    answer = http.Response.make(200, b"x" * length)
    answer.stream = length == 5

    said = sent(serving(), answer, b"x" * length)

    pieces = [one.data for one in said if isinstance(one, commands.SendData)]
    assert [piece.endswith(b"\r\n\r\n") for piece in pieces] == [True, False]
    assert pieces[1] == b"x" * length


def test_answer_to_a_request_that_is_still_coming_waits_for_nothing() -> None:
    with mitmproxy_context() as made:
        server = BoundedServer(context.Context(tflow.tclient_conn(), made.options))
    list(server.handle_event(events.Start()))
    told(server, b"POST http://x/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    answer = http.Response.make(407, b"who?")

    said = list(server.handle_event(_http1.ResponseHeaders(1, answer, end_stream=False)))
    said += list(server.handle_event(_http1.ResponseData(1, b"who?")))

    assert b"".join(one.data for one in said if isinstance(one, commands.SendData)).endswith(
        b"who?"
    )


def test_whole_message_that_breaks_off_is_not_kept_back() -> None:
    server, answer = serving(), http.Response.make(200, b"hello")
    list(server.handle_event(_http1.ResponseHeaders(1, answer, end_stream=False)))

    broke = _http1.ResponseProtocolError(1, "over", _http1.ErrorCode.GENERIC_SERVER_ERROR)
    said = list(server.handle_event(broke))

    assert [type(one).__name__ for one in said] == ["SendData", "CloseConnection"]


def told(client: _http1.Http1Connection, data: bytes) -> list[commands.Command]:
    return list(client.handle_event(events.DataReceived(client.conn, data)))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (HEAD_LIMIT_BYTES + 1),
        CHUNKED + b"5;" + b"x" * (HEAD_LIMIT_BYTES + 1),
        CHUNKED + b"0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_answer_that_never_becomes_one_ends_the_connection(data: bytes) -> None:
    said = told(asked(), data)

    closed = [one for one in said if isinstance(one, commands.CloseConnection)]
    broke = [one for one in said if isinstance(one, _base.ReceiveHttp)][-1]
    assert len(closed) == 1
    assert isinstance(broke.event, _http1.ResponseProtocolError)


def test_answer_passes_whatever_its_length() -> None:
    said = told(asked(), CHUNKED + b"80000\r\n" + b"x" * 0x80000 + b"\r\n0\r\n\r\n")

    assert [type(one.event).__name__ for one in said if isinstance(one, _base.ReceiveHttp)] == [
        "ResponseHeaders",
        "ResponseData",
        "ResponseEndOfMessage",
    ]


def test_nothing_is_kept_after_the_end() -> None:
    with mitmproxy_context() as made:
        server = BoundedServer(context.Context(tflow.tclient_conn(), made.options))
    list(server.handle_event(events.Start()))

    first = told(server, b"y" * (HEAD_LIMIT_BYTES + 1))
    second = told(server, b"y" * (HEAD_LIMIT_BYTES + 1))

    assert b"431" in next(one.data for one in first if isinstance(one, commands.SendData))
    assert second == []
    assert len(server.buf) == 0


def test_interim_answers_are_dropped_and_counted_anew_for_each_answer() -> None:
    client = asked()

    said = told(client, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * INTERIM_LIMIT)
    said += told(client, b"HTTP/1.1 204 No Content\r\n\r\n")

    events_in = [one.event for one in said if isinstance(one, _base.ReceiveHttp)]
    assert [type(one).__name__ for one in events_in] == ["ResponseHeaders", "ResponseEndOfMessage"]
    assert events_in[0].response.status_code == 204


def test_interim_answers_without_end_are_given_up() -> None:
    said = told(asked(), b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_LIMIT + 1))

    [broke] = [one.event for one in said if isinstance(one, _base.ReceiveHttp)]
    assert isinstance(broke, _http1.ResponseProtocolError)


def test_switch_of_protocols_is_no_answer() -> None:
    said = told(asked(), b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")

    [broke] = [one.event for one in said if isinstance(one, _base.ReceiveHttp)]
    assert isinstance(broke, _http1.ResponseProtocolError)


def test_switch_that_was_asked_for_is_the_answer() -> None:
    client = asked()
    assert client.request is not None
    client.request.headers["upgrade"] = "WebSocket"

    said = told(client, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")

    answer = next(one.event for one in said if isinstance(one, _base.ReceiveHttp))
    assert isinstance(answer, _http1.ResponseHeaders)
    assert answer.response.status_code == 101


def test_head_has_a_minute_from_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    client, now = asked(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    now[0] += 10 * HEAD_SECONDS  # a model thinks
    said = told(client, b"HTTP/1.1 200 OK\r\n")
    now[0] += HEAD_SECONDS
    said += told(client, b"X: y\r\n")
    assert said == []
    now[0] += 1
    said = told(client, b"X: y\r\n")

    assert [one for one in said if isinstance(one, commands.CloseConnection)]


def test_what_waits_behind_an_answer_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with mitmproxy_context() as made:
        server = BoundedServer(context.Context(tflow.tclient_conn(), made.options))
    list(server.handle_event(events.Start()))
    first = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    told(server, first + b"GET / HT")
    now[0] += 10 * HEAD_SECONDS
    said = told(server, b"TP/1.1\r\n")

    assert not [one for one in said if isinstance(one, commands.CloseConnection)]
