"""One connection's HTTP, as our subclass of mitmproxy's ``HttpLayer``, and what it is pinned to.

Fresh ``HttpLayer`` objects are re-classed in the ``next_layer`` hook; nothing of mitmproxy is replaced.
``fingerprint`` names the source of every method that is overridden or relied on, and a test pins it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import ClassVar

from mitmproxy import addonmanager
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, context, events, layer, mode_servers, server
from mitmproxy.proxy.layers import http as mitm_http
from mitmproxy.proxy.layers.http import _http1

from tollkeeper.proxy.bounded import BoundedClient, BoundedServer
from tollkeeper.proxy.layers import Dress, GovernedStream
from tollkeeper.proxy.quick import fork

THROUGH_HTTP = (events.Start, events.ConnectionClosed, events.MessageInjected)
"""Events that concern a tunnel's HTTP too; all others are of the bytes inside."""


class GovernedHttpLayer(mitm_http.HttpLayer):
    """Makes governed streams on bounded connections.

    Attributes:
        stream_class: The class of its streams.
        tunnel: The CONNECT behind which nothing but bytes comes any more, once there is one.
    """

    stream_class: ClassVar[type[GovernedStream]]
    tunnel: mitm_http.HttpStream | None = None

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """As mitmproxy's, but what comes in a tunnel goes straight to the layer inside.

        mitmproxy takes each piece, there and back, for a part of an HTTP message: a fortieth of the
        instructions of a small call.
        """
        if self.tunnel is None or isinstance(event, THROUGH_HTTP):
            yield from super().handle_event(event)
            if self.tunnel is None:
                self.tunnel = self.established()
        else:
            yield from self.inside(self.tunnel, event)

    def established(self) -> mitm_http.HttpStream | None:
        """The CONNECT of this connection, from when on its client was answered.

        None where requests came before it whose servers are still connected: what those send is not of
        the tunnel.
        """
        if self.mode is not mitm_http.HTTPMode.regular:
            return None
        client = self.connections.get(self.context.client)
        if not isinstance(client, BoundedServer) or client.state != client.passthrough:
            return None
        stream = self.streams.get(client.stream_id)
        if stream is None or stream.child_layer is None:
            return None
        alone = all(one in (client, stream) for one in self.connections.values())
        return stream if alone and stream.flow.request.method == "CONNECT" else None

    def inside(
        self, tunnel: mitm_http.HttpStream, event: events.Event
    ) -> layer.CommandGenerator[None]:
        """What the layer inside makes of an event, as ``HttpStream.passthrough`` would pass it on."""
        if isinstance(event, events.CommandCompleted):
            self.command_sources.pop(event.command, None)
        assert tunnel.child_layer is not None
        for command in tunnel.child_layer.handle_event(event):
            if isinstance(command, commands.OpenConnection):
                self.connections[command.connection] = tunnel
            elif isinstance(command, commands.CloseConnection):
                client = command.connection == self.context.client
                if client and not command.connection.state & ConnectionState.CAN_WRITE:
                    continue
                yield commands.CloseConnection(command.connection)
                continue
            yield command

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        client = self.context.client
        if isinstance(event, events.Start):
            if client.alpn not in (b"h2", b"h3"):
                self.connections.setdefault(client, BoundedServer(self.context.fork()))
        elif isinstance(event, events.DataReceived) and event.connection is not client:
            handler = self.connections.get(event.connection)
            last = handler.context.layers[-1] if handler else None
            if type(last) is mitm_http.Http1Client:
                last.__class__ = BoundedClient
        yield from super()._handle_event(event)

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """As mitmproxy's, of our class."""
        stream = self.streams[stream_id] = self.stream_class(fork(self.context), stream_id)
        stream.asks = self.connections.get(self.context.client)
        yield from self.event_to_child(stream, events.Start())


def governed_layer(dress: Dress, body_limit_bytes: Callable[[], int]) -> type[mitm_http.HttpLayer]:
    """The HTTP layer class whose requests leave as ``dress(flow, request)`` makes them."""

    class Stream(GovernedStream):
        pass

    class Layer(GovernedHttpLayer):
        pass

    Stream.dress = staticmethod(dress)
    Stream.body_limit_bytes = staticmethod(body_limit_bytes)
    Layer.stream_class = Stream
    return Layer


class RefuseTunnel(layer.Layer):
    """Closes a client connection that may not go on."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def fingerprint() -> dict[str, str]:
    """SHA-256 prefixes of the mitmproxy methods that these classes override or rely on."""
    pinned = {
        "HttpLayer._handle_event": mitm_http.HttpLayer._handle_event,
        "HttpLayer.make_stream": mitm_http.HttpLayer.make_stream,
        "HttpLayer.event_to_child": mitm_http.HttpLayer.event_to_child,
        "Context.fork": context.Context.fork,
        "HttpStream.handle_connect_finish": mitm_http.HttpStream.handle_connect_finish,
        "HttpStream.passthrough": mitm_http.HttpStream.passthrough,
        "HttpStream._handle_event": mitm_http.HttpStream._handle_event,
        "HttpStream.make_server_connection": mitm_http.HttpStream.make_server_connection,
        "HttpStream.check_body_size": mitm_http.HttpStream.check_body_size,
        "HttpStream.state_wait_for_request_headers": (
            mitm_http.HttpStream.state_wait_for_request_headers
        ),
        "HttpStream.state_consume_request_body": mitm_http.HttpStream.state_consume_request_body,
        "HttpStream.state_consume_response_body": mitm_http.HttpStream.state_consume_response_body,
        "HttpStream.state_stream_response_body": mitm_http.HttpStream.state_stream_response_body,
        "HttpStream.state_wait_for_response_headers": (
            mitm_http.HttpStream.state_wait_for_response_headers
        ),
        "HttpStream.send_response": mitm_http.HttpStream.send_response,
        "HttpStream.start_response_stream": mitm_http.HttpStream.start_response_stream,
        "HttpStream.handle_protocol_error": mitm_http.HttpStream.handle_protocol_error,
        "HttpStream.check_killed": mitm_http.HttpStream.check_killed,
        "HttpStream.flow_done": mitm_http.HttpStream.flow_done,
        "Http1Connection._handle_event": _http1.Http1Connection._handle_event,
        "Http1Connection.passthrough": _http1.Http1Connection.passthrough,
        "Http1Connection.read_body": _http1.Http1Connection.read_body,
        "Http1Client.read_headers": _http1.Http1Client.read_headers,
        "Http1Client.send": _http1.Http1Client.send,
        "Http1Server.send": _http1.Http1Server.send,
        "Layer.handle_event": layer.Layer.handle_event,
        "NextLayer.handle_event": layer.NextLayer.handle_event,
        "AddonManager.handle_lifecycle": addonmanager.AddonManager.handle_lifecycle,
        "ProxyConnectionHandler.handle_hook": mode_servers.ProxyConnectionHandler.handle_hook,
        "ConnectionHandler.hook_task": server.ConnectionHandler.hook_task,
    }
    return {
        name: hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16]
        for name, method in pinned.items()
    }
