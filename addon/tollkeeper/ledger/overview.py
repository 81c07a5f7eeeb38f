"""What a report shows beside amounts: refusals by cause, how long people and providers took.

Everything is added up in the database; what comes back is as long as the list of causes and models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.ledger.port import Ledger

HOLD_SECONDS: Final = (10, 30, 60, 300, 900, 3600, 14400, 86400)
"""Bounds between which answers of people are counted."""

CALL_SECONDS: Final = (
    0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600,
)  # fmt: skip
"""Bounds between which calls are counted; each is at most twice the one before."""

_FOREVER: Final = 2**63 - 1


def span_of(ledger: Ledger, since_ns: int | None, until_ns: int | None) -> tuple[int, int] | None:
    """When the first and the last call of a period were admitted; None when there is none."""
    row = next(
        ledger.rows(
            "SELECT min(booked_ns) AS first, max(booked_ns) AS last FROM calls"
            " WHERE booked_ns >= ? AND booked_ns < ?",
            _bounds(since_ns, until_ns),
        )
    )
    return None if row["first"] is None else (row["first"], row["last"])


def refusals(
    ledger: Ledger, since_ns: int | None = None, until_ns: int | None = None
) -> list[dict[str, Any]]:
    """By the first code, the most frequent first; those that were refused before they were read too."""
    since, until = _bounds(since_ns, until_ns)
    sql = """
        SELECT coalesce(code, 'refused') AS code, sum(n) AS calls FROM (
            SELECT json_extract(codes, '$[0]') AS code, count(*) AS n FROM calls
            WHERE state = 'refused' AND booked_ns >= ?1 AND booked_ns < ?2 GROUP BY codes
            UNION ALL
            SELECT json_extract(data, '$.code') AS code, count(*) AS n FROM audit
            WHERE kind = 'refused' AND call IS NULL AND at_ns >= ?1 AND at_ns < ?2 GROUP BY 1
        ) GROUP BY 1 ORDER BY calls DESC, code
    """
    return list(ledger.rows(sql, (since, until)))


def holds(
    ledger: Ledger, since_ns: int | None = None, until_ns: int | None = None
) -> list[dict[str, Any]]:
    """By what became of them: how many, how long the answer took, and the counts between the bounds.

    ``waits`` is a list of counts, one for each bound and one for what took longer; empty for those
    that nobody answered.
    """
    took = "verdicts.at_ns - approvals.created_ns"
    sql = (
        "SELECT coalesce(verdicts.answer, CASE approvals.state WHEN 'open' THEN 'open'"
        f" ELSE 'lapsed' END) AS became, {_bucket(took, HOLD_SECONDS)} AS bucket, count(*) AS n,"
        f" sum({took}) AS took_ns FROM approvals"
        " LEFT JOIN verdicts ON verdicts.approval = approvals.id AND verdicts.forged = 0"
        " WHERE approvals.created_ns >= ? AND approvals.created_ns < ? GROUP BY 1, 2"
    )
    found: dict[str, dict[str, Any]] = {}
    for row in ledger.rows(sql, _bounds(since_ns, until_ns)):
        one = found.setdefault(
            row["became"], {"became": row["became"], "holds": 0, "waits": [], "mean_ms": None}
        )
        one["holds"] += row["n"]
        if row["bucket"] is not None:
            one["waits"] = one["waits"] or [0] * (len(HOLD_SECONDS) + 1)
            one["waits"][row["bucket"]] += row["n"]
            one["took_ns"] = one.get("took_ns", 0) + row["took_ns"]
    for one in found.values():
        if "took_ns" in one:
            one["mean_ms"] = one.pop("took_ns") // one["holds"] // 1_000_000
    return sorted(found.values(), key=lambda one: (-one["holds"], one["became"]))


def latencies(
    ledger: Ledger, since_ns: int | None = None, until_ns: int | None = None
) -> list[dict[str, Any]]:
    """By provider and model, the most called first: counts of whole answers between the bounds.

    From the admission that let the call go to its settlement, so the provider's whole answer.
    """
    took = "settled_ns - booked_ns"
    sql = (
        f"SELECT provider, model, {_bucket(took, CALL_SECONDS)} AS bucket, count(*) AS n FROM calls"
        " WHERE state = 'settled' AND outcome = 'complete' AND booked_ns >= ? AND booked_ns < ?"
        " GROUP BY 1, 2, 3"
    )
    found: dict[tuple[str | None, str | None], list[int]] = {}
    for row in ledger.rows(sql, _bounds(since_ns, until_ns)):
        counts = found.setdefault((row["provider"], row["model"]), [0] * (len(CALL_SECONDS) + 1))
        counts[row["bucket"]] += row["n"]
    rows = [
        {
            "provider": provider, "model": model, "calls": sum(counts), "took": counts,
            "half_within_s": within(counts, 50), "most_within_s": within(counts, 95),
        }
        for (provider, model), counts in found.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row["calls"], row["model"] or ""))


def within(counts: Sequence[int], percent: int) -> float | None:
    """The least bound of ``CALL_SECONDS`` that so many of a hundred stay within; None beyond all."""
    needed, seen = -(-sum(counts) * percent // 100), 0
    for count, bound in zip(counts, CALL_SECONDS, strict=False):
        seen += count
        if seen >= needed:
            return bound
    return None


def _bucket(amount: str, bounds: Sequence[float]) -> str:
    """SQL of the place of an amount of nanoseconds between bounds in seconds; NULL stays NULL."""
    cases = " ".join(
        f"WHEN {amount} <= {int(bound * NS_PER_SECOND)} THEN {number}"
        for number, bound in enumerate(bounds)
    )
    return f"CASE WHEN {amount} IS NULL THEN NULL {cases} ELSE {len(bounds)} END"


def _bounds(since_ns: int | None, until_ns: int | None) -> tuple[int, int]:
    return since_ns or 0, _FOREVER if until_ns is None else until_ns
