"""Rates: the admissions of the last two minutes, by call and by second, of who is under a rate.

Exact over any rolling minute: whole seconds are summed in ``rate_seconds``, the second in which the
minute begins is looked at event by event. Order is by time, never by arrival, since processes that
wait for the write lock do not get it in the order of their clocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.ledger import accounts
from tollkeeper.ledger.file import Connection

KEPT_NS = 120 * NS_PER_SECOND
"""How long admissions are kept: the minute that counts, and as much again for clocks that differ."""

_WINDOW_NS = 60 * NS_PER_SECOND


class SqliteRateLog:
    """``RateLog`` over the connection whose transaction is open, for one admission.

    Args:
        in_flight: What is known already, by subject.
    """

    def __init__(self, connection: Connection, now_ns: int, in_flight: Mapping[str, int]) -> None:
        self._connection = connection
        self._since_ns = now_ns - _WINDOW_NS
        self._in_flight = in_flight
        self._most: dict[str, tuple[int, int]] = {}

    def nth_newest_ns(self, subject: str, n: int) -> int | None:
        """When the n-th newest admission was, or None when that is a minute ago or more."""
        if n > self._at_most(subject)[0]:
            return None
        for second, admissions in self._connection.execute(
            "SELECT second, admissions FROM rate_seconds WHERE subject = ? AND second >= ?"
            " ORDER BY second DESC",
            (subject, self._since_ns // NS_PER_SECOND),
        ):
            if n <= admissions:
                (at_ns,) = self._connection.execute(
                    "SELECT at_ns FROM rate_events WHERE subject = ? AND at_ns >= ? AND at_ns < ?"
                    " ORDER BY at_ns DESC LIMIT 1 OFFSET ?",
                    (subject, second * NS_PER_SECOND, (second + 1) * NS_PER_SECOND, n - 1),
                ).fetchone()
                return int(at_ns) if at_ns > self._since_ns else None
            n -= admissions
        return None

    def most_tokens_since(self, subject: str, after_ns: int) -> int:
        """No less than ``tokens_since``: whole seconds."""
        if after_ns >= self._since_ns:
            return self._at_most(subject)[1]
        return self.tokens_since(subject, after_ns)

    def tokens_since(self, subject: str, after_ns: int) -> int:
        """Sum of tokens of admissions later than ``after_ns``."""
        second = after_ns // NS_PER_SECOND
        (tokens,) = self._connection.execute(
            "SELECT (SELECT coalesce(sum(tokens), 0) FROM rate_seconds"
            " WHERE subject = ?1 AND second > ?2) + (SELECT coalesce(sum(tokens), 0)"
            " FROM rate_events WHERE subject = ?1 AND at_ns > ?3 AND at_ns < ?4)",
            (subject, second, after_ns, (second + 1) * NS_PER_SECOND),
        ).fetchone()
        return int(tokens)

    def events_since(self, subject: str, after_ns: int) -> Sequence[tuple[int, int]]:
        """``(at_ns, tokens)`` of admissions later than ``after_ns``, oldest first."""
        return self._connection.execute(
            "SELECT at_ns, tokens FROM rate_events WHERE subject = ? AND at_ns > ? ORDER BY at_ns",
            (subject, after_ns),
        ).fetchall()

    def in_flight(self, subject: str) -> int:
        """How many admitted calls of this subject are not settled yet."""
        known = self._in_flight.get(subject)
        return accounts.in_flight(self._connection, subject) if known is None else known

    def _at_most(self, subject: str) -> tuple[int, int]:
        """Admissions and tokens of the last minute and what came before it in its first second."""
        most = self._most.get(subject)
        if most is None:
            most = self._most[subject] = self._connection.execute(
                "SELECT coalesce(sum(admissions), 0), coalesce(sum(tokens), 0) FROM rate_seconds"
                " WHERE subject = ? AND second >= ?",
                (subject, self._since_ns // NS_PER_SECOND),
            ).fetchone()
        return most


# ------------------------------------------------------------------ within a transaction


def charge(
    connection: Connection, call: str, subjects: Sequence[str], tokens: int, now_ns: int
) -> None:
    """Count one admission on every subject."""
    if not subjects:
        return
    events, seconds = _charges(len(subjects))
    connection.execute(events, (now_ns, call, tokens, *subjects))
    connection.execute(seconds, (now_ns // NS_PER_SECOND, tokens, *subjects))


def correct(
    connection: Connection,
    call: str,
    subjects: Sequence[str],
    at_ns: int,
    *,
    charged_tokens: int,
    used_tokens: int,
) -> None:
    """Put what was used in the place of what was charged, at the time of the admission.

    What is too old to be kept any more is gone from both tables, so that nothing happens.
    """
    marks = _marks(len(subjects))
    connection.execute(
        f"UPDATE rate_events SET tokens = ? WHERE subject IN ({marks}) AND at_ns = ? AND call = ?",
        (used_tokens, *subjects, at_ns, call),
    )
    connection.execute(
        f"UPDATE rate_seconds SET tokens = tokens + ? WHERE subject IN ({marks}) AND second = ?",
        (used_tokens - charged_tokens, *subjects, at_ns // NS_PER_SECOND),
    )


def take_back(
    connection: Connection,
    call: str,
    subjects: Sequence[str],
    at_ns: int,
    *,
    charged_tokens: int,
) -> None:
    """Forget the admission: nothing of it reached the provider."""
    marks = _marks(len(subjects))
    connection.execute(
        f"DELETE FROM rate_events WHERE subject IN ({marks}) AND at_ns = ? AND call = ?",
        (*subjects, at_ns, call),
    )
    connection.execute(
        "UPDATE rate_seconds SET tokens = tokens - ?, admissions = admissions - 1"
        f" WHERE subject IN ({marks}) AND second = ?",
        (charged_tokens, *subjects, at_ns // NS_PER_SECOND),
    )


def forget(connection: Connection, now_ns: int) -> None:
    """Drop whole seconds that are older than what is kept."""
    second = (now_ns - KEPT_NS) // NS_PER_SECOND
    old = connection.execute(
        "SELECT DISTINCT subject FROM rate_seconds WHERE second < ?", (second,)
    ).fetchall()
    connection.executemany(
        "DELETE FROM rate_events WHERE subject = ? AND at_ns < ?",
        [(subject, second * NS_PER_SECOND) for (subject,) in old],
    )
    connection.executemany(
        "DELETE FROM rate_seconds WHERE subject = ? AND second < ?",
        [(subject, second) for (subject,) in old],
    )


@cache
def _charges(subjects: int) -> tuple[str, str]:
    """Statements for so many subjects; parameters: the moment or second, (call,) tokens, subjects."""
    events = ", ".join(f"(?{n + 4}, ?1, ?2, ?3)" for n in range(subjects))
    seconds = ", ".join(f"(?{n + 3}, ?1, 1, ?2)" for n in range(subjects))
    return (
        f"INSERT INTO rate_events VALUES {events}",
        f"INSERT INTO rate_seconds VALUES {seconds} ON CONFLICT DO UPDATE SET"
        " admissions = admissions + 1, tokens = tokens + excluded.tokens",
    )


@cache
def _marks(values: int) -> str:
    return ", ".join("?" * values)
