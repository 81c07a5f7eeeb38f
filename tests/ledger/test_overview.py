from __future__ import annotations

import dataclasses
import json

from ledger.scripted import HOUR, SECOND, T0, sealed
from ledger.test_breakdown import ONE, filled
from tollkeeper.ledger.overview import (
    CALL_SECONDS,
    HOLD_SECONDS,
    holds,
    latencies,
    refusals,
    span_of,
    within,
)


def test_refusals_are_counted_by_their_first_code_read_or_not() -> None:
    denied = dataclasses.replace(ONE, agent="lone", ends="refused")
    with filled([denied, dataclasses.replace(denied, after_hours=2), ONE]) as ledger:
        for at_ns in (T0, T0 + HOUR):
            ledger.record("refused", "proxy", {"code": "unknown_agent"}, at_ns)

        assert refusals(ledger) == [
            {"code": "budget_exhausted", "calls": 2}, {"code": "unknown_agent", "calls": 2},
        ]  # fmt: skip
        assert refusals(ledger, T0 + HOUR, T0 + 2 * HOUR) == [{"code": "unknown_agent", "calls": 1}]


def test_holds_are_counted_by_answer_and_by_how_long_it_took() -> None:
    held = [dataclasses.replace(ONE, ends="left", run=f"r{n}") for n in range(3)]
    with filled(held) as ledger:
        first, second, _ = (one.id for one in ledger.approvals())
        ledger.give_verdict(sealed(ledger, first, "approved", T0 + 20 * SECOND))
        ledger.give_verdict(sealed(ledger, second, "approved", T0 + 40 * SECOND))

        found = {row["became"]: row for row in holds(ledger)}

    assert (found["approved"]["holds"], found["approved"]["mean_ms"]) == (2, 30_000)
    assert found["approved"]["waits"] == [0, 1, 1] + [0] * (len(HOLD_SECONDS) - 2)
    assert (found["open"]["holds"], found["open"]["waits"]) == (1, [])


def test_latencies_are_those_of_whole_answers() -> None:
    calls = [ONE, dataclasses.replace(ONE, model="gpt-4o"), dataclasses.replace(ONE, ends="open")]
    with filled([*calls, dataclasses.replace(ONE, ends="not_sent")]) as ledger:
        rows = latencies(ledger)

    assert {row["model"]: row["calls"] for row in rows} == {"o3": 1, "gpt-4o": 1}
    assert rows[0]["half_within_s"] == 1


def test_bounds_are_those_that_enough_calls_stay_within() -> None:
    counts = [0] * (len(CALL_SECONDS) + 1)
    counts[0], counts[3], counts[-1] = 50, 45, 5

    assert within(counts, 50) == CALL_SECONDS[0]
    assert within(counts, 95) == CALL_SECONDS[3]
    assert within(counts, 96) is None


def test_a_period_is_narrowed_to_its_calls() -> None:
    with filled([ONE, dataclasses.replace(ONE, after_hours=5)]) as ledger:
        assert span_of(ledger, None, None) == (T0, T0 + 5 * HOUR)
        assert span_of(ledger, T0 + HOUR, None) == (T0 + 5 * HOUR, T0 + 5 * HOUR)
        assert span_of(ledger, T0 + 6 * HOUR, None) is None
        assert json.dumps(holds(ledger)) == "[]"
