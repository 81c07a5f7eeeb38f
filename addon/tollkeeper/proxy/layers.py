"""One request and its answer, as our subclass of mitmproxy's ``HttpStream``: what no hook can do.

Nine things: a refusal given at the headers is sent without the body being kept, and so is one for a
body that grows over the limit; an answer that is buffered has a bound too; credentials are put in
below the flow, so that no view, dump or export of a flow ever holds a real key; a token that the proxy
hands out is put in there too; a client that goes away wakes whoever waits on its flow, on HTTP/2 resets
too; a client that is kept waiting beyond its patience is sent heartbeats; a stream that outgrows its
reservation ends on both sides; and a provider that gives no answer is told of in its own words.

``http_layer`` makes the streams.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from mitmproxy import http
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers import http as mitm_http

from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.bounded import BoundedServer
from tollkeeper.proxy.own_hooks import (
    AnswerTooLargeHook,
    BodyTooLargeHook,
    StillHeldHook,
    WatchedQueue,
)
from tollkeeper.proxy.quick import twin
from tollkeeper.proxy.quick_headers import QuickHeaders
from tollkeeper.proxy.quick_hooks import hooks_here

ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
"""Of an answer that is buffered: as much as ``wire.document`` reads, several times a long one with
images in it."""

Dress = Callable[[http.HTTPFlow, http.Request], http.Request]

STREAMS: WeakValueDictionary[str, GovernedStream] = WeakValueDictionary()
"""The stream of every governed flow by the flow's id, for whoever wants to know that its client is
gone. A stream holds its flow, so that a key could never go first."""

SWITCHING_PROTOCOLS = 101

HEARTBEAT = b"\n\n"
"""An event stream's empty event, which its readers skip. Comments (``: …``) break some parsers.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

UNSEEN_BODIES: WeakKeyDictionary[http.HTTPFlow, bytes] = WeakKeyDictionary()
"""What is sent in the place of the body that the flow's own answer shows."""

UNANSWERED: WeakKeyDictionary[http.HTTPFlow, http.Response] = WeakKeyDictionary()
"""What the client is told instead of mitmproxy's page when the provider gives no answer."""


def under_way() -> int:
    """How many requests are neither answered nor broken off; an open tunnel or WebSocket is none."""
    streams = [one for one in list(STREAMS.values()) if not getattr(one.child_layer, "idle", False)]
    return sum(one.flow.live and one.flow.request.method != "CONNECT" for one in streams)


def when_client_leaves(flow: http.HTTPFlow, wake: Callable[[], None]) -> None:
    """Call ``wake`` as soon as the client of a flow is gone whose hook is running."""
    stream = STREAMS.get(flow.id)
    if stream is not None:
        stream._paused_event_queue = WatchedQueue(stream._paused_event_queue, wake)


def framed(request: http.Request) -> http.Request:
    """The request with the length of its body, and nothing behind that.

    HTTP/2 needs no length, and mitmproxy adds none on the way to HTTP/1.1, where such a body would be
    the provider's next request. Trailers, which nobody judged, would end the connection.
    """
    fields = request.headers.fields
    told = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields)
    length = str(len(request.data.content or b"")).encode()
    if (told or length == b"0") and request.trailers is None:
        return request
    made = twin(request)
    made.data.trailers = None
    made.data.headers = QuickHeaders(fields if told else (*fields, (b"content-length", length)))
    return made


