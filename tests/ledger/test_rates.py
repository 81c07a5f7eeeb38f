"""Rates over any rolling minute, slots, and their way back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.scripted import (
    ATLAS,
    MINUTE,
    NOT_SENT,
    PRINCIPAL,
    SECOND,
    T0,
    TEAM_TODAY,
    ScriptedCase,
    measured,
    with_atlas,
)
from tollkeeper.core.snapshot import RateLog
from tollkeeper.domain import Basis, Effect, Outcome, Settlement
from tollkeeper.ledger.rates import SqliteRateLog
from tollkeeper.ledger.sqlite import SqliteLedger

SUBJECT = "agent:atlas"


def rate_log(ledger: SqliteLedger, now_ns: int = T0) -> RateLog:
    """What a decision sees."""
    case = ScriptedCase(subjects=(), reserve=0)
    ledger.admit(case, PRINCIPAL, now_ns)
    assert case.saw is not None
    return case.saw.rates


def admit(ledger: SqliteLedger, at_ns: int, tokens: int = 10, **script: Any) -> str:
    case = ScriptedCase(bound_input=tokens, bound_output=0, now_ns=at_ns, **script)
    admission = ledger.admit(case, PRINCIPAL, at_ns)
    assert admission.effect is Effect.ALLOW
    return admission.id


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 90 * SECOND), st.integers(0, 999)), max_size=25),
    st.integers(0, 100 * SECOND),
    st.sets(st.integers(0, 24)),
)
def test_rate_log_answers_as_a_plain_list_of_admissions_would(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[int, int]],
    after: int,
    not_sent: set[int],
) -> None:
    ledger = with_atlas(SqliteLedger(tmp_path_factory.mktemp("rates") / "tollkeeper.db"))
    kept = []
    for number, (offset, tokens) in enumerate(events):
        call = admit(ledger, T0 + offset, tokens)
        if number in not_sent:
            ledger.settle(call, NOT_SENT, T0 + offset)
        else:
            kept.append((T0 + offset, tokens))

    log = rate_log(ledger)
    kept.sort()
    later = [event for event in kept if event[0] > T0 + after]

    newest = [log.nth_newest_ns(SUBJECT, n + 1) for n in range(len(kept))]
    assert newest == [at_ns for at_ns, _ in reversed(kept)]
    assert log.nth_newest_ns(SUBJECT, len(kept) + 1) is None
    assert log.tokens_since(SUBJECT, T0 + after) == sum(tokens for _, tokens in later)
    assert sorted(log.events_since(SUBJECT, T0 + after)) == later
    assert log.in_flight(SUBJECT) == len(kept)
    ledger.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "admit", "settle", "not sent", "tidy"]),
            st.sampled_from([0, 0, 0, 1]),
            st.sampled_from([1, SECOND // 3, 7 * SECOND, 61 * SECOND, -2 * SECOND]),
        ),
        max_size=25,
    )
)
def test_known_rates_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("rates") / "tollkeeper.db"
    ledgers = [with_atlas(SqliteLedger(path)), SqliteLedger(path)]
    looks, now_ns, open_calls = SqliteLedger(path), T0, []
    for step, which, later_ns in steps:
        now_ns += later_ns
        ledger = ledgers[which]
        if step == "admit":
            open_calls.append(admit(ledger, now_ns, rpm=10**6, tpm=10**9))
        elif step == "tidy":
            ledger.tidy(now_ns)
        elif open_calls:
            made = measured(3, input_tokens=5) if step == "settle" else NOT_SENT
            ledger.settle(open_calls.pop(0), made, now_ns)

        known = rate_log(ledger, now_ns)
        with looks.transaction() as connection:  # writes nothing, so that nobody forgets
            connection.known.clear()
            read = SqliteRateLog(connection, now_ns, {})
            for n in range(1, len(steps) + 2):
                assert known.nth_newest_ns(SUBJECT, n) == read.nth_newest_ns(SUBJECT, n)
            minute = (SUBJECT, now_ns - MINUTE)
            assert known.most_tokens_since(*minute) == read.most_tokens_since(*minute)
    for one in (*ledgers, looks):
        one.close()


@pytest.mark.parametrize("made", [NOT_SENT, measured(3, input_tokens=5)])
def test_call_too_old_to_be_kept_changes_no_second_that_was_begun_anew(
    ledger: SqliteLedger, made: Settlement
) -> None:
    """The clock was set back in the meantime."""
    old = admit(ledger, T0)
    ledger.tidy(T0 + 200 * SECOND)
    admit(ledger, T0 + 1, 7)

    ledger.settle(old, made, T0)

    log = rate_log(ledger, T0 + SECOND)
    assert (log.nth_newest_ns(SUBJECT, 1), log.nth_newest_ns(SUBJECT, 2)) == (T0 + 1, None)
    assert log.most_tokens_since(SUBJECT, T0) == 7


def test_call_passes_exactly_a_minute_after_the_one_that_filled_the_rate(
    ledger: SqliteLedger,
) -> None:
    admit(ledger, T0, rpm=2)
    admit(ledger, T0 + 30 * SECOND, rpm=2)
    too_early = ScriptedCase(rpm=2, now_ns=T0 + MINUTE - 1)

    assert ledger.admit(too_early, PRINCIPAL, T0 + MINUTE - 1).effect is Effect.DENY
    admit(ledger, T0 + MINUTE, rpm=2)


def test_tokens_are_corrected_at_the_time_of_the_admission(ledger: SqliteLedger) -> None:
    call = admit(ledger, T0 + SECOND // 2, 5000)
    admit(ledger, T0 + SECOND, 7)

    ledger.settle(call, measured(1, input_tokens=300, output_tokens=40), T0 + 20 * SECOND)

    log = rate_log(ledger)
    assert log.tokens_since(SUBJECT, T0) == 340 + 7
    assert log.tokens_since(SUBJECT, T0 + SECOND // 2) == 7
    assert next(iter(log.events_since(SUBJECT, T0))) == (T0 + SECOND // 2, 340)


def test_tokens_that_nobody_counted_stay_at_their_bound(ledger: SqliteLedger) -> None:
    call = admit(ledger, T0, 5000)

    ledger.settle(call, Settlement(Outcome.CUT, Basis.RESERVED, 1), T0 + SECOND)

    assert rate_log(ledger).tokens_since(SUBJECT, T0 - 1) == 5000


def test_error_of_the_provider_uses_no_tokens_and_stays_a_call(ledger: SqliteLedger) -> None:
    call = admit(ledger, T0, 5000)

    ledger.settle(call, Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0, status=500), T0)

    log = rate_log(ledger)
    assert log.tokens_since(SUBJECT, T0 - 1) == 0
    assert log.nth_newest_ns(SUBJECT, 1) == T0


@pytest.mark.parametrize(
    "end",
    [
        measured(1),
        NOT_SENT,
        Settlement(Outcome.CUT, Basis.ESTIMATED, 3),
        Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0),
    ],
    ids=lambda end: end.outcome,
)
def test_slot_is_free_again_on_every_way_out(ledger: SqliteLedger, end: Settlement) -> None:
    call = admit(ledger, T0, concurrent=1)
    full = ScriptedCase(concurrent=1)
    assert ledger.admit(full, PRINCIPAL, T0).effect is Effect.DENY

    ledger.settle(call, end, T0 + 1)

    admit(ledger, T0 + 2, concurrent=1)


def test_held_call_is_charged_to_no_rate(ledger: SqliteLedger) -> None:
    held = ledger.admit(ScriptedCase(hold=True), PRINCIPAL, T0)

    log = rate_log(ledger)
    assert held.effect is Effect.HOLD
    assert log.nth_newest_ns(SUBJECT, 1) is None
    assert log.in_flight(SUBJECT) == 0


def test_held_call_that_is_settled_as_not_sent_takes_nothing_from_others(
    ledger: SqliteLedger,
) -> None:
    admit(ledger, T0, 50)
    held = ledger.admit(ScriptedCase(hold=True), PRINCIPAL, T0)

    ledger.settle(held.id, NOT_SENT, T0)

    assert rate_log(ledger).tokens_since(SUBJECT, T0 - 1) == 50


def test_only_who_is_under_a_rate_has_admissions_kept(ledger: SqliteLedger) -> None:
    team = ("team:research",)
    admit(ledger, T0, 500)
    call = admit(ledger, T0 + 1, 5000, rated=team)
    not_sent = admit(ledger, T0 + 2, 70, rated=team)
    nobodys = admit(ledger, T0 + 3, 900, rated=())

    for one in (call, nobodys):
        ledger.settle(one, measured(1, input_tokens=300, output_tokens=40), T0 + SECOND)
    ledger.settle(not_sent, NOT_SENT, T0 + SECOND)

    log = rate_log(ledger)
    assert list(log.events_since(SUBJECT, T0 - 1)) == [(T0, 500)]
    assert list(log.events_since("team:research", T0 - 1)) == [(T0, 500), (T0 + 1, 340)]
    assert log.tokens_since(SUBJECT, T0 - SECOND) == 500
    assert log.tokens_since("team:research", T0 - SECOND) == 840
    assert log.nth_newest_ns("team:research", 2) == T0


def test_quick_answer_is_never_below_the_exact_one(ledger: SqliteLedger) -> None:
    for tenth in range(30):
        admit(ledger, T0 + tenth * SECOND // 10, 100)
    log = rate_log(ledger)

    for after_ns in range(T0 - MINUTE, T0 + 3 * SECOND, SECOND // 4):
        exact = log.tokens_since(SUBJECT, after_ns)
        assert exact <= log.most_tokens_since(SUBJECT, after_ns)


def test_calls_in_flight_are_counted_whatever_else_is_known_of_the_subject(
    ledger: SqliteLedger,
) -> None:
    first = admit(ledger, T0)
    admit(ledger, T0 + 1, rated=())
    ledger.admit(ScriptedCase(hold=True), PRINCIPAL, T0)
    budgeted = ScriptedCase(budgets={ATLAS: 10**6, TEAM_TODAY: 10**6})
    ledger.admit(budgeted, PRINCIPAL, T0 + 2)

    assert budgeted.saw is not None
    assert [budgeted.saw.rates.in_flight(one) for one in (SUBJECT, "team:research")] == [2, 2]
    ledger.settle(first, measured(1), T0 + 3)
    assert [rate_log(ledger).in_flight(one) for one in (SUBJECT, "agent:nobody")] == [2, 0]


def test_tidying_drops_what_is_older_than_two_minutes_and_keeps_the_rest(
    ledger: SqliteLedger,
) -> None:
    old = admit(ledger, T0, 5)
    admit(ledger, T0 + 3 * MINUTE, 6)

    ledger.tidy(T0 + 3 * MINUTE + SECOND)
    ledger.settle(old, measured(1), T0 + 3 * MINUTE + SECOND)

    log = rate_log(ledger)
    assert log.nth_newest_ns(SUBJECT, 1) == T0 + 3 * MINUTE
    assert log.nth_newest_ns(SUBJECT, 2) is None
    assert log.tokens_since(SUBJECT, T0 - 1) == 6
