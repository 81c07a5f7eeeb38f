from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.judging import NOW, SECOND, MemoryRateLog
from tollkeeper.core.layers import Over
from tollkeeper.core.rates import WINDOW_NS, rate_reasons
from tollkeeper.domain import Code, Layer, Limits, Reason

SUBJECT = "agent:atlas"


def over(limits: Limits, *, own: bool = True) -> Over:
    return Over(Layer("agents.atlas", SUBJECT, limits), limits, own)


def judged(limits: Limits, log: MemoryRateLog, now_ns: int = NOW, tokens: int = 0) -> list[Reason]:
    return list(rate_reasons([over(limits)], log, tokens, now_ns))


def test_rpm_lets_the_limit_pass_and_no_more() -> None:
    log = MemoryRateLog()

    for _ in range(3):
        assert judged(Limits(rpm=3), log) == []
        log.add(SUBJECT, NOW)
    (reason,) = judged(Limits(rpm=3), log)
    assert reason.code is Code.RATE_LIMITED
    assert reason.source == "agents.atlas.rpm"
    assert reason.retry_after_ns == WINDOW_NS
    assert reason.message == (
        "No more than 3 calls in any 60 seconds (agents.atlas.rpm); try again in 60 s."
    )


def test_told_wait_is_the_nanosecond_at_which_the_oldest_leaves() -> None:
    log = MemoryRateLog()
    log.add(SUBJECT, NOW - 20 * SECOND)
    log.add(SUBJECT, NOW - 10 * SECOND)

    (reason,) = judged(Limits(rpm=2), log)

    assert reason.retry_after_ns == 40 * SECOND
    assert judged(Limits(rpm=2), log, NOW + 40 * SECOND) == []
    assert judged(Limits(rpm=2), log, NOW + 40 * SECOND - 1) != []


def test_tpm_waits_for_as_many_of_the_oldest_as_the_call_needs() -> None:
    log = MemoryRateLog()
    for seconds, tokens in ((50, 10), (40, 20), (30, 70)):
        log.add(SUBJECT, NOW - seconds * SECOND, tokens)

    def wait(tokens: int) -> int | None:
        reasons = judged(Limits(tpm=100), log, tokens=tokens)
        return reasons[0].retry_after_ns if reasons else None

    assert [wait(n) for n in (0, 10, 11, 30, 31, 100)] == [
        None, 10 * SECOND, 20 * SECOND, 20 * SECOND, 30 * SECOND, 30 * SECOND,
    ]  # fmt: skip


def test_call_that_can_never_fit_is_denied_and_not_told_to_wait() -> None:
    (reason,) = judged(Limits(tpm=100), MemoryRateLog(), tokens=101)

    assert reason.code is Code.POLICY_DENIED
    assert reason.retry_after_ns is None
    assert "101 tokens" in reason.message


def test_limits_of_zero_deny_and_do_not_ask_to_retry() -> None:
    reasons = judged(Limits(rpm=0, concurrent=0), MemoryRateLog())

    assert [reason.code for reason in reasons] == [Code.POLICY_DENIED, Code.POLICY_DENIED]


def test_concurrent_counts_calls_in_flight_and_retries_in_a_second() -> None:
    log = MemoryRateLog()
    log.running[SUBJECT] = 3
    assert judged(Limits(concurrent=4), log) == []

    log.running[SUBJECT] = 4

    (reason,) = judged(Limits(concurrent=4), log)
    assert (reason.code, reason.retry_after_ns) == (Code.RATE_LIMITED, SECOND)


def test_a_parents_rate_is_told_without_its_name() -> None:
    limits = Limits(rpm=1)
    log = MemoryRateLog()
    log.add("agent:boss", NOW)
    boss = Over(Layer("agents.boss", "agent:boss", limits), limits, "run:7f3k", own=False)

    (reason,) = rate_reasons([boss], log, 0, NOW)

    assert "boss" not in reason.message
    assert reason.source == "agents.boss.rpm"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 70 * SECOND), st.integers(0, 60)), max_size=25),
    st.integers(1, 8),
    st.integers(1, 120),
    st.integers(0, 120),
)
def test_what_a_client_is_told_to_wait_is_enough_and_minimal(
    events: list[tuple[int, int]], rpm: int, tpm: int, tokens: int
) -> None:
    log = MemoryRateLog()
    for ago_ns, used in events:
        log.add(SUBJECT, NOW - ago_ns, used)
    for limits in (Limits(rpm=rpm), Limits(tpm=max(tpm, tokens))):
        reasons = judged(limits, log, tokens=tokens)
        if not reasons:
            continue
        wait = reasons[0].retry_after_ns

        assert wait is not None
        assert 0 < wait <= WINDOW_NS
        assert judged(limits, log, NOW + wait, tokens) == []
        assert judged(limits, log, NOW + wait - 1, tokens) != []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 20 * SECOND), min_size=20, max_size=60),
    st.integers(1, 5),
    st.integers(50, 100),
)
def test_no_rolling_minute_ever_holds_more_than_the_limits(
    pauses: list[int], rpm: int, tpm: int
) -> None:
    """Every client obeys what it is told, and comes back at exactly that nanosecond."""
    log, now_ns, limits = MemoryRateLog(), NOW, Limits(rpm=rpm, tpm=tpm)
    for index, pause in enumerate(pauses):
        now_ns += pause
        tokens = (index * 37) % 50
        while reasons := judged(limits, log, now_ns, tokens):
            now_ns += max(reason.retry_after_ns or 0 for reason in reasons)
        log.add(SUBJECT, now_ns, tokens)

    events = log.events[SUBJECT]
    for at_ns, _ in events:
        window = [used for other, used in events if at_ns <= other < at_ns + WINDOW_NS]
        assert len(window) <= rpm
        assert sum(window) <= tpm
