"""Streams that outgrow what was reserved for them: whether they are cut, and what their client is told."""

from __future__ import annotations

from tollkeeper.core.ceiling import Ceiling
from tollkeeper.domain import Call, Code, Decision, Effect, Reason
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.passage import Passage
from tollkeeper.wire.refusal import error_event, refusal, status_of, usd
from tollkeeper.wire.sse import Form


def watch(passage: Passage, answer: Answer) -> bool:
    """Have an answer end with an error where it outgrows its reservation and the policy wants that.

    Returns:
        Whether the answer may be cut, so that its length is not known beforehand.
    """
    call, admission = passage.call, passage.admission
    assert call is not None
    assert admission is not None
    if admission.decision.cuts is None or not call.metered:
        return False
    ceiling = Ceiling(call, admission.decision, passage.sheet)
    words = last_words(call, admission.decision, admission.id, answer.form)
    return answer.end_when(ceiling.outgrown, words)


def last_words(call: Call, decision: Decision, call_id: str, form: Form) -> bytes:
    """The error that ends the client's stream, in its dialect and in the stream's form."""
    reserved = f"${usd(decision.reserve_nano_usd)}"
    limit = decision.bound_output_tokens
    message = (
        f"This answer outgrew what was reserved for it (up to {reserved}, {limit} output tokens) and "
        f"was cut, as {decision.cuts} says. What was received is booked; ask for a shorter answer."
    )
    reason = Reason(Effect.DENY, Code.BUDGET_EXHAUSTED, decision.cuts or "", message)
    made = refusal(call.dialect, reason, call_id, stream=True, status=status_of(reason.code))
    return error_event(call.dialect, made.body, form)
