"""What a call came to: from an answer, whole or cut, to the settlement of its reservation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook, PriceSheet
from tollkeeper.core.units import fitting, is_measured
from tollkeeper.core.wording import usd
from tollkeeper.domain import (
    Basis,
    Billing,
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
from tollkeeper.ledger.spool import WHOLE, append
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)

_NOTHING_SEEN = Usage()

_UNNAMED = (Dialect.BEDROCK_INVOKE, Dialect.BEDROCK_NATIVE)
"""Answers that do not name the inference profile, whose price is what counts."""

_ENDS_UNSAID = (Dialect.GEMINI, Dialect.CODE_ASSIST)

_NO_PRICE = "no price is known that bounds it"
_NO_BOUND = "nothing bounds it, so what it cost is unknown"
_AT_LEAST = "nothing bounds it: it cost what was seen, and may have cost more"

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
    reservation where neither is known, never zero. A price that could not bound the call still
    prices what the answer says, and nothing else.
    """
    status = flow.response.status_code if flow.response and answer else None
    if not call.metered:
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, 0, status=status)
    bounded = fitting(sheet, call)
    if answer is None:
        return reserved(decision, bounded, None) if had_left(flow) else NOT_SENT
    if cut:
        answer.meter.finish()
    if answer.cut:
        return outgrown(call, decision, bounded, answer, status)
    usage = answer.usage
    if status is not None and status >= 400 and usage is None and not cut:
        return Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0, status=status)
    # A client may go as soon as it has read the end. Gemini's last event is only known by what follows.
    ended = answer.meter.done and not (cut and call.dialect in _ENDS_UNSAID)
    if ended and usage is not None and is_measured(sheet, usage):
        made = priced(usage, call, decision, sheet)
        cost, note = reckoned(made.cost_nano_usd, usage, sheet)
        return replace(made, cost_nano_usd=cost, note=note or made.note, status=status)
    if cut and not streamed(flow) and (status or 0) < 400:
        return reserved(decision, bounded, status)
    outcome = Outcome.CUT if cut or not answer.meter.done else Outcome.COMPLETE
    return replace(estimated(call, decision, bounded, answer, status), outcome=outcome)


def streamed(flow: http.HTTPFlow) -> bool:
    """Whether the meter saw the answer come; one that is buffered is seen, and billed, as a whole."""
    return flow.websocket is not None or bool(flow.response and flow.response.stream)


def by_payer(
    made: Settlement, decision: Decision, provider: str, headers: Mapping[str, str]
) -> Settlement:
    """The same, as who pays for it has it booked.

    Where the provider says on each answer whether the plan paid, its word and not the credential's
    look decides: what the plan did not pay is real money, and booked in full.

    Args:
        provider: Its name.
        headers: Of the answer, empty when none came.
    """
    if decision.billing is Billing.METERED:
        return made
    price = made.cost_nano_usd
    if made.basis is Basis.RESERVED and price is not None:
        price = decision.worst_nano_usd
    if headers and price and not facts.paid_by_plan(provider, headers):
        note = "the provider did not say that the plan paid"
        return replace(made, cost_nano_usd=price, billing=Billing.METERED, note=note)
    counts = decision.billing is Billing.FLAT_COUNTED
    return replace(made, cost_nano_usd=price if counts else 0, notional_nano_usd=price)


def reckoned(cost: int | None, usage: Usage, sheet: PriceSheet | None) -> tuple[int | None, str]:
    """Our own figure against the provider's, where it says one: the dearer is booked and told.

    Theirs alone where we know no price; ours alone where the owner set it.
    """
    theirs = usage.provider_cost_nano_usd
    if theirs is None or theirs == cost or (sheet is not None and sheet.any_tier):
        return cost, ""
    if cost is None:
        return theirs, "the provider's own figure, because no price is known"
    if abs(theirs - cost) * 100 <= max(theirs, cost):
        return max(theirs, cost), ""
    return max(theirs, cost), f"the provider says {usd(theirs)}, the price list {usd(cost)}"


def at_the_end(
    made: Settlement, call: Call, sheet: PriceSheet | None, prices: PriceBook, now_ns: int
) -> Settlement:
    """The settlement by what is only known when the answer has ended: its hour, and its model.

    Where the price depends on the time of day, the dearer of the hours in which a call began and ended
    is booked, as it was reserved.
    """
    told = as_told(made, call, prices, now_ns)
    later = prices.sheet(call.provider, call.model or "", now_ns, call.service_tier)
    if sheet is None or later is None or later.tariff not in sheet.coming:
        return told
    if told.usage is None or told.cost_nano_usd is None or told.basis is Basis.RESERVED:
        return told
    cost = later.cost_nano_usd(told.usage, call)
    if cost <= told.cost_nano_usd:
        return told
    return replace(told, cost_nano_usd=cost, note="the price rose while it was answered")


def as_told(made: Settlement, call: Call, prices: PriceBook, now_ns: int) -> Settlement:
    """The settlement at the price of the model that a deployment says it ran, where that is dearer.

    What a deployment runs is the owner's word until its answer names the model; a cheaper one may be
    another name for what the owner priced, so it changes nothing. An owner's own price stands, and
    answers of Bedrock do not name the region's profile that prices them.
    """
    told, amazon = made.usage.model, call.dialect in _UNNAMED
    if call.deployment is None or told is None or amazon or made.cost_nano_usd is None:
        return made
    judged = prices.sheet(call.provider, call.model or "", now_ns, call.service_tier)
    if judged is not None and judged.any_tier:
        return made
    sheet = prices.sheet(call.provider, told, now_ns, call.service_tier)
    cost = sheet.cost_nano_usd(made.usage, call) if sheet is not None else 0
    if made.basis is Basis.RESERVED or cost <= made.cost_nano_usd:
        return made
    return replace(made, cost_nano_usd=cost, note=f"{call.deployment} ran {told}")


