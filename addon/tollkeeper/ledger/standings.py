"""What stands on each subject's balances, known between transactions for as long as nobody else writes.

Whoever changes a balance does it here, or forgets what is known of its subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from tollkeeper.domain import Balance
from tollkeeper.ledger.file import Connection, marks

FOREVER = 2**63 - 1
"""The end of a window that never ends: the largest integer that SQLite keeps."""

TOTAL = (FOREVER, "total", 0)
"""End, window and start of the balance that everybody has who ever had a reservation."""

BALANCE = "spent_nano_usd, reserved_nano_usd, calls, credit_nano_usd"


@dataclass(slots=True)
class Row:
    """A row of ``balances`` but for its key."""

    in_flight: int
    last_ns: int
    spent_nano_usd: int
    reserved_nano_usd: int
    calls: int
    credit_nano_usd: int

    def balance(self) -> Balance:
        """What is told of it."""
        return Balance(
            self.spent_nano_usd, self.reserved_nano_usd, self.calls, self.credit_nano_usd
        )


class Standings(NamedTuple):
    """All that stands on one subject, in windows that ``end`` no earlier: by end, window and start."""

    ends_ns: int
    rows: dict[tuple[int, str, int], Row]


def known(
    connection: Connection, subjects: Iterable[str], earliest_ns: int
) -> dict[str, Standings]:
    """What stands on each of the subjects, in windows that end no earlier."""
    standing: dict[str, Standings] = {}
    unknown = []
    for subject in subjects:
        known: Standings | None = connection.known.get(("standing", subject))
        if known is not None and known.ends_ns <= earliest_ns:
            standing[subject] = known
        else:
            unknown.append(subject)
    if unknown:
        for subject in unknown:
            fresh = Standings(earliest_ns, {})
            standing[subject] = connection.keep(("standing", subject), fresh)
        read = connection.execute(_stands_on(len(unknown)), (earliest_ns, *unknown))
        for subject, ends_ns, window, starts_ns, *figures in read:
            standing[subject].rows[ends_ns, window, starts_ns] = Row(*figures)
    return standing


def forget(connection: Connection, subject: str) -> None:
    """Read what stands on a subject again: it gets a row, or a credit."""
    connection.known.pop(("standing", subject), None)


@cache
def _stands_on(subjects: int) -> str:
    return (
        f"SELECT subject, ends_ns, window, starts_ns, in_flight, last_ns, {BALANCE} FROM balances"
        f" WHERE ends_ns >= ? AND subject IN ({marks(subjects)})"
    )


_MOVE = (
    "UPDATE balances SET spent_nano_usd = spent_nano_usd + ?1,"
    " reserved_nano_usd = reserved_nano_usd + ?2, calls = calls + ?3,"
    " in_flight = in_flight + ?4 * (window = 'total'), last_ns = max(last_ns, ?5)"
    " WHERE subject = ?6 AND ends_ns > ?5 AND starts_ns <= ?5"
)
"""Parameters: spent, reserved, calls, in flight, the moment, the subject. One at a time, since SQLite
would make a temporary table of three."""


def move(
    connection: Connection,
    subjects: Sequence[str],
    spent_nano_usd: int,
    reserved_nano_usd: int,
    calls: int,
    slots: int,
    at_ns: int,
) -> None:
    """Add to every balance of the subjects whose window holds a moment: in the file, and as known."""
    connection.executemany(
        _MOVE,
        [(spent_nano_usd, reserved_nano_usd, calls, slots, at_ns, one) for one in subjects],
    )
    for subject in subjects:
        known: Standings | None = connection.known.get(("standing", subject))
        if known is None:
            continue
        for (ends_ns, window, starts_ns), row in known.rows.items():
            if starts_ns <= at_ns < ends_ns:
                row.spent_nano_usd += spent_nano_usd
                row.reserved_nano_usd += reserved_nano_usd
                row.calls += calls
                row.last_ns = max(row.last_ns, at_ns)
                if window == "total":
                    row.in_flight += slots
