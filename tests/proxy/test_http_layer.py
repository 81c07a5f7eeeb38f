"""What stands below the hooks, pinned to the mitmproxy that it was written against; and tunnels."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.addons import proxyserver
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import http as mitm_http
from mitmproxy.test import tflow, tutils

from proxy.house import mitmproxy_context
from tollkeeper.proxy.http_layer import (
    GovernedHttpLayer,
    RefuseTunnel,
    fingerprint,
    governed_layer,
)
from tollkeeper.proxy.layers import STREAMS, GovernedStream

PINNED = {
    "HttpLayer._handle_event": "6ba31883cc7a06b3",
    "HttpLayer.make_stream": "654959c6e74548e1",
    "HttpLayer.event_to_child": "1095f6e1581d1780",
    "Context.fork": "cad9374a0689f10a",
    "HttpStream.handle_connect_finish": "eb3a0054cb5b716e",
    "HttpStream.passthrough": "a6df32aba1ae251a",
    "HttpStream._handle_event": "e3cbfef7310ae81f",
    "HttpStream.make_server_connection": "ddc7bc72f4d2fbc7",
    "HttpStream.check_body_size": "236ca0a7b9fd4f69",
    "HttpStream.state_wait_for_request_headers": "3706d5d5ce01dcd4",
    "HttpStream.state_consume_request_body": "45459c1bbd8bdb1a",
    "HttpStream.state_consume_response_body": "5323db61dfc7e2e1",
    "HttpStream.state_stream_response_body": "3fb6320300d3ddd5",
    "HttpStream.state_wait_for_response_headers": "10e32e91b2948164",
    "HttpStream.send_response": "d581bc106152e369",
    "HttpStream.start_response_stream": "b0de9e9a5ee27276",
    "HttpStream.handle_protocol_error": "59fc3b2eeeabf63a",
    "HttpStream.check_killed": "368cad352d1e82b6",
    "HttpStream.flow_done": "ad9969744785c572",
    "Http1Connection._handle_event": "2ac8db3e43ae743f",
    "Http1Connection.passthrough": "aa59bc78ffbdcf54",
    "Http1Connection.read_body": "aece271029af36e4",
    "Http1Client.read_headers": "415454c5fa8b5981",
    "Http1Client.send": "35d961e20d481204",
    "Http1Server.send": "cc218a1337c0f5cf",
    "Layer.handle_event": "fd88b0fb09ceddbb",
    "NextLayer.handle_event": "4e9724eb64588ac2",
    "AddonManager.handle_lifecycle": "38c97e792d1db5b7",
    "ProxyConnectionHandler.handle_hook": "9f8b52fd798203c9",
    "ConnectionHandler.hook_task": "9ac7970160526268",
}
"""Of mitmproxy 12.2.3, 12.3.0 and 12.3.1, whose sources of these files are the same bytes."""


def test_mitmproxy_is_the_one_that_our_layers_were_written_against() -> None:
    assert fingerprint() == PINNED


def test_every_method_that_is_overridden_is_in_the_fingerprint() -> None:
    class_of = {GovernedStream: mitm_http.HttpStream, GovernedHttpLayer: mitm_http.HttpLayer}
    overridden = {
        getattr(base, name).__qualname__
        for ours, base in class_of.items()
        for name, value in vars(ours).items()
        if callable(value) and hasattr(base, name) and not name.startswith("__")
    }

    assert overridden <= set(PINNED)


def test_governed_layer_makes_governed_streams() -> None:
    with mitmproxy_context() as made:
        client = tflow.tclient_conn()
        below = context.Context(client, made.options)
        http_layer = mitm_http.HttpLayer(below, mitm_http.HTTPMode.regular)
        http_layer.__class__ = governed_layer(lambda flow, request: request, lambda: 1)

        list(http_layer.make_stream(1))

    assert isinstance(http_layer.streams[1], GovernedStream)


def test_stream_and_its_flow_are_let_go_with_their_connection() -> None:
    def asked() -> weakref.ref[http.HTTPFlow]:
        below = context.Context(tflow.tclient_conn(), made.options)
        http_layer = mitm_http.HttpLayer(below, mitm_http.HTTPMode.regular)
        http_layer.__class__ = governed_layer(lambda flow, request: request, lambda: 1)
        list(http_layer.make_stream(1))
        stream = http_layer.streams[1]
        headers = mitm_http.RequestHeaders(1, tutils.treq(scheme=b"http"), end_stream=True)
        [hook] = stream.handle_event(headers)
        list(stream.handle_event(events.HookCompleted(hook)))
        assert STREAMS[stream.flow.id] is stream
        return weakref.ref(stream.flow)

    with mitmproxy_context(proxyserver.Proxyserver()) as made:
        flow = asked()
        gc.collect()

    assert flow() is None


def test_each_governed_layer_dresses_with_its_own() -> None:
    first = governed_layer(lambda flow, request: request, lambda: 1)
    second = governed_layer(lambda flow, request: request, lambda: 2)

    assert first is not second


def test_tunnel_that_may_not_go_on_is_closed_at_once() -> None:
    with mitmproxy_context() as made:
        below = context.Context(tflow.tclient_conn(), made.options)

        done = list(RefuseTunnel(below).handle_event(events.Start()))

    assert [type(one) for one in done] == [commands.CloseConnection]
    assert isinstance(RefuseTunnel(below), layer.Layer)


class Inside(layer.Layer):
    """Does what the first byte of what comes says, as any layer in a tunnel may."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        client = self.context.client
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(event.connection)
        if not isinstance(event, events.DataReceived):
            return
        match event.data[:1]:
            case b"o":
                self.context.server.address = ("there", 443)
                error = yield commands.OpenConnection(self.context.server)
                yield commands.SendData(client, f"opened: {error}".encode())
            case b"w":
                yield commands.RequestWakeup(1.0)
            case b"c":
                yield commands.CloseConnection(client)
            case b"h":
                yield commands.CloseTcpConnection(client, half_close=True)
            case b"s" if self.context.server.connected:
                yield commands.SendData(self.context.server, event.data)
            case b"e" if self.context.server.connected:
                yield commands.CloseConnection(self.context.server)
            case _:
                yield commands.SendData(client, event.data[::-1])