def priced(usage: Usage, call: Call, decision: Decision, sheet: PriceSheet | None) -> Settlement:
    """What a whole answer's usage costs; with a part of unknown price never below the reservation."""
    if sheet is None:
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, None, usage)
    cost = sheet.cost_nano_usd(usage, call)
    missing = sheet.missing(usage, call)
    if not missing:
        told = f"the usage names {', '.join(usage.unknown)}, which is not priced"
        note = told[:500] if usage.unknown else ""
        return Settlement(Outcome.COMPLETE, Basis.MEASURED, cost, usage, note=note)
    note = f"no price is known for {', '.join(missing)}"
    least = None if unbounded(decision) and not cost else max(cost, decision.reserve_nano_usd)
    return Settlement(Outcome.COMPLETE, Basis.RESERVED, least, usage, note=note)


def unbounded(decision: Decision) -> bool:
    """Whether nothing bounds what the call costs: such a call passes where no budget stands over it."""
    return decision.worst_nano_usd is None and not decision.reserve_nano_usd


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

    Text that was seen bounds the output from above, a byte a token. Where a model thinks unseen, the
    provider runs tools of its own, other measures than tokens are billed or no event came that could be
    read, nothing that was seen bounds what it may bill, so the reservation is booked whole.
    """
    asked = "reasoning" in call.features
    hidden = facts.hides_reasoning(call.dialect, call.model or "", asked=asked)
    meter, seen = answer.meter, answer.meter.usage or Usage()
    behind = "background" in call.features and meter.made.goes_on
    fed_unseen = seen.input_tokens is None and not decision.bound_input_tokens
    unseen = answer.broken or hidden or behind or fed_unseen or not meter.begun
    if unseen or call.server_tools or call.most is not None:
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
        output_tokens=min(output, most) if decision.bound_output_tokens else output,
    )
    cost = _unfinished(usage, seen, call, sheet) if sheet else None
    return Settlement(Outcome.CUT, Basis.ESTIMATED, cost, usage, status)


def _unfinished(usage: Usage, seen: Usage, call: Call, sheet: PriceSheet) -> int:
    """What a usage that was partly counted by us costs.

    Where the provider did not say what came of the input, it may have been written to a cache, and
    the call served in the dearest tier that it asks for: then every token counts at its dearest.
    """
    cost = sheet.cost_nano_usd(usage, call)
    if seen.input_tokens is not None:
        return cost
    counted = replace(call, choices=1, extra_output_tokens=0)
    most = sheet.worst_cost_nano_usd(usage.input_tokens or 0, usage.output_tokens or 0, counted)
    return max(cost, most)


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
    """The whole reservation, because nothing better is known; more only where more was seen.

    Where nothing bounds the call it is what was seen, which is too little, or unknown: never nothing.
    """
    least = sheet.cost_nano_usd(seen, call) if sheet and seen != _NOTHING_SEEN else 0
    if sheet is not None and not unbounded(decision):
        cost = max(decision.reserve_nano_usd, least)
        return Settlement(Outcome.CUT, Basis.RESERVED, cost, status=status)
    note = _NO_PRICE if sheet is None else _AT_LEAST if least else _NO_BOUND
    return Settlement(Outcome.CUT, Basis.RESERVED, least or None, status=status, note=note)


class Books:
    """What an enforcer writes besides admissions; what cannot reach the ledger goes to the spool."""

    def __init__(self, station: Station) -> None:
        """Keep the station."""
        self.station = station

    def settle(self, call: str, made: Settlement, *, company: bool = True) -> None:
        """Resolve a reservation behind the answer, however long other processes write; never raises.

        Whatever this proxy admits from now on finds it resolved. Where neither the ledger nor the spool
        takes it, the call stays reserved, until recovery books it whole.

        Args:
            company: Whether other calls are under way, whose admissions could take it along.
        """
        station, now_ns = self.station, self.station.now_ns()

        def keep(error: Exception) -> None:
            kept = made
            if not isinstance(error, LedgerError):
                log.error("Settling broke; the call is booked whole", exc_info=error)
                self.note_now("fault", "tollkeeper", {"hook": "settle", "error": told(error)})
                kept = WHOLE
            log.warning("A settlement goes to the spool: %s", error)
            self._keep(lambda: spool(station.spool, call, kept, now_ns))

        station.writer.write_behind(
            lambda: station.ledger.settle(call, made, now_ns), keep, company=company
        )

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
        self._keep(lambda: self.note(kind, actor, data))

    @staticmethod
    def _keep(*ways: Callable[[], object]) -> None:
        for way in ways:
            try:
                way()
            except LedgerError as error:
                log.warning("A record could not be kept: %s", error)
            else:
                return


def told(error: BaseException) -> str:
    """A fault of ours, as the record has it."""
    return f"{type(error).__name__}: {error}"[:500]


def spool(folder: Path, call: str, made: Settlement, now_ns: int) -> None:
    """Keep a settlement that could not be written; recovery takes it in."""
    append(folder, {"kind": "settlement", "call": call, "settlement": asdict(made)}, now_ns)
