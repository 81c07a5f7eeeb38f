"""Holds: one question, one sealed answer, one forward."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.conftest import Opener
from ledger.scripted import (
    ATLAS,
    HOUR,
    MINUTE,
    PRINCIPAL,
    T0,
    ScriptedCase,
    measured,
    sealed,
)
from tollkeeper.domain import Admission, Approval, Balance, Code, Effect, Principal
from tollkeeper.errors import ApprovalError, LedgerError
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

HOLD = ScriptedCase(hold=True, budgets={ATLAS: 10_000})


def held(ledger: SqliteLedger, now_ns: int = T0, case: ScriptedCase = HOLD) -> Admission:
    admission = ledger.admit(case, PRINCIPAL, now_ns, body=b'{"model": "gpt-4o"}')
    assert admission.effect is Effect.HOLD
    return admission


def approval_of(admission: Admission) -> Approval:
    assert admission.approval is not None
    return admission.approval


def answer(ledger: SqliteLedger, admission: Admission, said: str, at_ns: int = T0 + 1) -> Approval:
    return ledger.give_verdict(sealed(ledger, approval_of(admission).id, said, at_ns))


def kinds(ledger: SqliteLedger) -> list[str]:
    return [row["kind"] for row in ledger.audit()]


def test_held_call_reserves_and_opens_an_approval_with_what_the_person_will_see(
    ledger: SqliteLedger,
) -> None:
    approval = approval_of(held(ledger))

    assert (approval.state, approval.waiting, approval.rule) == ("open", 1, "ask")
    assert approval.lapses_ns == T0 + HOUR
    assert approval.summary["model"] == "gpt-4o"
    assert approval.summary["worst_nano_usd"] == 100
    assert ledger.approval_body(approval.id) == b'{"model": "gpt-4o"}'
    assert ledger.balance(ATLAS) == Balance(0, 100, 1)
    assert ledger.approvals() == [approval]


def test_same_call_sent_again_joins_the_same_approval_and_reserves_again(
    ledger: SqliteLedger,
) -> None:
    first, second = held(ledger), held(ledger, T0 + 1)

    assert approval_of(second).id == approval_of(first).id
    assert approval_of(second).waiting == 2
    assert ledger.balance(ATLAS) == Balance(0, 200, 2)


def test_other_call_and_other_agent_get_approvals_of_their_own(ledger: SqliteLedger) -> None:
    one = approval_of(held(ledger))
    other_call = approval_of(held(ledger, case=replace(HOLD, digest="other")))
    stranger = Principal("hermes", "token-hermes", "hermes:2027-01-15")
    other_agent = approval_of(ledger.admit(HOLD, stranger, T0))

    assert len({one.id, other_call.id, other_agent.id}) == 3


def test_client_that_leaves_voids_its_reservation_and_the_approval_stays(
    ledger: SqliteLedger,
) -> None:
    admission = held(ledger)

    ledger.leave(admission.id, T0 + 1)
    ledger.leave(admission.id, T0 + 2)

    assert ledger.balance(ATLAS) == Balance()
    [abandoned] = ledger.approvals()
    assert (abandoned.state, abandoned.waiting) == ("open", 0)
    assert kinds(ledger).count("left") == 1
    assert verify(ledger) == []


def test_approved_call_is_forwarded_once_and_charged_at_its_release(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    answer(ledger, admission, "approved")

    released = ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=admission.id)

    assert released.id == admission.id
    assert released.effect is Effect.ALLOW
    assert released.decision.consumes == approval_of(admission).id
    assert ledger.balance(ATLAS) == Balance(0, 100, 1)
    assert ledger.approval(approval_of(admission).id).state == "used"
    ledger.settle(admission.id, measured(60), T0 + 3)
    assert ledger.balance(ATLAS) == Balance(60, 0, 1)
    assert verify(ledger) == []


def test_one_verdict_releases_one_of_two_waiting_calls(ledger: SqliteLedger) -> None:
    first, second = held(ledger), held(ledger)
    answer(ledger, first, "approved")

    one = ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=second.id)
    two = ledger.admit(HOLD, PRINCIPAL, T0 + 3, again=first.id)

    assert one.effect is Effect.ALLOW
    assert two.effect is Effect.HOLD
    assert approval_of(two).id != approval_of(first).id
    assert (approval_of(two).state, approval_of(two).waiting) == ("open", 1)
    assert verify(ledger) == []


def test_those_who_come_too_late_for_a_verdict_share_the_next_approval(
    ledger: SqliteLedger,
) -> None:
    calls = [held(ledger) for _ in range(3)]
    answer(ledger, calls[0], "approved")
    ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=calls[0].id)

    second = replace(HOLD)
    later = [ledger.admit(second, PRINCIPAL, T0 + 3, again=call.id) for call in calls[1:]]

    assert approval_of(later[0]).id == approval_of(later[1]).id
    assert approval_of(later[1]).waiting == 2
    assert second.saw is not None
    assert second.saw.approval is not None
    assert second.saw.approval.id == approval_of(later[0]).id


def test_own_reservation_is_taken_out_before_the_second_judgement(ledger: SqliteLedger) -> None:
    tight = replace(HOLD, budgets={ATLAS: 100})
    admission = held(ledger, case=tight)
    answer(ledger, admission, "approved")

    assert ledger.admit(tight, PRINCIPAL, T0 + 2, again=admission.id).effect is Effect.ALLOW


def test_denial_in_the_second_judgement_wins_over_the_approval(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    answer(ledger, admission, "approved")

    refused = ledger.admit(
        replace(HOLD, budgets={ATLAS: 99}), PRINCIPAL, T0 + 2, again=admission.id
    )

    assert refused.effect is Effect.DENY
    assert ledger.balance(ATLAS) == Balance()
    assert ledger.approval(approval_of(admission).id).state == "approved"
    assert verify(ledger) == []


def test_approved_call_that_was_abandoned_is_released_when_it_is_sent_again(
    ledger: SqliteLedger,
) -> None:
    admission = held(ledger)
    ledger.leave(admission.id, T0 + 1)
    answer(ledger, admission, "approved", T0 + 2)

    fetched = ledger.admit(HOLD, PRINCIPAL, T0 + 2 + HOUR - 1)

    assert fetched.effect is Effect.ALLOW
    assert fetched.decision.consumes == approval_of(admission).id


def test_approved_call_that_nobody_fetches_in_an_hour_lapses(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    ledger.leave(admission.id, T0 + 1)
    answer(ledger, admission, "approved", T0 + 2)

    late = ledger.admit(HOLD, PRINCIPAL, T0 + 2 + HOUR)

    assert late.effect is Effect.HOLD
    assert approval_of(late).id != approval_of(admission).id
    assert ledger.approval(approval_of(admission).id).state == "lapsed"


def test_rejection_holds_for_ten_minutes_and_then_a_person_is_asked_again(
    ledger: SqliteLedger,
) -> None:
    admission = held(ledger)
    answer(ledger, admission, "rejected", T0 + 1)

    waiting = ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=admission.id)
    soon = ledger.admit(HOLD, PRINCIPAL, T0 + 10 * MINUTE)
    later = ledger.admit(HOLD, PRINCIPAL, T0 + 1 + 10 * MINUTE)

    assert waiting.decision.reasons[0].code is Code.APPROVAL_REJECTED
    assert approval_of(waiting).verdict is not None
    assert soon.decision.reasons[0].code is Code.APPROVAL_REJECTED
    assert later.effect is Effect.HOLD


def test_unanswered_approval_lapses_for_those_who_wait_and_is_opened_anew_for_others(
    ledger: SqliteLedger,
) -> None:
    admission = held(ledger)
    assert ledger.lapse(T0 + HOUR - 1) == 0

    assert ledger.lapse(T0 + HOUR) == 1
    assert ledger.lapse(T0 + HOUR) == 0

    waiting = ledger.admit(HOLD, PRINCIPAL, T0 + HOUR, again=admission.id)
    assert waiting.decision.reasons[0].code is Code.APPROVAL_LAPSED
    assert ledger.admit(HOLD, PRINCIPAL, T0 + HOUR).effect is Effect.HOLD
    assert kinds(ledger).count("lapsed") == 1


def test_open_holds_of_the_agent_are_counted_without_the_call_that_asks(
    ledger: SqliteLedger,
) -> None:
    def asks(digest: str, again: str | None = None) -> tuple[str, int]:
        case = ScriptedCase(hold=True, digest=digest)
        admission = ledger.admit(case, PRINCIPAL, T0, again=again)
        assert case.saw is not None
        return admission.id, case.saw.open_holds

    first, before_the_first = asks("one")
    second, before_the_second = asks("one")
    _, with_another_question = asks("two")
    _, asked_again = asks("one", again=first)
    ledger.leave(second, T0)
    _, with_one_gone = asks("two")
    ledger.leave(first, T0)
    _, question_that_nobody_waits_for = asks("three")

    assert (before_the_first, before_the_second, with_another_question) == (0, 1, 2)
    assert asked_again == 2
    assert with_one_gone == 2
    assert question_that_nobody_waits_for == 3


def test_lapse_is_seen_by_an_admission_before_housekeeping_comes(ledger: SqliteLedger) -> None:
    admission = held(ledger)

    refused = ledger.admit(HOLD, PRINCIPAL, T0 + HOUR, again=admission.id)

    assert refused.decision.reasons[0].code is Code.APPROVAL_LAPSED


def test_second_verdict_is_told_who_was_first(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    answer(ledger, admission, "rejected")
    late = sealed(ledger, approval_of(admission).id, "approved", T0 + 5 * 10**9, by="bob")

    with pytest.raises(ApprovalError, match="was rejected by ada"):
        ledger.give_verdict(late)

    assert ledger.approval(approval_of(admission).id).state == "rejected"


def test_verdict_on_a_lapsed_approval_is_refused(ledger: SqliteLedger) -> None:
    admission = held(ledger)

    with pytest.raises(ApprovalError, match="has lapsed"):
        answer(ledger, admission, "approved", T0 + HOUR)


def test_verdict_sealed_with_another_key_is_refused(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    verdict = sealed(ledger, approval_of(admission).id, "rejected", T0 + 1)

    with pytest.raises(ApprovalError, match="not sealed"):
        ledger.give_verdict(replace(verdict, answer="approved"))

    assert ledger.approval(approval_of(admission).id).state == "open"


def forge(ledger: SqliteLedger, approval: str) -> None:
    """Write a verdict as somebody would who can write the file and has no operator's key."""
    with ledger.transaction() as connection:
        connection.execute(
            "INSERT INTO verdicts (approval, answer, given_by, note, at_ns, seal)"
            " VALUES (?, 'approved', 'ada', '', ?, ?)",
            (approval, T0, "0" * 64),
        )
        connection.execute("UPDATE approvals SET state = 'approved' WHERE id = ?", (approval,))


