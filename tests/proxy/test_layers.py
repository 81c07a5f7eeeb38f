"""What stands below the hooks, pinned to the mitmproxy that it was written against."""

from __future__ import annotations

import gc
import weakref

from mitmproxy import http
from mitmproxy.addons import proxyserver
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import http as mitm_http
from mitmproxy.test import tflow, tutils

from proxy.house import House, mitmproxy_context
from tollkeeper.proxy.layers import (
    STREAMS,
    GovernedStream,
    RefuseTunnel,
    fingerprint,
    governed_layer,
    when_client_leaves,
)
from tollkeeper.proxy.own_hooks import WatchedQueue

PINNED = {
    "HttpLayer._handle_event": "6ba31883cc7a06b3",
    "HttpLayer.make_stream": "654959c6e74548e1",
    "HttpStream._handle_event": "e3cbfef7310ae81f",
    "HttpStream.make_server_connection": "ddc7bc72f4d2fbc7",
    "HttpStream.check_body_size": "236ca0a7b9fd4f69",
    "HttpStream.state_wait_for_request_headers": "3706d5d5ce01dcd4",
    "HttpStream.state_consume_request_body": "45459c1bbd8bdb1a",
    "HttpStream.state_consume_response_body": "5323db61dfc7e2e1",
    "HttpStream.state_stream_response_body": "3fb6320300d3ddd5",
    "HttpStream.send_response": "d581bc106152e369",
    "HttpStream.start_response_stream": "b0de9e9a5ee27276",
    "HttpStream.handle_protocol_error": "59fc3b2eeeabf63a",
    "HttpStream.check_killed": "368cad352d1e82b6",
    "HttpStream.flow_done": "ad9969744785c572",
    "Http1Connection._handle_event": "2ac8db3e43ae743f",
    "Http1Connection.read_body": "aece271029af36e4",
    "Http1Client.read_headers": "415454c5fa8b5981",
    "Http1Client.send": "35d961e20d481204",
    "Http1Server.send": "cc218a1337c0f5cf",
    "Layer.handle_event": "fd88b0fb09ceddbb",
}
"""Of mitmproxy 12.2.3, 12.3.0 and 12.3.1, whose sources of these files are the same bytes."""


def test_mitmproxy_is_the_one_that_our_layers_were_written_against() -> None:
    assert fingerprint() == PINNED


def test_every_method_that_is_overridden_is_in_the_fingerprint() -> None:
    class_of = {GovernedStream: mitm_http.HttpStream, governed_layer(lambda f, r: r, lambda: 1): (
        mitm_http.HttpLayer
    )}  # fmt: skip
    overridden = {
        f"{base.__name__}.{name}"
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


def test_queue_keeps_order_and_wakes_for_the_clients_end_alone(house: House) -> None:
    woken: list[str] = []
    stream = object.__new__(GovernedStream)
    stream._paused_event_queue = WatchedQueue((), lambda: None)
    flow = house.flow()
    STREAMS[flow.id] = stream
    body = mitm_http.RequestData(1, b"x")
    stream._paused_event_queue.append(body)

    when_client_leaves(flow, lambda: woken.append("gone"))
    stream._paused_event_queue.append(mitm_http.RequestEndOfMessage(1))
    assert woken == []
    gone = mitm_http.RequestProtocolError(1, "gone", mitm_http.ErrorCode.CLIENT_DISCONNECTED)
    stream._paused_event_queue.append(gone)

    assert woken == ["gone"]
    assert stream._paused_event_queue.popleft() is body
    assert len(stream._paused_event_queue) == 2


def test_flow_without_a_stream_has_nobody_to_tell(house: House) -> None:
    when_client_leaves(house.flow(), lambda: None)