Quick = governed_layer(lambda flow, request: request, lambda: 1_000_000)


class Slow(Quick):  # type: ignore[misc, valid-type]
    """As mitmproxy does it."""

    def established(self) -> None:
        """Never."""


CONNECT = b"CONNECT there:443 HTTP/1.1\r\nhost: there:443\r\n\r\n"
PLAIN = b"GET http://elsewhere/ HTTP/1.1\r\nhost: elsewhere\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def story(
    kind: type[GovernedHttpLayer], steps: list[tuple[str, bytes]], *, plain_before: bool = False
) -> list[Any]:
    """What a client's tunnel makes of these events, after its CONNECT."""
    with mitmproxy_context(proxyserver.Proxyserver()) as made:
        client = tflow.tclient_conn()
        client.alpn = None
        client.state = ConnectionState.OPEN
        below = context.Context(client, made.options)
        below.server = Server(address=None)
        top = mitm_http.HttpLayer(below, mitm_http.HTTPMode.regular)
        top.__class__ = kind
        told: list[Any] = [*driven(top, events.Start())]
        peers: dict[str, Connection] = {"client": client, "server": below.server}
        if plain_before:
            told += driven(top, events.DataReceived(client, PLAIN))
            [peers["other"]] = set(top.connections) - {client}
            told += driven(top, events.DataReceived(peers["other"], ANSWER))
        told += driven(top, events.DataReceived(client, CONNECT))
        assert (top.tunnel is not None) is (kind is Quick and not plain_before)
        for name, data in steps:
            peer = peers.get(name.split()[0])
            if peer is None or not peer.state & ConnectionState.CAN_READ:
                continue
            if name.endswith("closes"):
                peer.state &= ~ConnectionState.CAN_READ
                told += driven(top, events.ConnectionClosed(peer))
            else:
                told += driven(top, events.DataReceived(peer, data))
    return told


def driven(
    top: mitm_http.HttpLayer, event: events.Event, inside: type[layer.Layer] = Inside
) -> Iterator[Any]:
    """The commands of one event; each that waits for an answer has it at once."""
    for command in top.handle_event(event):
        match command:
            case layer.NextLayerHook():
                command.data.layer = inside(command.data.context)
                yield from driven(top, events.HookCompleted(command), inside)
            case commands.StartHook():
                yield command.name
                yield from driven(top, events.HookCompleted(command), inside)
            case commands.OpenConnection():
                command.connection.state = ConnectionState.OPEN
                yield "open"
                yield from driven(top, events.OpenConnectionCompleted(command, None), inside)
            case commands.RequestWakeup():
                yield "wake"
                yield from driven(top, events.Wakeup(command), inside)
            case commands.SendData():
                yield command.connection is top.context.client, command.data
            case commands.CloseConnection():
                command.connection.state = ConnectionState.CLOSED
                yield type(command), command.connection is top.context.client
            case other:
                yield type(other)


STEPS = st.tuples(
    st.sampled_from(
        ["client", "client", "client", "server", "other", "client closes", "server closes", "other closes"]
    ),
    st.sampled_from([b"hello", b"o", b"w", b"c", b"h", b"s", b"e", b"x" * 5000]),
)  # fmt: skip


@given(st.lists(STEPS, max_size=12), st.booleans())
def test_what_goes_straight_inside_is_what_mitmproxy_would_make_of_it(
    steps: list[tuple[str, bytes]], plain_before: bool
) -> None:
    quick = story(Quick, steps, plain_before=plain_before)

    assert quick == story(Slow, steps, plain_before=plain_before)


def test_client_that_leaves_before_its_connect_is_answered_is_gone_inside_too() -> None:
    heard: list[type[events.Event]] = []

    class Listens(Inside):
        def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            heard.append(type(event))
            yield from super()._handle_event(event)

    with mitmproxy_context(proxyserver.Proxyserver()) as made:
        client = tflow.tclient_conn()
        client.alpn = None
        client.state = ConnectionState.OPEN
        top = mitm_http.HttpLayer(context.Context(client, made.options), mitm_http.HTTPMode.regular)
        top.__class__ = Quick
        list(driven(top, events.Start()))
        [asked] = top.handle_event(events.DataReceived(client, CONNECT + b"hello"))
        [connected] = top.handle_event(events.HookCompleted(asked))
        client.state &= ~ConnectionState.CAN_READ
        list(driven(top, events.ConnectionClosed(client)))
        list(driven(top, events.HookCompleted(connected), Listens))

    assert heard == [events.Start, events.DataReceived, events.ConnectionClosed]


def test_plain_requests_are_no_tunnel() -> None:
    with mitmproxy_context(proxyserver.Proxyserver()) as made:
        client = tflow.tclient_conn()
        client.alpn = None
        below = context.Context(client, made.options)
        top = mitm_http.HttpLayer(below, mitm_http.HTTPMode.regular)
        top.__class__ = Quick
        for event in (
            events.Start(),
            events.DataReceived(client, b"GET http://x/ HTTP/1.1\r\n\r\n"),
        ):
            list(driven(top, event))

    assert top.tunnel is None
