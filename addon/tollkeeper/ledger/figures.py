"""Sums over all calls that were ever made, for whoever asks again and again.

Calls that are over do not change any more. So what lies before the first open call is added up once
and remembered, and each look reads only what came after.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tollkeeper.core.identity import new_call_id
from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.ledger.port import Ledger

SETTLED_AFTER_NS = 60 * NS_PER_SECOND
"""What is younger is read again: processes take a call's time before they write it."""


@dataclass(frozen=True, slots=True)
class Group:
    """What calls have in common.

    Attributes:
        outcome: How they ended; ``refused``, or that of their settlement.
        code: Of the refusal, else empty.
    """

    agent: str
    provider: str
    model: str
    outcome: str
    code: str


@dataclass(frozen=True, slots=True)
class Now:
    """What is open at this moment."""

    in_flight: int
    waiting: int
    reserved_nano_usd: int
    approvals: int


Sums = dict[Group, Counter[str]]
"""``calls``, ``cost_nano_usd``, ``notional_nano_usd``, ``input_tokens`` and ``output_tokens`` of each group."""


class Figures:
    """Reads one ledger; not to be used by two threads at once."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is remembered yet."""
        self.ledger = ledger
        self.known: Sums = {}
        self.until = ""

    def sums(self, now_ns: int) -> Sums:
        """Of all calls that are over.

        Raises:
            LedgerError: When it cannot be read; what is remembered stays right.
        """
        with self.ledger.reading():
            until = max(self.until, self._first_that_may_change(now_ns))
            older = self._read(self.until, until)
            newer = self._read(until, "~")  # behind every id
        self.known, self.until = added(self.known, older), until
        return added(self.known, newer)

    def now(self) -> Now:
        """What is open; a partial index holds just that."""
        row = next(
            self.ledger.rows(
                "SELECT coalesce(sum(state = 'forwarded'), 0) AS in_flight,"
                " coalesce(sum(state = 'held'), 0) AS waiting,"
                " coalesce(sum(worst_nano_usd), 0) AS reserved_nano_usd,"
                " (SELECT count(*) FROM approvals WHERE state = 'open') AS approvals"
                " FROM calls WHERE state IN ('held', 'forwarded')"
            )
        )
        return Now(**row)

    def _first_that_may_change(self, now_ns: int) -> str:
        young = new_call_id(max(now_ns - SETTLED_AFTER_NS, 0), bytes(16))
        rows = self.ledger.rows(
            "SELECT min(id) AS id FROM calls WHERE state IN ('held', 'forwarded')"
        )
        return min(young, next(rows)["id"] or young)

    def _read(self, first: str, until: str) -> Sums:
        rows = self.ledger.rows(
            "SELECT agent, coalesce(provider, '') AS provider, coalesce(model, '') AS model,"
            " CASE state WHEN 'refused' THEN 'refused' ELSE outcome END AS outcome,"
            " CASE state WHEN 'refused' THEN coalesce(json_extract(codes, '$[0]'), '') ELSE ''"
            " END AS code, count(*) AS calls,"
            " coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0)"
            " AS cost_nano_usd, coalesce(sum(notional_nano_usd), 0) AS notional_nano_usd,"
            " coalesce(sum(input_tokens), 0) AS input_tokens,"
            " coalesce(sum(output_tokens), 0) AS output_tokens"
            " FROM calls WHERE id >= ? AND id < ? AND state IN ('settled', 'refused')"
            " GROUP BY 1, 2, 3, 4, 5",
            (first, until),
        )
        return {_group(row): Counter(row) for row in rows}


def _group(row: dict[str, Any]) -> Group:
    """Take the names out of a row, so that its sums remain."""
    return Group(*(row.pop(name) for name in ("agent", "provider", "model", "outcome", "code")))


def added(first: Sums, second: Sums) -> Sums:
    """Both together."""
    return first | {group: first.get(group, Counter()) + sums for group, sums in second.items()}
