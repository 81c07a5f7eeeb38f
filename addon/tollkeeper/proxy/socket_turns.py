"""Calls on one WebSocket: admitted, held, let go, refused and settled, one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mitmproxy import ctx, http, websocket
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from wsproto.frame_protocol import Opcode

from tollkeeper.domain import Admission, Basis, Changes, Code, Effect, Outcome, Reason, Settlement
from tollkeeper.proxy import disclose, overrun, settling
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.enforcer import Enforcer
from tollkeeper.proxy.holding import pending
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.waiting_room import WaitingRoom, Wake
from tollkeeper.wire.talk import Asked, Talk

HOLD_SECONDS = 600
"""How long a frame is held; pings pass meanwhile, so that no client loses its patience before."""

ANSWERS_REMEMBERED = 8
"""Ids of answers that have ended; what still comes of them belongs to no later call."""

Broke = Callable[[http.HTTPFlow, str, BaseException], None]


@dataclass(slots=True)
class Socket:
    """One connection.

    Attributes:
        upgrade: The request that opened it.
        talk: Its dialect; None at hosts that are no provider.
        turn: The call that is held or under way, or None.
        asking: A call beside that which is being admitted, or None.
        begun: Whether the provider has begun to answer that.
        response: The id of that answer, where it has one.
        past: Ids of answers that have ended.
        owes_error: Whether an answer has failed whose error has not come.
        doubted: Whether an error came that may have been this call's or that answer's.
        holding: What waits for a person.
        leaving: Whether a call that was held is on its way to the provider, which nothing overtakes.
        opened: Whether a client's frame has been read, before which the dialect's opening goes.
        ours: Frames that we have sent and that are still to pass the hook.
        told: The refusal that was told last, where others like it are not told again.
    """

    upgrade: Passage
    talk: Talk | None = None
    turn: Passage | None = None
    asking: Passage | None = None
    begun: bool = False
    response: str | None = None
    past: deque[str] = field(default_factory=lambda: deque(maxlen=ANSWERS_REMEMBERED))
    owes_error: bool = False
    doubted: bool = False
    holding: asyncio.Task[None] | None = None
    leaving: bool = False
    opened: bool = False
    ours: list[bytes] = field(default_factory=list)
    told: str | None = None

    @property
    def held(self) -> bool:
        """Whether a call waits for a person."""
        return self.turn is not None and self.turn.answer is None


class Turns:
    """What happens to the calls of connections."""

    def __init__(self, enforcer: Enforcer, room: WaitingRoom, broke: Broke) -> None:
        """Keep the rooms it works with, and what is told of a wait that broke."""
        self.enforcer = enforcer
        self.room = room
        self.books = enforcer.books
        self.broke = broke

    async def ask(self, flow: http.HTTPFlow, socket: Socket, asked: Asked) -> bytes | None:
        """What goes to the provider now; None where the call is refused or held."""
        upgrade, inbound = socket.upgrade, asked.inbound
        assert inbound is not None
        turn = Passage(upgrade.caller, said=upgrade.said, family=upgrade.family)
        turn.call, turn.inbound = asked.call, inbound
        socket.turn, socket.begun, socket.response = turn, False, None  # a fault gives back now
        socket.doubted = False
        admission = await self.enforcer.admit(turn, inbound)
        if admission.effect is Effect.HOLD:
            socket.holding = asyncio.create_task(self.hold(flow, socket, turn, asked.frame))
            socket.holding.add_done_callback(lambda task: self.held(flow, task))
            return None
        return await self.frame_of(flow, socket, turn, admission, asked.frame)

    async def frame_of(
        self, flow: http.HTTPFlow, socket: Socket, turn: Passage, admission: Admission, sent: bytes
    ) -> bytes | None:
        """What goes to the provider; None where the call is refused."""
        call, talk = turn.call, socket.talk
        assert call is not None
        assert talk is not None
        if admission.effect is Effect.DENY:
            socket.turn = None
            disclose.refused(flow, turn.caller, call, admission.decision.reasons[0], admission)
            self.refuse(flow, socket, admission.decision.reasons[0], admission, noted=True)
            return None
        changes = admission.decision.changes
        unfit = self.unfit(socket, turn, changes)
        if unfit is not None:
            self.books.settle(admission.id, settling.NOT_SENT)
            turn.settled, socket.turn = True, None
            self.refuse(flow, socket, Reason(Effect.DENY, Code.POLICY_DENIED, *unfit))
            return None
        frame = talk.changed(call, sent, changes)
        turn.call = replace(call, model=changes.model or call.model)
        turn.answer = Answer(turn.call, "text/event-stream", "", take_out_usage=False)
        overrun.watch(turn, turn.answer)
        self.enforcer.keeping.watch(turn)
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
        flows: bool = False,
    ) -> None:
        """Tell the client why its frame went nowhere; what came to no decision is recorded here.

        Args:
            flows: Whether frames like it come many a second: then one telling stands for all.
        """
        if flows and socket.told == reason.message:
            return
        socket.told = reason.message if flows else None
        if not noted:
            self.note(flow, socket, reason)
        assert socket.talk is not None
        frame = socket.talk.error_frame(reason, admission.id if admission else flow.id)
        self.send(flow, socket, frame, from_client=False)

    def note(self, flow: http.HTTPFlow, socket: Socket, reason: Reason) -> None:
        """Put into the record what came to no decision."""
        caller = socket.upgrade.caller
        principal = caller.principal or caller.known
        if principal is not None:
            self.books.note_refusal(flow, principal, reason)

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
            socket.leaving = True
            self.send(flow, socket, frame, from_client=True)

    def held(self, flow: http.HTTPFlow, task: asyncio.Task[None]) -> None:
        """A wait has ended; one that broke takes its connection along."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broke(flow, "hold", error)
            inject(
                flow, b"", from_client=False
            )  # what ends the connection is looked at with a frame

    # ------------------------------------------------------------------------------------ settling

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
        station = self.enforcer.station
        made = settling.as_told(made, turn.call, station.policy_file.prices, station.now_ns())
        made = turn.by_payer(made)
        self.books.settle(admission.id, made)
        turn.settled = True
        if socket.response is not None:
            socket.past.append(socket.response)
        socket.turn, socket.response = None, None
        disclose.settled(flow, admission, made)

    async def close(self, flow: http.HTTPFlow, socket: Socket) -> None:
        """Settle what was open when the connection ended."""
        if socket.turn is None:
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

    def give_up(self, turn: Passage | None, *, heard: bool = False) -> None:
        """Book whole what was under way, and give back what had not left; nothing is awaited.

        Args:
            heard: Whether it is for audio, which has left though nothing answers it.
        """
        if turn is not None:
            turn.ask_no_more()
        if turn is None or turn.admission is None or turn.settled:
            return
        turn.settled = True
        if turn.admission.effect is Effect.ALLOW and turn.answer is None and not heard:
            self.books.settle_now(turn.admission.id, settling.NOT_SENT)
        elif turn.admission.effect is Effect.ALLOW:
            made = settling.reserved(turn.admission.decision, turn.bounding, None)
            self.books.settle_now(turn.admission.id, turn.by_payer(made))
        elif turn.admission.effect is Effect.HOLD:
            self.books.let_go_now(turn.admission.id)


def inject(flow: http.HTTPFlow, frame: bytes, *, from_client: bool) -> None:
    """Have mitmproxy take a text frame as if it had come from one of the two sides."""
    message = websocket.WebSocketMessage(Opcode.TEXT, from_client, frame)
    ctx.master.addons.get("proxyserver").inject_event(WebSocketMessageInjected(flow, message))
