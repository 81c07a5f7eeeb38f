"""Our subclasses of mitmproxy's HTTP layers: what no hook can do.

Three things: a refusal given at the headers is sent without the body being kept; credentials are put
in below the flow, so that no view, dump or export of a flow ever holds a real key; and a client that
goes away wakes whoever waits on its flow, on HTTP/2 resets too.

Fresh ``HttpLayer`` objects are re-classed in the ``next_layer`` hook; nothing of mitmproxy is replaced.
``fingerprint`` names the source of every method that is overridden or relied on, and a test pins it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http as mitm_http

Dress = Callable[[http.HTTPFlow, http.Request], http.Request]

CLIENT_GONE: WeakKeyDictionary[http.HTTPFlow, Callable[[], None]] = WeakKeyDictionary()
"""Who wants to know at once that a flow's client is gone."""


class GovernedStream(mitm_http.HttpStream):
    """One request and its answer."""

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Tell a waiting hook of a lost client: mitmproxy only queues that while a hook runs."""
        if self._paused and isinstance(event, mitm_http.RequestProtocolError):
            wake = CLIENT_GONE.get(self.flow)
            if wake is not None:
                wake()
        yield from super().handle_event(event)

    def state_wait_for_request_headers(
        self, event: mitm_http.RequestHeaders
    ) -> layer.CommandGenerator[None]:
        """Answer a refusal that ``requestheaders`` gave without ever keeping the body.

        HTTP/1.1 clients are answered at once. HTTP/2 clients are answered when they have sent all of
        it: several take an early answer for an error of the framing layer.
        """
        yield from super().state_wait_for_request_headers(event)
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


def governed_layer(dress: Dress) -> type[mitm_http.HttpLayer]:
    """The HTTP layer class whose outgoing requests are dressed by ``dress(flow, request)``."""

    class GovernedHttpLayer(mitm_http.HttpLayer):
        def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
            self.streams[stream_id] = GovernedStream(self.context.fork(), stream_id)
            yield from self.event_to_child(self.streams[stream_id], events.Start())

        def event_to_child(self, child: Any, event: Any) -> layer.CommandGenerator[None]:
            outgoing = type(event) is mitm_http.RequestHeaders and not isinstance(
                child, mitm_http.HttpStream
            )
            if outgoing and (stream := self.streams.get(event.stream_id)) is not None:
                event = mitm_http.RequestHeaders(
                    event.stream_id, dress(stream.flow, event.request), event.end_stream
                )
            yield from super().event_to_child(child, event)

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
        "HttpLayer.event_to_child": mitm_http.HttpLayer.event_to_child,
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
