"""What the end-to-end tests of framing do not reach: the side that talks to providers."""

from __future__ import annotations

import pytest
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import _base, _http1
from mitmproxy.test import tflow, tutils

from proxy.house import mitmproxy_context
from tollkeeper.proxy.bounded import HEAD_LIMIT_BYTES, BoundedClient, BoundedServer

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
