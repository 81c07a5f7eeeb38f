from __future__ import annotations

from dataclasses import replace

import pytest

from core.judging import (
    NOW,
    SECOND,
    MemoryRateLog,
    judge,
    make_call,
    make_policy,
    make_rule,
    policy_for,
)
from tollkeeper.core.holds import MOST_OPEN_HOLDS
from tollkeeper.domain import (
    Approval,
    Code,
    Decision,
    Effect,
    HoldTerms,
    Limits,
    Mode,
    Verdict,
    Window,
)

MINUTE = 60 * SECOND
ASK = make_rule("dear", Effect.HOLD, lapses_after_ns=600 * SECOND, message="Ask Ann first.")


def approval(state: str, *, at_ns: int = NOW, note: str = "", lapses_ns: int = 1 << 62) -> Approval:
    verdict = None
    if state in ("approved", "rejected"):
        verdict = Verdict("abcdefghij", state, "ann", note, at_ns, "seal")
    return Approval(
        "abcdefghij", "digest", "atlas", "run", "dear", state, {}, at_ns, lapses_ns, 0, verdict
    )


def held(found: Approval | None, **more: object) -> Decision:
    return judge(policy=make_policy(rules=(ASK,)), approval=found, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("found", [None, approval("open")])
def test_call_is_held_while_nobody_answered(found: Approval | None) -> None:
    decision = held(found)

    assert decision.effect is Effect.HOLD
    assert decision.hold == HoldTerms(600 * SECOND, "dear")
    assert decision.reasons[0].code is Code.APPROVAL_PENDING
    assert decision.reasons[0].message == "Ask Ann first. (rule dear)"
    assert decision.reserve_nano_usd > 0
    assert decision.consumes is None


def test_agent_with_a_full_inbox_is_refused_and_told_why() -> None:
    last = held(None, open_holds=MOST_OPEN_HOLDS - 1)
    refused = held(approval("open"), open_holds=MOST_OPEN_HOLDS)

    assert last.effect is Effect.HOLD
    assert (refused.effect, refused.reasons[0].code) == (Effect.DENY, Code.POLICY_DENIED)
    assert refused.reasons[0].source == "rules.dear"
    assert "100 calls of this agent wait for a person already" in refused.reasons[0].message
    assert held(approval("approved"), open_holds=MOST_OPEN_HOLDS).effect is Effect.ALLOW


def test_approved_call_passes_and_uses_the_approval_up() -> None:
    decision = held(approval("approved"))

    assert decision.effect is Effect.ALLOW
    assert decision.consumes == "abcdefghij"
    assert decision.reasons == ()


@pytest.mark.parametrize("state", ["approved", "open"])
def test_approval_lapses_at_its_nanosecond(state: str) -> None:
    at_the_end = held(approval(state, lapses_ns=NOW))

    assert at_the_end.effect is Effect.DENY
    assert at_the_end.reasons[0].code is Code.APPROVAL_LAPSED
    assert held(approval(state, lapses_ns=NOW + 1)).effect is not Effect.DENY
    assert held(approval("lapsed")).reasons[0].code is Code.APPROVAL_LAPSED


def test_a_note_reaches_the_agent_without_what_a_terminal_obeys() -> None:
    [reason] = held(approval("rejected", note="no\x1b[2J\nnever")).reasons

    assert reason.message == "A person rejected this call: no\\x1b[2J\nnever"


def test_rejection_holds_for_ten_minutes_with_the_persons_note() -> None:
    fresh = held(approval("rejected", note="Use the small model.", at_ns=NOW - 10 * MINUTE + 1))
    old = held(approval("rejected", at_ns=NOW - 10 * MINUTE))

    assert (fresh.effect, fresh.reasons[0].code) == (Effect.DENY, Code.APPROVAL_REJECTED)
    assert fresh.reasons[0].message == "A person rejected this call: Use the small model."
    assert old.effect is Effect.HOLD


def test_verdict_never_overrides_a_refusal() -> None:
    policy = make_policy(rules=(ASK, make_rule("never", Effect.DENY)))

    decision = judge(policy=policy, approval=approval("approved"))

    assert decision.effect is Effect.DENY
    assert decision.consumes is None


def test_approved_call_still_needs_the_money() -> None:
    policy = policy_for(Limits(budget_nano_usd={Window.DAY: 1}), rules=(ASK,))

    decision = judge(policy=policy, approval=approval("approved"))

    assert decision.effect is Effect.DENY
    assert decision.reasons[0].code is Code.BUDGET_EXHAUSTED


def test_approval_is_kept_when_no_rule_holds_the_call_any_more() -> None:
    decision = judge(approval=approval("approved"))

    assert decision.effect is Effect.ALLOW
    assert decision.consumes is None


def test_rejection_counts_only_while_a_rule_holds_the_call() -> None:
    assert judge(approval=approval("rejected")).effect is Effect.ALLOW


def test_rates_are_judged_at_release_and_not_while_held() -> None:
    policy = policy_for(Limits(rpm=1), rules=(ASK,))
    log = MemoryRateLog()
    log.add("agent:atlas", NOW)

    waiting = judge(policy=policy, rates=log)
    released = judge(policy=policy, rates=log, approval=approval("approved"))

    assert waiting.effect is Effect.HOLD
    assert (released.effect, released.reasons[0].code) == (Effect.DENY, Code.RATE_LIMITED)
    assert released.consumes is None


def test_of_several_hold_rules_all_are_named_and_the_shortest_term_counts() -> None:
    quick = replace(ASK, name="quick", lapses_after_ns=SECOND, message=None)

    decision = judge(policy=make_policy(rules=(ASK, quick)))

    assert [reason.source for reason in decision.reasons] == ["rules.dear", "rules.quick"]
    assert decision.hold == HoldTerms(SECOND, "dear")


def test_observe_mode_uses_no_approval_up() -> None:
    policy = make_policy(rules=(ASK,), mode=Mode.OBSERVE)

    decision = judge(policy=policy, approval=approval("approved"))

    assert decision.effect is Effect.ALLOW
    assert decision.consumes is None


@pytest.mark.parametrize(
    ("fields", "effect", "expected"),
    [
        ({"agent"}, Effect.HOLD, Effect.ALLOW),
        ({"agent", "operation"}, Effect.HOLD, Effect.HOLD),
        ({"agent"}, Effect.DENY, Effect.DENY),
    ],
)
def test_free_call_waits_only_for_a_rule_that_names_its_operation(
    fields: set[str], effect: Effect, expected: Effect
) -> None:
    rule = replace(make_rule("r", effect), fields=frozenset(fields))
    free = make_call(metered=False, model=None, operation="telemetry")

    decision = judge(free, policy=make_policy(rules=(rule,)))

    assert decision.effect is expected
