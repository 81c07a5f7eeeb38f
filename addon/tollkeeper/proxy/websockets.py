"""Frames of WebSockets to providers: who may send them, and in which order they are judged.

What a frame means is its dialect's (``wire/talk.py``), what becomes of a call is ``socket_turns.py``'s.
Each call is admitted before its frame leaves, each end of an answer settles it; a frame that cannot
be read goes nowhere, and a connection that ends settles what was open.

Whose error it is
    A provider's error ends the call that is under way, unless an answer before it had failed: then
    the error may be that answer's, told late, and this call goes on. Where no answer to it comes
    after all, the client's next call settles it whole, never at 0.
"""

from __future__ import annotations

import logging
from weakref import WeakKeyDictionary

from mitmproxy import http, websocket

from tollkeeper.domain import Code, Dialect, Effect, Reason
from tollkeeper.errors import WireError
from tollkeeper.proxy import socket_layer
from tollkeeper.proxy.enforcer import Enforcer
from tollkeeper.proxy.fail_closed import books_closed, frames_closed
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.socket_ears import Ears, Hearing
from tollkeeper.proxy.socket_turns import Socket, Turns
from tollkeeper.proxy.waiting_room import WaitingRoom
from tollkeeper.wire.openai_realtime import Realtime
from tollkeeper.wire.openai_socket import Responses
from tollkeeper.wire.talk import Talk, Told, as_event, as_frame

log = logging.getLogger(__name__)

SHOWN_MESSAGES = 20
"""Of a connection, for mitmproxy's views; it would keep all of them."""

SHOWN_BYTES = 1024 * 1024
"""Of these messages together, beside the newest: each may be as long as the body of a request."""


