"""Refusing a call: in its provider's own error shape, with the status that its client bears."""

from __future__ import annotations

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.domain import Code, Effect, Reason
from tollkeeper.proxy import disclose
from tollkeeper.proxy.passage import Passage, dialect_of
from tollkeeper.proxy.settling import Books
from tollkeeper.proxy.station import Station
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.refusal import refusal, status_of


class Refusals:
    """Writes refusals, and records those that never came to a decision."""

    def __init__(self, station: Station, books: Books) -> None:
        """Keep the rooms it works with."""
        self.station = station
        self.books = books

    def refuse(self, flow: http.HTTPFlow, passage: Passage, reason: Reason) -> None:
        """Answer in the provider's own error shape."""
        policy, admission = self.station.policy_file.policy, passage.admission
        status = status_of(reason.code)
        override = policy.refusals.get(reason.code, {})
        status = override.get(passage.family) or facts.final_status(passage.family, status)
        made = refusal(
            dialect_of(flow, passage),
            reason,
            admission.id if admission else flow.id,
            stream=bool(passage.call and passage.call.stream),
            status=status,
        )
        flow.response = http.Response.make(made.status, made.body, dict(made.headers))
        joins = reason.code is Code.APPROVAL_PENDING and facts.retry_joins(passage.family)
        if joins or reason is self.station.shut:
            flow.response.headers["x-should-retry"] = "true"
        disclose.refused(flow, passage.caller, passage.call, reason, admission)

    def refuse_unknown(self, flow: http.HTTPFlow, passage: Passage, inbound: Inbound) -> None:
        """An endpoint that is not metered: refused, or recorded and passed in observe mode."""
        called = f"{inbound.method} {inbound.path}"
        known = facts.refused(inbound.provider, inbound.path)
        if known is not None:
            message = (
                f"{called} is not forwarded ({known.what}): {known.because}. Instead, "
                f"{known.instead}."
            )
        else:
            message = (
                f"{called} is not an endpoint of {inbound.provider.name} that Tollkeeper knows, so "
                "it cannot be metered; `tollkeeper model list --endpoints` shows those it knows."
            )
        self.refuse_unread(flow, passage, Code.UNKNOWN_ENDPOINT, message)
        if self.station.policy_file.policy.mode == "observe":
            flow.response = None

    def refuse_unread(
        self, flow: http.HTTPFlow, passage: Passage, code: Code, message: str
    ) -> None:
        """Refuse what never came to a decision, and record that."""
        principal = passage.caller.principal
        assert principal is not None
        reason = Reason(Effect.DENY, code, "wire", message)
        self.refuse(flow, passage, reason)
        self.books.note_refusal(flow, principal, reason)
