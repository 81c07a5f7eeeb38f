"""The enforcing addon: the way of one call, from its headers to its settlement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.decide import CallCase, resolve
from tollkeeper.core.units import fitting, telling
from tollkeeper.domain import Admission, Billing, Code, Effect, Reason
from tollkeeper.errors import WireError
from tollkeeper.proxy import disclose, overrun, settling
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.delegation import FrontDesk, is_served
from tollkeeper.proxy.doorkeeper import Doorkeeper, answer
from tollkeeper.proxy.fail_closed import books_closed, fail_closed, unless_answered
from tollkeeper.proxy.forwarding import Forwarding
from tollkeeper.proxy.holding import Holding, fits_begun_stream, pending
from tollkeeper.proxy.keeping import Keeping
from tollkeeper.proxy.layers import ANSWER_LIMIT_BYTES, UNANSWERED
from tollkeeper.proxy.outgoing import MissingKeyError, Outgoing
from tollkeeper.proxy.passage import Passage, dialect_of, fault_response, unanswered_response
from tollkeeper.proxy.reading import (
    headers_of,
    is_websocket,
    likeness,
    objection,
    place_of,
    read,
    strip_control_headers,
)
from tollkeeper.proxy.refusals import Refusals
from tollkeeper.proxy.station import Station
from tollkeeper.proxy.waiting_room import WaitingRoom, Wake
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.openai_socket import OPERATION as WEBSOCKET

log = logging.getLogger(__name__)

UPGRADE_REFUSED = (
    "Send this call over HTTPS: WebSockets are refused unless the policy says `websockets: true`."
)


class Enforcer:
    """Judges every governed request, holds it, forwards or refuses it, and settles it."""

    def __init__(
        self, station: Station, doorkeeper: Doorkeeper, outgoing: Outgoing, room: WaitingRoom
    ) -> None:
        """Keep the rooms it works with."""
        self.station = station
        self.doorkeeper = doorkeeper
        self.outgoing = outgoing
        self.front_desk = FrontDesk(station)
        self.books = settling.Books(station)
        self.keeping = Keeping(station, self.books)
        self.refusals = Refusals(station, self.books)
        self.holding = Holding(room, self.books)
        self.forwarding = Forwarding(outgoing)
        self.passages: WeakKeyDictionary[http.HTTPFlow, Passage] = WeakKeyDictionary()
        self.under_way: WeakSet[http.HTTPFlow] = WeakSet()

    # ------------------------------------------------------------------------- the way in

    @fail_closed
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Know the caller, take credentials out of the flow, refuse what needs no body."""
        flow.request.stream = False
        token = flow.request.headers.pop("proxy-authorization", None)
        self.outgoing.undress(flow)
        caller = self.station.callers.get(flow.client_conn) or self.doorkeeper.plain(flow, token)
        if caller is None:
            return
        passage = Passage(caller, said=strip_control_headers(flow))
        headers = headers_of(flow.request)
        passage.family = facts.client_family(headers)
        self.passages[flow] = passage
        self.under_way.add(flow)
        if caller.refused is not None or caller.provider is None:  # no admission would look
            self.doorkeeper.look_again(caller)
        if caller.provider is not None and is_websocket(headers):
            passage.websocket = self.station.policy_file.policy.websockets
            self.outgoing.plain_socket(flow)
            if not passage.websocket:
                self.station.turned_away["WebSocket"] += 1
                flow.response = answer(426, UPGRADE_REFUSED)
                return
        reason = self.station.shut or caller.refused or objection(flow, caller, headers)
        if reason is not None:
            self.station.turned_away[reason.code] += 1
            self.refusals.refuse(flow, passage, reason)
            if caller.known is not None:
                self.books.note_refusal(flow, caller.known, reason)
            return
        flow.response = None

    @fail_closed
    def body_too_large(self, flow: http.HTTPFlow) -> None:
        """Refuse a body that grew over the limit while it was read (``own_hooks.BodyTooLargeHook``)."""
        limit = self.station.policy_file.policy.body_limit_bytes
        message = f"The body is larger than {limit} bytes, which is all that is read."
        self.refusals.refuse_unread(flow, self.passages[flow], Code.UNREADABLE_REQUEST, message)

    @books_closed
    async def answer_too_large(self, flow: http.HTTPFlow) -> None:
        """An answer grew too large to be buffered (``own_hooks.AnswerTooLargeHook``).

        A governed call is refused and booked as reserved; what nobody meters passes as it comes.
        """
        passage = self.passages.get(flow)
        assert flow.response is not None
        if passage is None or passage.admission is None:
            flow.response.stream = True
            return
        flow.response = self.fault(flow)
        message = f"The provider's answer was larger than {ANSWER_LIMIT_BYTES} bytes."
        self.refusals.refuse(
            flow, passage, Reason(Effect.DENY, Code.POLICY_UNAVAILABLE, "wire", message)
        )
        if not passage.settled:
            made = settling.reserved(passage.admission.decision, passage.bounding, None)
            self.books.settle(passage.admission.id, passage.by_payer(made))
            passage.settled = True

    @unless_answered
    @fail_closed
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """Judge a whole request; the heart of the house.

        A call that is alone is written and decided on the spot; others come together in a group.
        """
        passage = self.passages[flow]
        if passage.caller.provider is None:
            return self.serve(flow, passage)
        inbound = self.understood(flow, passage)
        if inbound is None:
            return None
        asked = self.ask(passage, inbound, at_once=len(self.under_way) == 1)
        if asked.done() and asked.result().effect is not Effect.HOLD:
            self.carry_out(flow, passage, asked.result())
            return None
        return self.go_on(flow, passage, asked)

    def serve(self, flow: http.HTTPFlow, passage: Passage) -> Awaitable[None] | None:
        """Answer what is asked of us; what goes to other hosts passes."""
        if not is_served(passage.caller):
            flow.response = None
            return None

        async def answer() -> None:
            flow.response = await self.front_desk.answer(flow, passage.caller)

        return answer()

    def understood(self, flow: http.HTTPFlow, passage: Passage) -> Inbound | None:
        """The request as read, its call in the passage; None where it was refused as unreadable."""
        policy = passage.policy = self.station.policy_file.policy
        assert passage.caller.provider is not None
        passage.judged = likeness(flow.request)
        try:
            inbound = read(flow, passage.caller.provider, policy.body_limit_bytes)
            passage.endpoint = route.recognise(inbound.provider, inbound.method, inbound.path)
            upgrades = passage.endpoint is not None and passage.endpoint.operation == WEBSOCKET
            if passage.endpoint is None or upgrades != passage.websocket:
                self.refusals.refuse_unknown(flow, passage, inbound)
                return None
            call = route.parse(inbound, passage.endpoint)
            call = self.outgoing.as_sent(flow, inbound.provider, call)
            passage.call = self.keeping.known(call)
            passage.place = place_of(flow.request)
        except WireError as error:
            self.refusals.refuse_unread(flow, passage, Code.UNREADABLE_REQUEST, str(error))
            return None
        passage.inbound = inbound
        return inbound

    @unless_answered
    @fail_closed
    async def still_held(self, flow: http.HTTPFlow) -> None:
        """Judge on, between two heartbeats to a client that is kept waiting (``StillHeldHook``)."""
        passage = self.passages[flow]
        assert passage.admission is not None
        await self.wait_and_carry_out(flow, passage, passage.admission)

    async def go_on(
        self, flow: http.HTTPFlow, passage: Passage, asked: asyncio.Future[Admission]
    ) -> None:
        """Wait for the ledger, and for a person where one is asked."""
        await self.wait_and_carry_out(flow, passage, await asked)

    async def wait_and_carry_out(
        self, flow: http.HTTPFlow, passage: Passage, admission: Admission
    ) -> None:
        """Wait while a person is asked; then let the call go or refuse it."""
        inbound = passage.inbound
        assert inbound is not None
        while admission.effect is Effect.HOLD:
            if await self.holding.wait(flow, passage, admission) is not Wake.DECIDED:
                self.refusals.refuse(flow, passage, pending(admission))
                return
            admission = await self.admit(passage, inbound, again=admission.id)
        self.carry_out(flow, passage, admission)

    def carry_out(self, flow: http.HTTPFlow, passage: Passage, admission: Admission) -> None:
        """Let the call go or refuse it, as it was decided."""
        assert passage.inbound is not None
        if admission.effect is Effect.DENY:
            self.refusals.refuse(flow, passage, admission.decision.reasons[0])
        else:
            self.forwarding.forward(flow, passage, passage.inbound)

    async def admit(
        self, passage: Passage, inbound: Inbound, *, again: str | None = None
    ) -> Admission:
        """As ``ask``, after the commit."""
        return await self.ask(passage, inbound, again=again)

    def ask(
        self, passage: Passage, inbound: Inbound, *, again: str | None = None, at_once: bool = False
    ) -> asyncio.Future[Admission]:
        """One transaction: judge by the policy in force now and write what was decided.

        The passage knows the admission before whoever waits: a cancelled one has something to undo.
        """
        policy = passage.policy = self.station.policy_file.policy
        call, principal = passage.call, passage.caller.principal
        assert call is not None
        assert principal is not None
        now_ns = self.station.now_ns()
        provider, model = resolve(policy, call)
        prices = self.station.policy_file.prices
        tier = call.service_tier
        sheet = prices.sheet(provider, model, now_ns, tier) if model else None
        passage.sheet = telling(sheet, call)
        case = CallCase(
            call, principal, policy, fitting(sheet, call), now_ns, passage.said, place=passage.place
        )
        ledger, held = self.station.ledger, passage.admission

        def admit() -> Admission:
            passage.admission = ledger.admit(
                case, principal, now_ns, again=again, body=inbound.body
            )
            return passage.admission

        def undone() -> None:
            passage.admission = held

        passage.asked = self.station.writer.want(admit, at_once=at_once, undone=undone)
        return passage.asked

    # ----------------------------------------------------------------------- the way back

    @books_closed
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Put the meter into a streamed answer; everything else is metered when it is whole."""
        passage = self.passages.get(flow)
        if flow.response is None or passage is None or passage.admission is None:
            return
        if passage.settled or passage.admission.effect is not Effect.ALLOW:
            return
        flow.response.headers.pop("alt-svc", None)
        if passage.websocket:
            flow.response.headers.pop("sec-websocket-extensions", None)
        fits_begun_stream(flow)
        assert passage.call is not None
        told = headers_of(flow.response)
        passage.answer = Answer(
            passage.call,
            told.get("content-type", ""),
            told.get("content-encoding", ""),
            take_out_usage=passage.usage_spliced,
            headers=told,
        )
        if passage.admission.decision.billing is not Billing.METERED:
            passage.told = told
        disclose.answered(flow, passage.admission)
        if passage.call.stream and flow.response.status_code < 400:
            flow.response.stream = passage.answer
            self.keeping.watch(passage)
            shortened = overrun.watch(passage, passage.answer) or passage.usage_spliced
            if shortened and "content-length" in flow.response.headers:
                del flow.response.headers["content-length"]

    @books_closed
    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """The whole answer passed (streamed) or is about to (buffered): settle it."""
        self.under_way.discard(flow)
        passage = self.passages.get(flow)
        if passage is not None and passage.lost:
            flow.response = self.fault(flow)  # mitmproxy put the provider's body into the other one
            return None
        if passage is None or passage.answer is None or passage.settled:
            return None
        assert flow.response is not None
        if not flow.response.stream and flow.response.raw_content is not None:
            passage.answer(flow.response.raw_content)
            passage.answer(b"")
        if self.keeping.concerns(passage):
            return self.take_in(flow, passage, cut=False)
        self.settle(flow, passage, cut=False)
        return None

    @books_closed
    async def error(self, flow: http.HTTPFlow) -> None:
        """The flow broke off: book what may have been billed."""
        self.under_way.discard(flow)
        passage = self.passages.get(flow)
        if passage is not None and passage.caller.provider and flow.error and not flow.response:
            UNANSWERED[flow] = unanswered_response(flow, passage, flow.error.msg)
            if flow.client_conn.connected:
                log.warning("No answer from %s: %s", flow.request.host, flow.error.msg)
        if passage is None or passage.admission is None or passage.settled:
            return
        if passage.admission.effect is Effect.ALLOW:
            await self.take_in(flow, passage, cut=True)
        elif passage.admission.effect is Effect.HOLD:
            await self.books.let_go(passage.admission.id)

    async def take_in(self, flow: http.HTTPFlow, passage: Passage, *, cut: bool) -> None:
        """Write down what the provider keeps, and settle the call unless it goes on behind its answer."""
        status = flow.response.status_code if flow.response else None
        if await self.keeping.goes_on(passage, status):
            passage.settled = True
            disclose.goes_on(flow)
        else:
            self.settle(flow, passage, cut=cut)

    def settle(self, flow: http.HTTPFlow, passage: Passage, *, cut: bool) -> None:
        """Resolve the reservation by what the answer came to."""
        admission, call = passage.admission, passage.call
        assert admission is not None
        assert call is not None
        settlement = settling.settlement(
            flow, call, admission.decision, passage.sheet, passage.answer, cut=cut
        )
        prices, now_ns = self.station.policy_file.prices, self.station.now_ns()
        settlement = settling.at_the_end(settlement, call, passage.sheet, prices, now_ns)
        settlement = passage.by_payer(settlement)
        self.books.settle(admission.id, settlement, company=bool(self.under_way))
        passage.settled = True
        disclose.settled(flow, admission, settlement)

    # ------------------------------------------------------------------------------ faults

    def fault(self, flow: http.HTTPFlow) -> http.Response:
        """The refusal that stands while a hook runs."""
        passage = self.passages.get(flow)
        return fault_response(dialect_of(flow, passage) if passage else None)

    def faulted(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Record a fault, and give back what the call had reserved: it never left."""
        passage = self.passages.get(flow)
        if isinstance(error, MissingKeyError):
            log.error("A provider key is missing: %s", error)
        self.note_fault(passage, hook, error)
        if passage is not None:
            passage.ask_no_more()
        admission = passage.admission if passage else None
        if passage is None or admission is None or passage.settled:
            return
        if admission.effect is Effect.ALLOW:
            passage.settled = True
            self.books.settle_now(admission.id, settling.NOT_SENT)
        elif admission.effect is Effect.HOLD:
            self.books.let_go_now(admission.id)

    def broke_off(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """An answer that cannot be followed: refuse what has not left, book the reservation whole."""
        passage = self.passages.get(flow)
        streaming = flow.response is not None and bool(flow.response.stream)
        if flow.response is not None and (hook == "responseheaders" or not streaming):
            flow.response = self.fault(flow)
        self.note_fault(passage, hook, error)
        if passage is None or passage.admission is None or passage.settled:
            return
        if passage.admission.effect is Effect.ALLOW:
            passage.lost, passage.settled = True, True
            made = settling.reserved(passage.admission.decision, passage.bounding, None)
            self.books.settle_now(passage.admission.id, passage.by_payer(made))

    def note_fault(self, passage: Passage | None, hook: str, error: BaseException) -> None:
        """Put a fault into the record."""
        principal = passage.caller.principal if passage else None
        self.books.note_now(
            "fault",
            principal.agent if principal else "unknown",
            {"hook": hook, "error": settling.told(error)},
        )
