"""HTTP/1.1 connections that keep a bounded number of bytes, for a bounded time.

mitmproxy collects a header block, a chunk's size line and what a client sends ahead of an answer for
as long as they grow, however slowly, and a message that ends in trailers breaks its parser. Here each
is a refusal and the end of the connection. It also takes an interim answer (1xx) for the answer, and
sends the parts of a message one by one, although it has the whole.
"""

from __future__ import annotations

import re
import time

from h11._receivebuffer import ReceiveBuffer
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import _base, _events, _http1

HEAD_LIMIT_BYTES = 256 * 1024
"""Four times what the most generous servers take; no client of a model comes near."""

HEAD_SECONDS = 60
"""From the first byte of a header block or chunk's size line to its last. The time before that first
byte, in which models think, is not in it."""

INTERIM_LIMIT = 16
"""Interim answers before the answer. Providers send none, or one ``100 Continue``."""

INTERIM = re.compile(rb"HTTP/1\.[01] 1([0-9][0-9])[ \r\n]")
"""Source: https://www.rfc-editor.org/rfc/rfc9110.html#name-informational-1xx"""

JOINED_LIMIT_BYTES = 64 * 1024
"""Of a body that goes out in one piece with its header block; a longer one is not worth its copy."""

TOO_LONG = f"More than {HEAD_LIMIT_BYTES} bytes came that are no whole message."
TOO_SLOW = "A header block or chunk line took too long to come."
TRAILERS = "Trailers are not read."
SWITCHED = "The provider switched to another protocol, which nobody asked for."
TOO_MANY = f"More than {INTERIM_LIMIT} interim answers came before the answer."


class BoundedHttp1(_http1.Http1Connection):
    """What both sides share.

    Attributes:
        unread_since: When the first of the bytes came that are no whole line or block yet; on the
            monotonic clock, None while there are none.
        joined: What there is to send of a message that is here whole; None between such messages.
    """

    unread_since: float | None = None
    joined: bytes | None = None

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        unread = len(self.buf)
        try:
            yield from super()._handle_event(event)
        except RuntimeError:  # mitmproxy raises a kind of it where it meets trailers
            yield from self.give_up(400, TRAILERS)
        if len(self.buf) > HEAD_LIMIT_BYTES:
            yield from self.give_up(431, TOO_LONG)
        elif isinstance(event, events.DataReceived) and self.is_too_slow(unread, event):
            yield from self.give_up(408, TOO_SLOW)

    def send(self, event: _base.HttpEvent) -> layer.CommandGenerator[None]:
        """As mitmproxy's, but a short message that is here whole is one record and one packet.

        Each piece costs the time of a system call here and of a wake-up where it arrives.
        """
        if is_whole(event) and (self.request_done or isinstance(event, _events.RequestHeaders)):
            self.joined = (
                b""  # an answer to a request that is still coming has its end after that's
            )
        if self.joined is None:
            yield from super().send(event)
            return
        for command in super().send(event):
            if self.joined is not None and isinstance(command, commands.SendData):
                self.joined += command.data
                continue
            yield from self.send_joined()  # first: a next message may be sent while this one ends
            yield command
        if not isinstance(event, GOES_ON):
            yield from self.send_joined()

    def send_joined(self) -> layer.CommandGenerator[None]:
        """Send what was joined."""
        data, self.joined = self.joined, None
        if data:
            yield commands.SendData(self.conn, data)

    def is_too_slow(self, unread: int, event: events.DataReceived) -> bool:
        """Whether a block has been coming for too long, byte by byte, and is not whole yet."""
        if not self.buf or self.state == self.wait:  # what waits behind an answer has time
            self.unread_since = None
            return False
        nothing_was_read = unread and len(self.buf) == unread + len(event.data)
        if self.unread_since is None or not nothing_was_read:
            self.unread_since = time.monotonic()
        return time.monotonic() - self.unread_since > HEAD_SECONDS

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


GOES_ON = (
    _events.RequestHeaders,
    _events.RequestData,
    _events.ResponseHeaders,
    _events.ResponseData,
)
"""Events of a message that another one follows at once, where the whole message is here."""


def is_whole(event: _base.HttpEvent) -> bool:
    """Whether the event begins a message whose body is here and short."""
    if not isinstance(event, _events.RequestHeaders | _events.ResponseHeaders) or event.end_stream:
        return False
    message = event.request if isinstance(event, _events.RequestHeaders) else event.response
    return not message.stream and 0 < len(message.data.content or b"") <= JOINED_LIMIT_BYTES


class BoundedServer(BoundedHttp1, _http1.Http1Server):
    """The side that clients talk to."""

    def send(self, event: _base.HttpEvent) -> layer.CommandGenerator[None]:
        """As both sides do, but no body of an answer to HEAD: clients would read it as the next answer.

        Source: https://www.rfc-editor.org/rfc/rfc9110.html#name-head
        """
        asked = self.request.method.upper() if self.request is not None else ""
        if asked != "HEAD" or not isinstance(event, _events.ResponseData):
            yield from super().send(event)


class BoundedClient(BoundedHttp1, _http1.Http1Client):
    """The side that talks to a provider."""

    interims = 0

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived) and self.expects_answer():
            self.buf += event.data
            event = events.DataReceived(event.connection, b"")
            yield from self.skip_interims()
        else:
            self.interims = 0
        yield from super()._handle_event(event)

    def expects_answer(self) -> bool:
        """Whether the next bytes begin an answer, or go on with its header block."""
        return self.state == self.read_headers and self.request is not None

    def asks_for_websocket(self) -> bool:
        """Whether the request that is being answered is an upgrade, which the house has let go."""
        asked = self.request.headers.get("upgrade", "") if self.request is not None else ""
        return asked.strip().lower() == "websocket"

    def skip_interims(self) -> layer.CommandGenerator[None]:
        """Drop interim answers: mitmproxy would take one for the answer, and the answer for nothing."""
        while interim := INTERIM.match(self.buf._data):
            if interim[1] == b"01" and self.asks_for_websocket():
                return
            if interim[1] == b"01":
                yield from self.give_up(502, SWITCHED)
            elif self.buf.maybe_extract_lines() is None:
                return
            else:
                self.interims += 1
                if self.interims > INTERIM_LIMIT:
                    yield from self.give_up(502, TOO_MANY)
