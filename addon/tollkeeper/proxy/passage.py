"""One governed request on its way, and what it is told when the house itself is at fault."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import cache

from mitmproxy import http

from tollkeeper.core.pricing import PriceSheet
from tollkeeper.core.units import fitting
from tollkeeper.domain import Admission, Call, Code, Dialect, Effect, Policy, Reason, Settlement
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.settling import by_payer
from tollkeeper.proxy.station import Caller
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.refusal import refusal, status_of, unanswered


@dataclass(slots=True)
class Passage:
    """One governed request on its way, from its headers to its settlement.

    Attributes:
        said: What the agent said of itself in control headers: step, priority …
        place: Where it goes, as an approval is bound to it.
        judged: The request as it was when it was judged; nothing else may leave.
        asked: What the ledger is asked to decide, or has been.
        admission: What was decided; settled when ``settled`` is True.
        answer: The meter of the answer that is being passed on.
        websocket: Whether it asks to switch to a WebSocket.
        lost: The answer could not be followed, so our refusal takes its place.
        told: Headers of the answer to a call that a plan pays; some say whether it did.
    """

    caller: Caller
    said: dict[str, str] = field(default_factory=dict)
    family: str = "other"
    endpoint: Endpoint | None = None
    call: Call | None = None
    sheet: PriceSheet | None = None
    policy: Policy | None = None
    place: str = ""
    judged: tuple[object, ...] = ()
    inbound: Inbound | None = None
    asked: asyncio.Future[Admission] | None = None
    admission: Admission | None = None
    answer: Answer | None = None
    usage_spliced: bool = False
    settled: bool = False
    lost: bool = False
    websocket: bool = False
    told: dict[str, str] = field(default_factory=dict)

    def ask_no_more(self) -> None:
        """What the ledger has not decided yet is not written any more."""
        if self.asked is not None:
            self.asked.cancel()

    def by_payer(self, made: Settlement) -> Settlement:
        """A settlement of this call as who pays for it has it booked."""
        assert self.call is not None
        assert self.admission is not None
        return by_payer(made, self.admission.decision, self.call.provider, self.told)

    @property
    def bounding(self) -> PriceSheet | None:
        """The prices by which the call was reserved; None where none of them bounds it."""
        return fitting(self.sheet, self.call) if self.call is not None else None


def fault_response(dialect: Dialect | None) -> http.Response:
    """Our own fault, in a provider's words; mitmproxy writes into what it is given."""
    status, reason, fields, body = fault_parts(dialect)
    return http.Response(
        http_version=b"HTTP/1.1",
        status_code=status,
        reason=reason,
        headers=http.Headers(fields),
        content=body,
        trailers=None,
        timestamp_start=time.time(),
        timestamp_end=None,
    )


@cache
def fault_parts(
    dialect: Dialect | None,
) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...], bytes]:
    """What ``fault_response`` is made of, one a dialect."""
    reason = Reason(
        Effect.DENY,
        Code.POLICY_UNAVAILABLE,
        "tollkeeper",
        "Tollkeeper could not decide about this call, so it was not forwarded. "
        "The operator finds the cause in `tollkeeper logs`.",
    )
    made = refusal(dialect, reason, "none", stream=False, status=status_of(reason.code))
    whole = http.Response.make(made.status, made.body, dict(made.headers))
    return whole.status_code, whole.data.reason, whole.headers.fields, made.body


def dialect_of(flow: http.HTTPFlow, passage: Passage) -> Dialect | None:
    """In whose words to refuse this request; None at hosts that are no provider."""
    provider = passage.caller.provider
    if provider is None:
        return None
    return route.dialect_at(provider, flow.request.method, flow.request.path.partition("?")[0])


def unanswered_response(flow: http.HTTPFlow, passage: Passage, why: str) -> http.Response:
    """That the provider did not answer, in its own words; an HTTP/1 connection ends, as at mitmproxy."""
    call_id = passage.admission.id if passage.admission else flow.id
    why = why.removeprefix("Connection killed: ")
    made = unanswered(dialect_of(flow, passage), why, call_id)
    response = http.Response.make(made.status, made.body, dict(made.headers))
    if not flow.request.is_http2:
        response.headers["connection"] = "close"
    return response