def test_bare_row_in_the_database_approves_nothing_and_is_recorded_once(
    ledger: SqliteLedger,
) -> None:
    admission = held(ledger)
    forge(ledger, approval_of(admission).id)

    first = ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=admission.id)
    again = ledger.admit(HOLD, PRINCIPAL, T0 + 3, again=admission.id)

    assert first.effect is again.effect is Effect.HOLD
    assert ledger.verdicts([approval_of(admission).id]) == {}
    assert [a.id for a in ledger.approvals()] == [approval_of(admission).id]
    assert kinds(ledger).count("forged_verdict") == 1


def test_operator_can_still_answer_after_a_forgery(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    forge(ledger, approval_of(admission).id)

    answer(ledger, admission, "rejected", T0 + 2)

    refused = ledger.admit(HOLD, PRINCIPAL, T0 + 3, again=admission.id)
    assert refused.decision.reasons[0].code is Code.APPROVAL_REJECTED
    assert kinds(ledger).count("forged_verdict") == 1


def test_seal_of_another_approval_does_not_fit(ledger: SqliteLedger) -> None:
    first, second = held(ledger), held(ledger, case=replace(HOLD, digest="other"))
    answer(ledger, first, "approved")
    with ledger.transaction() as connection:
        connection.execute(
            "INSERT INTO verdicts (approval, answer, given_by, note, at_ns, seal)"
            " SELECT ?, answer, given_by, note, at_ns, seal FROM verdicts",
            (approval_of(second).id,),
        )

    still = ledger.admit(replace(HOLD, digest="other"), PRINCIPAL, T0 + 2, again=second.id)

    assert still.effect is Effect.HOLD


def test_used_approval_that_is_set_back_by_hand_releases_nothing_more(
    ledger: SqliteLedger,
) -> None:
    admission = held(ledger)
    answer(ledger, admission, "approved")
    ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=admission.id)
    with ledger.transaction() as connection:
        connection.execute("UPDATE approvals SET state = 'approved'")

    with pytest.raises(LedgerError):
        ledger.admit(HOLD, PRINCIPAL, T0 + 3)


