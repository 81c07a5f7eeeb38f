"""What a call came to: from an answer, whole or cut, to the settlement of its reservation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.pricing import PriceSheet
from tollkeeper.domain import (
    Basis,
    Call,
    Decision,
    Dialect,
    Outcome,
    Principal,
    Reason,
    Settlement,
    Usage,
)
from tollkeeper.errors import LedgerError
from tollkeeper.ledger.spool import append
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)

_NOTHING_SEEN = Usage()

NOT_SENT = Settlement(Outcome.NOT_SENT, Basis.MEASURED, 0)
"""No byte reached the provider: everything is given back."""


def settlement(
    flow: http.HTTPFlow,
    call: Call,
    decision: Decision,
    sheet: PriceSheet | None,
    answer: Answer | None,
    *,
    cut: bool,
) -> Settlement:
    """Judge what the provider may bill.

    Measured when the answer is whole and names its usage; nothing when the provider answered with an
    error, or when no byte had left; estimated from what was seen of a cut answer; the whole
    reservation where neither is known, never zero.
    """
    status = flow.response.status_code if flow.response and answer else None
    if not call.metered:
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, 0, status=status)
    if answer is None:
        return reserved(decision, sheet, None) if had_left(flow) else NOT_SENT
    if cut:
        answer.meter.finish()
    if answer.cut:
        return outgrown(call, decision, sheet, answer, status)
    usage = answer.usage
    if status is not None and status >= 400 and usage is None and not cut:
        return Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0, status=status)
    # A client may go as soon as it has read the end. Gemini's last event is only known by what follows.
    ended = answer.meter.done and not (cut and call.dialect is Dialect.GEMINI)
    if ended and usage is not None and usage.output_tokens is not None:
        cost = sheet.cost_nano_usd(usage, call) if sheet else None
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, cost, usage, status)
    outcome = Outcome.CUT if cut or not answer.meter.done else Outcome.COMPLETE
    return replace(estimated(call, decision, sheet, answer, status), outcome=outcome)


def had_left(flow: http.HTTPFlow) -> bool:
    """Whether any byte of the request may have reached the provider."""
    server = flow.server_conn
    ready = (
        server.timestamp_tls_setup if flow.request.scheme == "https" else server.timestamp_tcp_setup
    )
    return ready is not None


def estimated(
    call: Call, decision: Decision, sheet: PriceSheet | None, answer: Answer, status: int | None
) -> Settlement:
    """From what was seen: never below what the provider reported or the client received.

    Text that was seen bounds the output from above, a byte a token. Where a model thinks unseen, or
    the provider runs tools, nothing that was seen bounds what it may bill, so the reservation is
    booked whole.
    """
    asked = "reasoning" in call.features
    hidden = facts.hides_reasoning(call.dialect, call.model or "", asked=asked)
    meter, seen = answer.meter, answer.meter.usage or Usage()
    behind = "background" in call.features and meter.made.goes_on
    if answer.broken or hidden or call.server_tools or behind:
        least = replace(
            seen, output_tokens=max(seen.output_tokens or 0, meter.seen_output_tokens_least)
        )
        return reserved(decision, sheet, status, call, least)
    said = seen.output_tokens or 0
    output = max(said, meter.seen_output_tokens_bound)
    most = max(decision.bound_output_tokens, said, meter.seen_output_tokens_least)
    usage = replace(
        seen,
        input_tokens=seen.input_tokens or decision.bound_input_tokens,
        output_tokens=min(output, most),
    )
    cost = sheet.cost_nano_usd(usage, call) if sheet else None
    return Settlement(Outcome.CUT, Basis.ESTIMATED, cost, usage, status)


def outgrown(
    call: Call, decision: Decision, sheet: PriceSheet | None, answer: Answer, status: int | None
) -> Settlement:
    """Of a stream that outgrew its reservation and was cut: what was seen, and at least that."""
    made = estimated(call, decision, sheet, answer, status)
    note = f"It outgrew its reservation and was cut ({decision.cuts})."
    if made.cost_nano_usd is None:
        return replace(made, note=note)
    return replace(
        made, cost_nano_usd=max(made.cost_nano_usd, decision.reserve_nano_usd), note=note
    )


def reserved(
    decision: Decision,
    sheet: PriceSheet | None,
    status: int | None,
    call: Call | None = None,
    seen: Usage = _NOTHING_SEEN,
) -> Settlement:
    """The whole reservation, because nothing better is known; more only where more was seen."""
    cost = decision.reserve_nano_usd if sheet else None
    if sheet and seen != _NOTHING_SEEN:
        cost = max(decision.reserve_nano_usd, sheet.cost_nano_usd(seen, call))
    return Settlement(Outcome.CUT, Basis.RESERVED, cost, status=status)


class Books:
    """What an enforcer writes besides admissions; what cannot reach the ledger goes to the spool."""

    def __init__(self, station: Station) -> None:
        """Keep the station."""
        self.station = station

    async def settle(self, call: str, made: Settlement) -> None:
        """Resolve a reservation, however long other processes write.

        Raises:
            LedgerError: When neither the ledger nor the spool takes it.
        """
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        try:
            await self.station.write(lambda: ledger.settle(call, made, now_ns))
        except LedgerError as error:
            log.warning("A settlement went to the spool: %s", error)
            spool(self.station.spool, call, made, now_ns)
        except asyncio.CancelledError:
            spool(self.station.spool, call, made, now_ns)
            raise

    async def let_go(self, call: str) -> None:
        """A held call that nobody waits for any more gives back what it reserved."""
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        try:
            await self.station.write(lambda: ledger.leave(call, now_ns))
        except LedgerError:
            spool(self.station.spool, call, NOT_SENT, now_ns)

    def settle_now(self, call: str, made: Settlement) -> None:
        """As ``settle``, in the middle of a fault: nothing is awaited, and nothing is raised."""
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        self._keep(
            lambda: ledger.settle(call, made, now_ns),
            lambda: spool(self.station.spool, call, made, now_ns),
        )

    def let_go_now(self, call: str) -> None:
        """As ``let_go``, in the middle of a fault."""
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        self._keep(
            lambda: ledger.leave(call, now_ns),
            lambda: spool(self.station.spool, call, NOT_SENT, now_ns),
        )

    def note(self, kind: str, actor: str, data: Mapping[str, object]) -> None:
        """One audit record outside an admission.

        Raises:
            LedgerError: When neither the ledger nor the spool takes it.
        """
        now_ns = self.station.now_ns()
        try:
            self.station.ledger.record(kind, actor, data, now_ns)
        except LedgerError:
            append(self.station.spool, {"kind": kind, "actor": actor, "data": data}, now_ns)

    def note_refusal(self, flow: http.HTTPFlow, principal: Principal, reason: Reason) -> None:
        """A refusal that never came to a decision: what was asked for, of which run, and why not."""
        data = {
            "code": reason.code,
            "message": reason.message,
            "run": principal.run,
            "host": flow.request.host,
            "method": flow.request.method,
            "path": flow.request.path.partition("?")[0][:512],
        }
        self.note("refused", principal.agent, data)

    def note_now(self, kind: str, actor: str, data: Mapping[str, object]) -> None:
        """As ``note``, in the middle of a fault."""
        self._keep(lambda: self.note(kind, actor, data), lambda: None)

    @staticmethod
    def _keep(write: Callable[[], Any], instead: Callable[[], None]) -> None:
        for way in (write, instead):
            try:
                way()
            except LedgerError as error:
                log.warning("A record could not be kept: %s", error)
            else:
                return


def spool(folder: Path, call: str, made: Settlement, now_ns: int) -> None:
    """Keep a settlement that could not be written; recovery takes it in."""
    append(folder, {"kind": "settlement", "call": call, "settlement": asdict(made)}, now_ns)
