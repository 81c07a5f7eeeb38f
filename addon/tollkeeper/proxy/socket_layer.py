"""WebSocket connections that keep a bounded number of bytes and can be ended from our side."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import websocket
from wsproto.events import CloseConnection, TextMessage
from wsproto.frame_protocol import CloseReason

from tollkeeper.proxy.layers import STREAMS

MESSAGE_LIMIT_BYTES = 32 * 1024 * 1024
"""Of one message, in either direction: as much as the body of a request by default."""


class BoundedWebsocket(websocket.WebsocketLayer):
    """mitmproxy's, re-classed when a connection starts.

    Attributes:
        behind: What still goes to the provider, after the messages that are being looked at.
        last_words: What the client is told before the connection ends on both sides; None to go on.
        idle: Whether no call is under way on it, so that a proxy that ends need not wait.
    """

    behind: list[bytes]
    last_words: bytes | None
    idle: bool

    def relay_messages(self, event: events.Event) -> layer.CommandGenerator[None]:
        """As mitmproxy's, until a message is too long or the connection is to end."""
        yield from super().relay_messages(event)
        behind, self.behind = self.behind, []
        if self._handle_event == self.done:
            return
        for frame in behind if self.last_words is None else ():
            yield self.server_ws.send2(TextMessage(frame.decode("utf-8", "replace")))
        sockets = (self.client_ws, self.server_ws)
        longest = max(sum(map(len, socket.frame_buf)) for socket in sockets)
        if self.last_words is None and longest <= MESSAGE_LIMIT_BYTES:
            return
        if self.last_words:
            yield self.client_ws.send2(TextMessage(self.last_words.decode("utf-8", "replace")))
        for socket in sockets:
            yield socket.send2(CloseConnection(CloseReason.POLICY_VIOLATION))
            yield commands.CloseConnection(socket.conn)
        yield websocket.WebsocketEndHook(self.flow)
        self.flow.live = False
        self._handle_event = self.done


def bound(flow: http.HTTPFlow) -> None:
    """Have a flow's connection bounded, from its start on."""
    made = _layer_of(flow)
    assert made is not None
    made.__class__ = BoundedWebsocket
    vars(made).update(behind=[], last_words=None, idle=False)


def behind(flow: http.HTTPFlow) -> list[bytes]:
    """What goes to a flow's provider after the messages that hooks are looking at, in order."""
    made = _layer_of(flow)
    return made.behind if isinstance(made, BoundedWebsocket) else []


def end(flow: http.HTTPFlow, last_words: bytes) -> None:
    """Have a flow's connection end after the message that a hook is looking at."""
    made = _layer_of(flow)
    if isinstance(made, BoundedWebsocket):
        made.last_words = last_words


def rest(flow: http.HTTPFlow, idle: bool) -> None:
    """Say whether a flow's connection is idle."""
    made = _layer_of(flow)
    if isinstance(made, BoundedWebsocket):
        made.idle = idle


def _layer_of(flow: http.HTTPFlow) -> websocket.WebsocketLayer | None:
    stream = STREAMS.get(flow.id)
    child = getattr(stream, "child_layer", None)
    return child if isinstance(child, websocket.WebsocketLayer) else None
