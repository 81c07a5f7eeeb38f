"""Calls over WebSockets, judged and metered frame by frame: OpenAI's Responses.

One call at a time on a connection. Each ``response.create`` is admitted before its frame leaves, each
end of a response settles it; a frame that cannot be read goes nowhere, and a connection that ends
settles what was open.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http, websocket
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from wsproto.frame_protocol import Opcode

from tollkeeper.domain import Admission, Basis, Changes, Code, Effect, Outcome, Reason, Settlement
from tollkeeper.errors import WireError
from tollkeeper.proxy import disclose, overrun, settling, socket_layer
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.enforcer import Enforcer
from tollkeeper.proxy.fail_closed import books_closed, frames_closed
from tollkeeper.proxy.holding import pending
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.waiting_room import WaitingRoom, Wake
from tollkeeper.wire import openai_socket, route

log = logging.getLogger(__name__)

HOLD_SECONDS = 600
"""How long a frame is held; pings pass meanwhile, so that no client loses its patience before."""

SHOWN_MESSAGES = 20
"""Of a connection, for mitmproxy's views; it would keep all of them."""


@dataclass(slots=True)
class Socket:
    """One connection.

    Attributes:
        upgrade: The request that opened it.
        turn: The call that is held or under way, or None.
        begun: Whether the provider has begun to answer that.
        holding: What waits for a person.
        ours: Frames that we have sent and that are still to pass the hook.
    """

    upgrade: Passage
    turn: Passage | None = None
    begun: bool = False
    holding: asyncio.Task[None] | None = None
    ours: list[bytes] = field(default_factory=list)