def test_ledger_without_the_operators_key_releases_nothing(
    ledger: SqliteLedger, opener: Opener
) -> None:
    admission = held(ledger)
    answer(ledger, admission, "approved")

    keyless = opener(operator_key=None)

    assert keyless.admit(HOLD, PRINCIPAL, T0 + 2, again=admission.id).effect is Effect.HOLD


def test_verdicts_tells_those_that_are_decided(ledger: SqliteLedger, opener: Opener) -> None:
    ids = [approval_of(held(ledger, case=replace(HOLD, digest=f"d{n}"))).id for n in range(3)]
    other = opener()
    assert not ledger.changed()

    other.give_verdict(sealed(other, ids[0], "approved", T0 + 1))
    other.give_verdict(sealed(other, ids[1], "rejected", T0 + 1, note="not today"))

    assert ledger.changed()
    assert not ledger.changed()
    decided = ledger.verdicts([*ids, "unknown"])
    assert {i: a.state for i, a in decided.items()} == {ids[0]: "approved", ids[1]: "rejected"}
    assert decided[ids[1]].verdict is not None
    assert decided[ids[1]].verdict.note == "not today"


def test_approval_is_found_by_a_unique_prefix(ledger: SqliteLedger) -> None:
    ids = sorted(
        approval_of(held(ledger, case=replace(HOLD, digest=f"d{n}"))).id for n in range(40)
    )
    first_letters = [i[0] for i in ids]
    shared = next(i for i in ids if first_letters.count(i[0]) > 1)

    assert ledger.approval(shared[:9]).id == shared
    with pytest.raises(ApprovalError, match="several"):
        ledger.approval(shared[0])
    with pytest.raises(ApprovalError, match="no approval"):
        ledger.approval("?")
    with pytest.raises(ApprovalError, match="no approval"):
        ledger.approval("")


@pytest.mark.parametrize("state", ["forwarded", "refused"])
def test_call_that_is_not_held_cannot_be_admitted_again(ledger: SqliteLedger, state: str) -> None:
    limit = {"forwarded": 1000, "refused": 0}[state]
    admission = ledger.admit(ScriptedCase(budgets={ATLAS: limit}), PRINCIPAL, T0)

    with pytest.raises(LedgerError, match=state):
        ledger.admit(ScriptedCase(), PRINCIPAL, T0 + 1, again=admission.id)


def test_held_call_of_another_agent_cannot_be_admitted_again(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    stranger = Principal("hermes", "token-hermes", "hermes:2027-01-15")

    with pytest.raises(LedgerError):
        ledger.admit(HOLD, stranger, T0 + 1, again=admission.id)

    assert ledger.balance(ATLAS) == Balance(0, 100, 1)


def test_call_that_left_may_come_back_under_its_id(ledger: SqliteLedger) -> None:
    admission = held(ledger)
    ledger.leave(admission.id, T0 + 1)

    back = ledger.admit(HOLD, PRINCIPAL, T0 + 2, again=admission.id)

    assert back.id == admission.id
    assert ledger.balance(ATLAS) == Balance(0, 100, 1)
    assert verify(ledger) == []
