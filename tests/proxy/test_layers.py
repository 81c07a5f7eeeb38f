"""One request and its answer, below the hooks."""

from __future__ import annotations

from mitmproxy.proxy.layers import http as mitm_http

from proxy.house import House
from tollkeeper.proxy.layers import STREAMS, GovernedStream, when_client_leaves
from tollkeeper.proxy.own_hooks import WatchedQueue


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