class GovernedStream(mitm_http.HttpStream):
    """One request and its answer.

    Attributes:
        asks: Its client's connection.
        undressed: The request as everyone may see it, while the dressed one leaves.
        waits: Whether the client is kept waiting instead of being sent ``flow.response``.
        opened: Whether an event stream to the client has begun before there was an answer.
        in_events: An answer as what an event stream says of it.
    """

    dress: ClassVar[Dress]
    body_limit_bytes: ClassVar[Callable[[], int]]
    asks: layer.Layer | None = None
    undressed: http.Request | None = None
    waits = False
    opened = False
    in_events: Callable[[http.Response], bytes]
    turned_off = False

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """As mitmproxy's, and deaf to what is left of an answer that was replaced."""
        if self.turned_off and isinstance(event, OF_AN_ANSWER):
            return
        yield from hooks_here(super()._handle_event(event), self.nothing_follows)

    def nothing_follows(self) -> bool:
        """Whether this request, or its answer, can end now, and nothing new begins with that.

        On HTTP/1.1 the client's next request may be here already, and an upgrade or a CONNECT goes on.
        """
        asks, flow = self.asks, self.flow
        if not isinstance(asks, BoundedServer) or asks.buf or flow.request.method == "CONNECT":
            return False
        return flow.response is None or flow.response.status_code != SWITCHING_PROTOCOLS

    def passthrough(self, event: events.Event) -> layer.CommandGenerator[None]:
        """As mitmproxy's, but a client that left before its CONNECT was answered is just gone.

        mitmproxy hands on what it calls that in HTTP, which no layer inside knows.
        """
        if isinstance(event, mitm_http.RequestProtocolError):
            event = events.ConnectionClosed(self.context.client)
        yield from super().passthrough(event)

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        """Dress the request for its way out, once there is a connection to send it on.

        What mitmproxy does next is to send ``flow.request``, without leaving this generator;
        ``state_consume_request_body`` puts the undressed one back before anybody else runs.
        """
        ready = yield from super().make_server_connection()
        if ready:
            self.undressed = self.flow.request
            self.flow.request = framed(type(self).dress(self.flow, self.flow.request))
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
        """Refuse a body that grows over its limit; mitmproxy's own options are not asked."""
        if request and len(self.request_body_buf) > type(self).body_limit_bytes():
            self.request_body_buf.clear()
            self.client_state = self.state_drain_request
            yield BodyTooLargeHook(self.flow)
            yield from self.send_refusal()
            return True
        if not request and len(self.response_body_buf) > ANSWER_LIMIT_BYTES:
            yield from self.replace_answer()
            return True
        return False

    def replace_answer(self) -> layer.CommandGenerator[None]:
        """Ask what becomes of an answer that is too large to be buffered."""
        seen = bytes(self.response_body_buf)
        self.response_body_buf.clear()
        yield AnswerTooLargeHook(self.flow)
        assert self.flow.response is not None
        if self.flow.response.stream:
            yield from self.start_response_stream()
            yield from self.server_state(mitm_http.ResponseData(self.stream_id, seen))
            return
        yield from self.turn_off("The answer is too large.")
        yield from self.send_response()

    def state_wait_for_request_headers(
        self, event: mitm_http.RequestHeaders
    ) -> layer.CommandGenerator[None]:
        """Answer a refusal that ``requestheaders`` gave without ever keeping the body.

        HTTP/1.1 clients are answered at once. HTTP/2 clients are answered when they have sent all of
        it: several take an early answer for an error of the framing layer.
        """
        QuickHeaders.install(event.request.headers)
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

    def state_wait_for_response_headers(
        self, event: mitm_http.ResponseHeaders
    ) -> layer.CommandGenerator[None]:
        """As mitmproxy's, with headers that are quicker to ask."""
        QuickHeaders.install(event.response.headers)
        yield from super().state_wait_for_response_headers(event)

    def wait_on(self, in_events: Callable[[http.Response], bytes]) -> None:
        """Keep the client waiting, by heartbeats, instead of sending it ``flow.response``."""
        self.waits, self.in_events = True, in_events

    def send_response(self, already_streamed: bool = False) -> layer.CommandGenerator[None]:
        """As mitmproxy's, unless the client waits on, its event stream has begun, or a body is unseen."""
        if self.waits:
            yield from self.keep_waiting()
        elif self.opened and not already_streamed:
            yield from self.answer_in_events()
        elif (unseen := UNSEEN_BODIES.pop(self.flow, None)) is not None:
            yield from self.send_unseen(unseen)
        else:
            yield from super().send_response(already_streamed)

    def send_unseen(self, body: bytes) -> layer.CommandGenerator[None]:
        """Send the answer with a body that no view may show in the place of the one in the flow."""
        for command in super().send_response(already_streamed=False):
            if isinstance(command, mitm_http.SendHttp) and isinstance(
                command.event, mitm_http.ResponseData
            ):
                command.event.data = body
            yield command

    def start_response_stream(self) -> layer.CommandGenerator[None]:
        """As mitmproxy's; the headers of an event stream that has begun are gone already."""
        if self.opened:
            self.server_state = self.state_stream_response_body
        else:
            yield from super().start_response_stream()

    def state_stream_response_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """As mitmproxy's, unless the answer ends here because it outgrew its reservation."""
        yield from super().state_stream_response_body(event)
        assert self.flow.response is not None
        answer = self.flow.response.stream
        if isinstance(answer, Answer) and answer.cut and not self.turned_off:
            yield from self.turn_off("The answer outgrew its reservation.")
            if answer.told:
                yield from self.send_response(already_streamed=True)
            else:
                self.flow.kill()
                yield from self.check_killed(True)

    def turn_off(self, why: str) -> layer.CommandGenerator[None]:
        """Have the provider stop, and hear no more of its answer."""
        self.turned_off = True
        cancel = mitm_http.RequestProtocolError(self.stream_id, why, mitm_http.ErrorCode.CANCEL)
        yield mitm_http.SendHttp(cancel, self.context.server)

    def keep_waiting(self) -> layer.CommandGenerator[None]:
        """Begin an event stream and beat until the call is decided; then forward it or say why not."""
        yield mitm_http.SendHttp(
            mitm_http.ResponseHeaders(self.stream_id, event_stream(self.flow.request)),
            self.context.client,
        )
        self.opened = True
        while self.waits:
            beat = mitm_http.ResponseData(self.stream_id, HEARTBEAT)
            yield mitm_http.SendHttp(beat, self.context.client)
            self.waits, self.flow.response = False, None
            yield StillHeldHook(self.flow)
            if (yield from self.check_killed(True)):
                return
        if self.flow.response is None:
            yield from self.send_request()
        else:
            yield from self.answer_in_events()

    def send_request(self) -> layer.CommandGenerator[None]:
        """Send the whole request, as mitmproxy does after the ``request`` hook."""
        if not (yield from self.make_server_connection()):
            return
        request, content = self.flow.request, self.flow.request.raw_content
        events_out: list[mitm_http.HttpEvent] = [
            mitm_http.RequestHeaders(self.stream_id, request, end_stream=not content)
        ]
        if content:
            events_out.append(mitm_http.RequestData(self.stream_id, content))
        for event in (*events_out, mitm_http.RequestEndOfMessage(self.stream_id)):
            yield mitm_http.SendHttp(event, self.context.server)

    def answer_in_events(self) -> layer.CommandGenerator[None]:
        """Say in the event stream what would have been an answer with a status of its own."""
        yield mitm_http.HttpResponseHook(self.flow)
        self.server_state = self.state_done
        if (yield from self.check_killed(False)):
            return
        assert self.flow.response is not None
        last = mitm_http.ResponseData(self.stream_id, self.in_events(self.flow.response))
        yield mitm_http.SendHttp(last, self.context.client)
        yield from self.flow_done()

    def handle_protocol_error(
        self, event: mitm_http.RequestProtocolError | mitm_http.ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        """As mitmproxy's, but that a provider gave no answer is told in its own words."""
        unanswered = self.server_state == self.state_wait_for_response_headers
        for command in super().handle_protocol_error(event):
            sent = command.event if isinstance(command, mitm_http.SendHttp) else None
            answer = UNANSWERED.pop(self.flow, None) if sent is event and unanswered else None
            if answer and (self.opened or event.code.http_status_code() == answer.status_code):
                yield from self.send_unanswered(answer)
            else:
                yield command

    def send_unanswered(self, answer: http.Response) -> layer.CommandGenerator[None]:
        """Send what stands for the answer that the provider did not give, if need be in an event."""
        body = self.in_events(answer) if self.opened else answer.data.content or b""
        whole = (
            mitm_http.ResponseHeaders(self.stream_id, answer),
            mitm_http.ResponseData(self.stream_id, body),
            mitm_http.ResponseEndOfMessage(self.stream_id),
        )
        for part in whole[1 if self.opened else 0 :]:
            yield mitm_http.SendHttp(part, self.context.client)

    def send_refusal(self) -> layer.CommandGenerator[None]:
        """As mitmproxy sends an answer that an addon made."""
        yield mitm_http.HttpResponseHeadersHook(self.flow)
        yield from self.send_response()


def event_stream(request: http.Request) -> http.Response:
    """The head of an event stream; HTTP/2 frames its body itself."""
    headers = http.Headers(content_type="text/event-stream", cache_control="no-store")
    if not request.is_http2:
        headers["transfer-encoding"] = "chunked"
    now = time.time()
    return http.Response(request.data.http_version, 200, b"OK", headers, None, None, now, None)


OF_AN_ANSWER = (
    mitm_http.ResponseHeaders,
    mitm_http.ResponseData,
    mitm_http.ResponseTrailers,
    mitm_http.ResponseEndOfMessage,
    mitm_http.ResponseProtocolError,
)