class WebSockets:
    """Judges what clients send over WebSockets to providers, and meters what comes back."""

    def __init__(self, enforcer: Enforcer, room: WaitingRoom) -> None:
        """Keep the rooms it works with."""
        self.enforcer = enforcer
        self.room = room
        self.books = enforcer.books
        self.sockets: WeakKeyDictionary[http.HTTPFlow, Socket] = WeakKeyDictionary()

    @books_closed
    def websocket_start(self, flow: http.HTTPFlow) -> None:
        """Bound the connection and know who has opened it."""
        socket_layer.bound(flow)
        socket = self.sockets[flow] = Socket(self.enforcer.passages[flow])
        socket_layer.rest(flow, idle=socket.upgrade.caller.provider is not None)

    @frames_closed
    async def websocket_message(
        self, flow: http.HTTPFlow, message: websocket.WebSocketMessage
    ) -> bool:
        """Whether a frame goes on."""
        assert flow.websocket is not None
        socket = self.sockets[flow]
        if socket.upgrade.caller.provider is None:
            return True
        del flow.websocket.messages[:-SHOWN_MESSAGES]
        if message.injected:
            known = message.content in socket.ours
            if known:
                socket.ours.remove(message.content)
            return known
        judge = self.asked if message.from_client else self.answered
        passes = await judge(flow, socket, message)
        socket_layer.rest(flow, idle=socket.turn is None)
        return passes

    @books_closed
    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Settle what was open when the connection ended."""
        socket = self.sockets.pop(flow, None)
        if socket is None or socket.turn is None:
            return
        if socket.holding is not None:
            socket.holding.cancel()
            await asyncio.gather(socket.holding, return_exceptions=True)
            if socket.turn is None:
                return
        turn, admission = socket.turn, socket.turn.admission
        if admission is not None and admission.effect is Effect.HOLD:
            await self.books.let_go(admission.id)
        elif admission is not None and not turn.settled:
            await self.settle(flow, socket, cut=True)

    # ---------------------------------------------------------------------------- from the client

    async def asked(
        self, flow: http.HTTPFlow, socket: Socket, message: websocket.WebSocketMessage
    ) -> bool:
        """Judge a client's frame; one that is refused is answered with an error event."""
        provider, shut = socket.upgrade.caller.provider, self.enforcer.station.shut
        assert provider is not None
        if shut is not None:
            self.refuse(flow, socket, shut)
            return False
        path = flow.request.path.partition("?")[0]
        try:
            check_readable(socket, message)
            inbound, call = openai_socket.call_in(provider, path, message.content)
        except WireError as error:
            why = Reason(Effect.DENY, Code.UNREADABLE_REQUEST, "wire", str(error))
            self.refuse(flow, socket, why)
            return False
        upgrade = socket.upgrade
        turn = Passage(upgrade.caller, said=upgrade.said, family=upgrade.family)
        turn.call, turn.inbound = call, inbound
        socket.turn = turn  # from here on a fault gives back what was admitted
        admission = await self.enforcer.admit(turn, inbound)
        if admission.effect is Effect.HOLD:
            socket.holding = asyncio.create_task(self.hold(flow, socket, turn, message.content))
            socket.holding.add_done_callback(lambda task: self.held(flow, task))
            return False
        frame = await self.frame_of(flow, socket, turn, admission, message.content)
        if frame is None:
            return False
        if frame != message.content:
            message.content = frame
        return True

    async def frame_of(
        self, flow: http.HTTPFlow, socket: Socket, turn: Passage, admission: Admission, sent: bytes
    ) -> bytes | None:
        """What goes to the provider; None where the call is refused."""
        call = turn.call
        assert call is not None
        if admission.effect is Effect.DENY:
            socket.turn = None
            disclose.refused(flow, turn.caller, call, admission.decision.reasons[0], admission)
            self.refuse(flow, socket, admission.decision.reasons[0], admission, noted=True)
            return None
        changes = admission.decision.changes
        unfit = self.unfit(socket, turn, changes)
        if unfit is not None:
            await self.books.settle(admission.id, settling.NOT_SENT)
            turn.settled, socket.turn = True, None
            self.refuse(flow, socket, Reason(Effect.DENY, Code.POLICY_DENIED, *unfit))
            return None
        frame, _ = route.rewrite(call, sent, "", changes, include_usage=False)
        turn.call = replace(call, model=changes.model or call.model)
        turn.answer = Answer(turn.call, "text/event-stream", "", take_out_usage=False)
        overrun.watch(turn, turn.answer)
        self.enforcer.keeping.watch(turn)
        socket.begun = False
        disclose.forwarded(flow, turn.caller, call, admission)
        return frame

    def unfit(self, socket: Socket, turn: Passage, changes: Changes) -> tuple[str, str] | None:
        """Why a call that is let go cannot go on this connection: what says so, and the sentence."""
        if changes.provider is not None:
            return "models", "This name is a model of another provider: call it over HTTPS."
        keeping = self.enforcer.keeping
        if keeping.with_own_key(turn) != keeping.with_own_key(socket.upgrade):
            return "keys", "The policy wants another key than this connection has. Connect again."
        return None

    def refuse(
        self,
        flow: http.HTTPFlow,
        socket: Socket,
        reason: Reason,
        admission: Admission | None = None,
        *,
        noted: bool = False,
    ) -> None:
        """Tell the client why its frame went nowhere; what came to no decision is recorded here."""
        principal = socket.upgrade.caller.principal
        if not noted and principal is not None:
            self.books.note_refusal(flow, principal, reason)
        frame = openai_socket.error_frame(reason, admission.id if admission else flow.id)
        self.send(flow, socket, frame, from_client=False)

    def send(self, flow: http.HTTPFlow, socket: Socket, frame: bytes, *, from_client: bool) -> None:
        """Send a frame of our own to the provider or to the client."""
        socket.ours.append(frame)
        inject(flow, frame, from_client=from_client)

    # ------------------------------------------------------------------------------------- holding

    async def hold(self, flow: http.HTTPFlow, socket: Socket, turn: Passage, sent: bytes) -> None:
        """Wait for a person while the connection lives on; then send the frame or say why not."""
        admission, inbound = turn.admission, turn.inbound
        assert admission is not None
        assert inbound is not None
        while admission.effect is Effect.HOLD:
            assert admission.approval is not None
            if await self.room.wait(admission.approval.id, flow, HOLD_SECONDS) is not Wake.DECIDED:
                await self.books.let_go(admission.id)
                socket.turn = None
                self.refuse(flow, socket, pending(admission), admission, noted=True)
                return
            admission = await self.enforcer.admit(turn, inbound, again=admission.id)
        frame = await self.frame_of(flow, socket, turn, admission, sent)
        socket.holding = None
        if frame is not None:
            self.send(flow, socket, frame, from_client=True)

    def held(self, flow: http.HTTPFlow, task: asyncio.Task[None]) -> None:
        """A wait has ended; one that broke takes its connection along."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.frame_broke(flow, "hold", error)
            inject(
                flow, b"", from_client=False
            )  # what ends the connection is looked at with a frame

    # -------------------------------------------------------------------------- from the provider

    async def answered(
        self, flow: http.HTTPFlow, socket: Socket, message: websocket.WebSocketMessage
    ) -> bool:
        """Meter a provider's frame; the one that ends a response settles its call."""
        turn, frame = socket.turn, message.content
        if turn is None or turn.answer is None:
            if openai_socket.begins_response(frame):
                raise WireError("The provider answers what nobody has asked.")
            return True
        turn.answer(openai_socket.as_event(frame))
        socket.begun = socket.begun or openai_socket.begins_response(frame)
        if turn.answer.shut:
            raise WireError("The answer's meter broke.")
        if turn.answer.cut:
            socket_layer.end(flow, openai_socket.as_frame(turn.answer.last_words))
        if turn.answer.cut or turn.answer.meter.done:
            await self.settle(flow, socket, cut=False)
        elif openai_socket.is_error(frame):
            await self.settle(flow, socket, cut=True, refused=not socket.begun)
        return True

    async def settle(
        self, flow: http.HTTPFlow, socket: Socket, *, cut: bool, refused: bool = False
    ) -> None:
        """Resolve the reservation of the call under way."""
        turn = socket.turn
        assert turn is not None
        assert turn.call is not None
        assert turn.admission is not None
        admission, answer = turn.admission, turn.answer if socket.begun else None
        await self.enforcer.keeping.remember(turn)
        if refused:
            made = Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0, status=101)
        else:
            made = settling.settlement(
                flow, turn.call, admission.decision, turn.sheet, answer, cut=cut
            )
        made = turn.by_payer(made)
        await self.books.settle(admission.id, made)
        turn.settled = True
        socket.turn = None
        disclose.settled(flow, admission, made)

    # ---------------------------------------------------------------------------------- faults

    def frame_broke(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """A frame could not be judged or followed: nothing more passes, and what was open is booked."""
        log.error("%s ended a WebSocket after a fault", hook, exc_info=error)
        message = "Tollkeeper could not follow this connection, so it ends."
        reason = Reason(Effect.DENY, Code.POLICY_UNAVAILABLE, "tollkeeper", message)
        socket_layer.end(flow, openai_socket.error_frame(reason, flow.id))
        self.broke_off(flow, hook, error)

    def broke_off(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Book whole what was under way, and give back what had not left."""
        socket = self.sockets.pop(flow, None)
        turn = socket.turn if socket else None
        self.enforcer.note_fault(turn or self.enforcer.passages.get(flow), hook, error)
        if turn is None or turn.admission is None or turn.settled:
            return
        turn.settled = True
        if turn.admission.effect is Effect.ALLOW and turn.answer is None:
            self.books.settle_now(turn.admission.id, settling.NOT_SENT)
        elif turn.admission.effect is Effect.ALLOW:
            made = settling.reserved(turn.admission.decision, turn.bounding, None)
            self.books.settle_now(turn.admission.id, turn.by_payer(made))
        elif turn.admission.effect is Effect.HOLD:
            self.books.let_go_now(turn.admission.id)


def check_readable(socket: Socket, message: websocket.WebSocketMessage) -> None:
    """Nothing, for a client's frame that may be looked into now.

    Raises:
        WireError: For every other one.
    """
    if not message.is_text:
        raise WireError("Over a WebSocket only text frames are read.")
    if socket.turn is not None:
        raise WireError("Wait for the end of the response before you ask for another.")


def inject(flow: http.HTTPFlow, frame: bytes, *, from_client: bool) -> None:
    """Have mitmproxy take a text frame as if it had come from one of the two sides."""
    message = websocket.WebSocketMessage(Opcode.TEXT, from_client, frame)
    ctx.master.addons.get("proxyserver").inject_event(WebSocketMessageInjected(flow, message))