class WebSockets:
    """Judges what clients send over WebSockets to providers, and meters what comes back."""

    def __init__(self, enforcer: Enforcer, room: WaitingRoom) -> None:
        """Keep the rooms it works with."""
        self.enforcer = enforcer
        self.turns = Turns(enforcer, room, self.frame_broke)
        self.hearing = Hearing(self.turns)
        self.ears: WeakKeyDictionary[http.HTTPFlow, Ears] = WeakKeyDictionary()
        self.sockets: WeakKeyDictionary[http.HTTPFlow, Socket] = WeakKeyDictionary()

    @books_closed
    def websocket_start(self, flow: http.HTTPFlow) -> None:
        """Bound the connection and know who has opened it."""
        socket_layer.bound(flow)
        upgrade = self.enforcer.passages[flow]
        self.sockets[flow] = Socket(upgrade, talk_on(upgrade, flow))
        socket_layer.rest(flow, idle=upgrade.caller.provider is not None)

    @frames_closed
    async def websocket_message(
        self, flow: http.HTTPFlow, message: websocket.WebSocketMessage
    ) -> bool:
        """Whether a frame goes on."""
        assert flow.websocket is not None
        socket = self.sockets[flow]
        forget(flow.websocket.messages)
        if socket.upgrade.caller.provider is None:
            return True
        if message.injected:
            known = message.content in socket.ours
            if known:
                socket.ours.remove(message.content)
                socket.leaving = socket.leaving and not message.from_client
            return known
        judge = self.asked if message.from_client else self.answered
        passes = await judge(flow, socket, message)
        socket_layer.rest(flow, idle=socket.turn is None)
        return passes

    @books_closed
    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Settle what was open when the connection ended."""
        socket = self.sockets.pop(flow, None)
        if socket is not None:
            await self.turns.close(flow, socket)
        await self.hearing.close(self.ears.pop(flow, Ears()))

    # ---------------------------------------------------------------------------- from the client

    async def asked(
        self, flow: http.HTTPFlow, socket: Socket, message: websocket.WebSocketMessage
    ) -> bool:
        """Judge a client's frame; one that is refused is answered with an error event."""
        talk, sent = socket.talk, message.content
        assert talk is not None
        if self.enforcer.station.shut is not None:
            self.turns.refuse(flow, socket, self.enforcer.station.shut)
            return False
        gone = self.gone(socket)
        if gone is not None:
            self.turns.note(flow, socket, gone)
            socket_layer.end(flow, talk.error_frame(gone, flow.id))
            return False
        if socket.doubted and socket.turn is not None and not socket.begun:
            await self.turns.settle(flow, socket, cut=True)
        try:
            check_readable(socket, message)
            asked = talk.asked(sent, busy=socket.turn is not None)
        except WireError as error:
            why = Reason(Effect.DENY, Code.UNREADABLE_REQUEST, "wire", str(error))
            self.turns.refuse(flow, socket, why, flows=message.is_text and talk.flows(sent))
            return False
        if asked.sound is not None:
            ears = self.ears.setdefault(flow, Ears())
            uncovered = await self.hearing.covers(socket, ears, asked.sound)
            if uncovered is not None:
                self.turns.refuse(flow, socket, uncovered, flows=True)
                return False
        if asked.commits and flow in self.ears:
            self.ears[flow].committing += 1
        if not socket.opened and talk.opening is not None:
            socket_layer.behind(flow).append(talk.opening)
        socket.opened = True
        costs = asked.call is not None
        frame = await self.turns.ask(flow, socket, asked) if costs else asked.frame
        return frame is not None and pass_on(flow, socket, message, frame)

    def gone(self, socket: Socket) -> Reason | None:
        """Why nothing more passes on this connection: the policy or the operator has changed."""
        if not self.enforcer.station.policy_file.policy.websockets:
            message = (
                "WebSockets are refused by now: the policy has no `websockets: true` any more."
            )
            return Reason(Effect.DENY, Code.POLICY_DENIED, "websockets", message)
        caller = socket.upgrade.caller
        self.enforcer.doorkeeper.look_again(caller)
        return caller.refused

    # -------------------------------------------------------------------------- from the provider

    async def answered(
        self, flow: http.HTTPFlow, socket: Socket, message: websocket.WebSocketMessage
    ) -> bool:
        """Meter a provider's frame; the one that ends an answer settles its call."""
        talk, frame = socket.talk, message.content
        assert talk is not None
        told = talk.told(frame)
        if told.response is None or told.response not in socket.past:
            await self.follow(flow, socket, frame, told)
        await self.hearing.told(self.ears.get(flow) or Ears(), told)
        free = socket.turn is None and self.enforcer.station.shut is None
        if told.asks is not None and free:
            asking = await self.turns.ask(flow, socket, told.asks())
            socket_layer.behind(flow).extend([asking] if asking is not None else [])
        if told.shown is not None:
            message.content = told.shown
        return told.passes

    async def follow(self, flow: http.HTTPFlow, socket: Socket, frame: bytes, told: Told) -> None:
        """What a provider's frame means for the call under way.

        Raises:
            WireError: It answers what nobody has asked, or cannot be metered.
        """
        turn = socket.turn
        if turn is None or turn.answer is None:
            if told.begins:
                raise WireError("The provider answers what nobody has asked.")
            return
        if told.begins or told.ends:
            if socket.begun and told.response != socket.response:
                raise WireError("The provider answers twice at once.")
            socket.begun, socket.response = True, told.response
        if socket.begun:
            turn.answer(as_event(frame))
        if turn.answer.shut:
            raise WireError("The answer's meter broke.")
        if turn.answer.cut:
            socket_layer.end(flow, as_frame(turn.answer.last_words))
        if turn.answer.cut or turn.answer.meter.done:
            socket.owes_error = told.failed
            await self.turns.settle(flow, socket, cut=False)
        elif told.error and socket.owes_error:
            socket.owes_error, socket.doubted = False, True
        elif told.error:
            await self.turns.settle(flow, socket, cut=True, refused=not socket.begun)

    # ---------------------------------------------------------------------------------- faults

    def frame_broke(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """A frame could not be judged or followed: nothing more passes, and what was open is booked."""
        log.error("%s ended a WebSocket after a fault", hook, exc_info=error)
        message = "Tollkeeper could not follow this connection, so it ends."
        reason = Reason(Effect.DENY, Code.POLICY_UNAVAILABLE, "tollkeeper", message)
        socket = self.sockets.get(flow)
        talk = socket.talk if socket is not None else None
        socket_layer.end(flow, talk.error_frame(reason, flow.id) if talk else b"")
        self.broke_off(flow, hook, error)

    def broke_off(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Book whole what was under way, and give back what had not left."""
        socket = self.sockets.pop(flow, None)
        turn = socket.turn if socket else None
        self.enforcer.note_fault(turn or self.enforcer.passages.get(flow), hook, error)
        self.turns.give_up(turn)
        self.turns.give_up(socket.asking if socket else None)
        self.hearing.give_up(self.ears.pop(flow, Ears()))


def talk_on(upgrade: Passage, flow: http.HTTPFlow) -> Talk | None:
    """How the connection that a request has opened is followed; None at hosts that are no provider."""
    provider, endpoint = upgrade.caller.provider, upgrade.endpoint
    if provider is None:
        return None
    path = flow.request.path.partition("?")[0]
    if endpoint is not None and endpoint.dialect is Dialect.OPENAI_REALTIME:
        assert upgrade.call is not None
        return Realtime(provider, path, upgrade.call.model or "")
    return Responses(provider, path)


def forget(messages: list[websocket.WebSocketMessage]) -> None:
    """Drop all but the newest messages."""
    kept, size = 1, 0
    for message in messages[-2 : -SHOWN_MESSAGES - 1 : -1]:
        size += len(message.content)
        if size > SHOWN_BYTES:
            break
        kept += 1
    del messages[:-kept]


def check_readable(socket: Socket, message: websocket.WebSocketMessage) -> None:
    """Nothing, for a client's frame that may be looked into now.

    Raises:
        WireError: For every other one.
    """
    if not message.is_text:
        raise WireError("Over a WebSocket only text frames are read.")
    if socket.held or socket.leaving:
        raise WireError("A person is asked about this call; wait for the answer to it.")


def pass_on(
    flow: http.HTTPFlow, socket: Socket, message: websocket.WebSocketMessage, frame: bytes
) -> bool:
    """Let a client's frame go on, in the order of all frames."""
    socket.told = None
    if behind := socket_layer.behind(flow):
        behind.append(frame)
        return False
    if frame != message.content:
        message.content = frame
    return True
