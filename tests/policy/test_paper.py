from __future__ import annotations

from tollkeeper.policy.paper import PaperRates

SECOND = 10**9


def test_admissions_are_found_newest_first() -> None:
    rates = PaperRates()
    for at, tokens in ((1, 10), (2, 20), (3, 30)):
        rates.add("agent:a", at * SECOND, tokens)

    assert rates.nth_newest_ns("agent:a", 1) == 3 * SECOND
    assert rates.nth_newest_ns("agent:a", 3) == SECOND
    assert rates.nth_newest_ns("agent:a", 4) is None
    assert rates.nth_newest_ns("agent:b", 1) is None
    assert rates.tokens_since("agent:a", SECOND) == 50
    assert rates.events_since("agent:a", 2 * SECOND) == [(3 * SECOND, 30)]
    assert rates.in_flight("agent:a") == 0


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    rates = PaperRates()

    for at in range(1000):
        rates.add("agent:a", at * SECOND, 1)

    assert len(rates.admitted["agent:a"]) <= 61
