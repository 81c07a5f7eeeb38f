"""HTTP/1.1 connections that keep a bounded number of bytes.

mitmproxy collects a header block, a chunk's size line and what a client sends ahead of an answer for
as long as they grow, and a message that ends in trailers breaks its parser. Here the one is a refusal
and the end of the connection, and so is the other.
"""

from __future__ import annotations

from h11._receivebuffer import ReceiveBuffer
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import _base, _http1

HEAD_LIMIT_BYTES = 256 * 1024
"""Four times what the most generous servers take; no client of a model comes near."""

TOO_LONG = f"More than {HEAD_LIMIT_BYTES} bytes came that are no whole message."
TRAILERS = "Trailers are not read."


class BoundedHttp1(_http1.Http1Connection):
    """What both sides share."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        try:
            yield from super()._handle_event(event)
        except RuntimeError:  # mitmproxy raises a kind of it where it meets trailers
            yield from self.give_up(400, TRAILERS)
        if len(self.buf) > HEAD_LIMIT_BYTES:
            yield from self.give_up(431, TOO_LONG)

    def give_up(self, status: int, why: str) -> layer.CommandGenerator[None]:
        """Close the connection; a client is told why, and who waits on a message that it broke."""
        self.buf = ReceiveBuffer()
        if self.state == self.done:
            return
        if isinstance(self, _http1.Http1Server) and self.response is None:
            yield commands.SendData(self.conn, _http1.make_error_response(status, why))
        yield commands.CloseConnection(self.conn)
        self.state = self.done
        if self.request is not None and self.stream_id is not None:
            broke = self.ReceiveProtocolError(self.stream_id, why, self.ReceiveProtocolError.code)
            yield _base.ReceiveHttp(broke)


class BoundedServer(BoundedHttp1, _http1.Http1Server):
    """The side that clients talk to."""


class BoundedClient(BoundedHttp1, _http1.Http1Client):
    """The side that talks to a provider."""
