"""Our subclasses of mitmproxy's HTTP layers: what no hook can do.

Four things: a refusal given at the headers is sent without the body being kept, and so is one for a
body that grows over the limit; credentials are put in below the flow, so that no view, dump or export
of a flow ever holds a real key; and a client that goes away wakes whoever waits on its flow, on HTTP/2
resets too.

Fresh ``HttpLayer`` objects are re-classed in the ``next_layer`` hook; nothing of mitmproxy is replaced.
``fingerprint`` names the source of every method that is overridden or relied on, and a test pins it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakValueDictionary

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http as mitm_http

Dress = Callable[[http.HTTPFlow, http.Request], http.Request]

STREAMS: WeakValueDictionary[str, GovernedStream] = WeakValueDictionary()
"""The stream of every governed flow by the flow's id, for whoever wants to know that its client is
gone. A stream holds its flow, so that a key could never go first."""


class WatchedQueue(deque[events.Event]):
    """The events that wait while a hook runs; wakes the hook when the client's end is among them.

    mitmproxy itself would tell a hook of a lost client only after the hook has returned.
    """

    def __init__(self, waiting: Iterable[events.Event], wake: Callable[[], None]) -> None:
        self.wake = wake
        super().__init__()
        for event in waiting:
            self.append(event)

    def append(self, event: events.Event) -> None:
        """Queue an event, as ``Layer.handle_event`` does."""
        super().append(event)
        if isinstance(event, mitm_http.RequestProtocolError):
            self.wake()


def when_client_leaves(flow: http.HTTPFlow, wake: Callable[[], None]) -> None:
    """Call ``wake`` as soon as the client of a flow is gone whose hook is running."""
    stream = STREAMS.get(flow.id)
    if stream is not None:
        stream._paused_event_queue = WatchedQueue(stream._paused_event_queue, wake)


@dataclass
class BodyTooLargeHook(commands.StartHook):
    """``body_too_large(flow)``: a request's body grew over the limit; set ``flow.response``."""

    name = "body_too_large"
    flow: http.HTTPFlow


class GovernedStream(mitm_http.HttpStream):
    """One request and its answer."""

    dress: ClassVar[Dress]
    body_limit_bytes: ClassVar[Callable[[], int]]
    undressed: http.Request | None = None

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        """Dress the request for its way out, once there is a connection to send it on.

        What mitmproxy does next is to send ``flow.request``, without leaving this generator;
        ``state_consume_request_body`` puts the undressed one back before anybody else runs.
        """
        ready = yield from super().make_server_connection()
        if ready:
            self.undressed = self.flow.request
            self.flow.request = type(self).dress(self.flow, self.flow.request)
        return ready

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """As mitmproxy's, and the flow is left as everyone may see it."""
        try:
            yield from super().state_consume_request_body(event)
        finally:
            if self.undressed is not None:
                self.flow.request = self.undressed
                self.undressed = None

    def check_body_size(self, request: bool) -> layer.CommandGenerator[bool]:
        """Refuse a request body that grows over the limit; an answer that is buffered has none."""
        if request and len(self.request_body_buf) > type(self).body_limit_bytes():
            self.request_body_buf.clear()
            self.client_state = self.state_drain_request
            yield BodyTooLargeHook(self.flow)
            yield from self.send_refusal()
            return True
        return False

    def state_wait_for_request_headers(
        self, event: mitm_http.RequestHeaders
    ) -> layer.CommandGenerator[None]:
        """Answer a refusal that ``requestheaders`` gave without ever keeping the body.

        HTTP/1.1 clients are answered at once. HTTP/2 clients are answered when they have sent all of
        it: several take an early answer for an error of the framing layer.
        """
        yield from super().state_wait_for_request_headers(event)
        STREAMS[self.flow.id] = self
        refused = (
            self.client_state == self.state_consume_request_body
            and self.flow.response is not None
            and not event.end_stream
        )
        if refused:
            self.client_state = self.state_drain_request
            if not self.flow.request.is_http2:
                yield from self.send_refusal()

    def state_drain_request(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Drop what the client still sends of a refused request."""
        if not isinstance(event, mitm_http.RequestEndOfMessage):
            return
        self.client_state = self.state_done
        if self.server_state == self.state_done:
            yield from self.flow_done()
        else:
            yield from self.send_refusal()

    def send_refusal(self) -> layer.CommandGenerator[None]:
        """As mitmproxy sends an answer that an addon made."""
        yield mitm_http.HttpResponseHeadersHook(self.flow)
        yield from self.send_response()


def governed_layer(dress: Dress, body_limit_bytes: Callable[[], int]) -> type[mitm_http.HttpLayer]:
    """The HTTP layer class whose requests leave as ``dress(flow, request)`` makes them."""

    class Stream(GovernedStream):
        pass

    Stream.dress = staticmethod(dress)
    Stream.body_limit_bytes = staticmethod(body_limit_bytes)

    class GovernedHttpLayer(mitm_http.HttpLayer):
        def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
            self.streams[stream_id] = Stream(self.context.fork(), stream_id)
            yield from self.event_to_child(self.streams[stream_id], events.Start())

    return GovernedHttpLayer


class RefuseTunnel(layer.Layer):
    """Closes a client connection that may not go on."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def fingerprint() -> dict[str, str]:
    """SHA-256 prefixes of the mitmproxy methods that these classes override or rely on."""
    pinned = {
        "HttpLayer.make_stream": mitm_http.HttpLayer.make_stream,
        "HttpStream.make_server_connection": mitm_http.HttpStream.make_server_connection,
        "HttpStream.check_body_size": mitm_http.HttpStream.check_body_size,
        "HttpStream.state_wait_for_request_headers": (
            mitm_http.HttpStream.state_wait_for_request_headers
        ),
        "HttpStream.state_consume_request_body": mitm_http.HttpStream.state_consume_request_body,
        "HttpStream.send_response": mitm_http.HttpStream.send_response,
        "HttpStream.flow_done": mitm_http.HttpStream.flow_done,
        "Layer.handle_event": layer.Layer.handle_event,
    }
    return {
        name: hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16]
        for name, method in pinned.items()
    }
