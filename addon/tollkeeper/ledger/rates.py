"""Rates: the admissions of the last two minutes, by call and by second, and the slots in flight.

Exact over any rolling minute: whole seconds are summed in ``rate_seconds``, the second in which the
minute begins is looked at event by event. Order is by time, never by arrival, since processes that
wait for the write lock do not get it in the order of their clocks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tollkeeper.domain import NS_PER_SECOND

KEPT_NS = 120 * NS_PER_SECOND
"""How long admissions are kept: the minute that counts, and as much again for clocks that differ."""

_SECONDS_SEARCHED = 130  # more than can lie within what is kept


class SqliteRateLog:
    """``RateLog`` over the connection whose transaction is open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def nth_newest_ns(self, subject: str, n: int) -> int | None:
        """When the n-th newest admission was, or None when it is older than what is kept."""
        for second, admissions in self._connection.execute(
            "SELECT second, admissions FROM rate_seconds WHERE subject = ?"
            " ORDER BY second DESC LIMIT ?",
            (subject, _SECONDS_SEARCHED),
        ):
            if n <= admissions:
                (at_ns,) = self._connection.execute(
                    "SELECT at_ns FROM rate_events WHERE subject = ? AND at_ns >= ? AND at_ns < ?"
                    " ORDER BY at_ns DESC LIMIT 1 OFFSET ?",
                    (subject, second * NS_PER_SECOND, (second + 1) * NS_PER_SECOND, n - 1),
                ).fetchone()
                return int(at_ns)
            n -= admissions
        return None

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
        (calls,) = self._connection.execute(
            "SELECT count(*) FROM slots WHERE subject = ?", (subject,)
        ).fetchone()
        return int(calls)


# ------------------------------------------------------------------ within a transaction


def charge(
    connection: sqlite3.Connection, call: str, subjects: Sequence[str], tokens: int, now_ns: int
) -> None:
    """Count one admission, and take a slot, on every subject."""
    second = now_ns // NS_PER_SECOND
    connection.executemany(
        "INSERT INTO rate_events VALUES (?, ?, ?, ?)",
        [(subject, now_ns, call, tokens) for subject in subjects],
    )
    connection.executemany(
        "INSERT INTO rate_seconds VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET"
        " admissions = admissions + 1, tokens = tokens + excluded.tokens",
        [(subject, second, tokens) for subject in subjects],
    )
    connection.executemany(
        "INSERT INTO slots VALUES (?, ?)", [(subject, call) for subject in subjects]
    )


def free(connection: sqlite3.Connection, call: str, subjects: Sequence[str]) -> None:
    """Give the slots back; a call that has none is no error."""
    connection.execute(
        f"DELETE FROM slots WHERE subject IN ({_marks(subjects)}) AND call = ?", (*subjects, call)
    )


def correct(
    connection: sqlite3.Connection,
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
    marks = _marks(subjects)
    connection.execute(
        f"UPDATE rate_events SET tokens = ? WHERE subject IN ({marks}) AND at_ns = ? AND call = ?",
        (used_tokens, *subjects, at_ns, call),
    )
    connection.execute(
        f"UPDATE rate_seconds SET tokens = tokens + ? WHERE subject IN ({marks}) AND second = ?",
        (used_tokens - charged_tokens, *subjects, at_ns // NS_PER_SECOND),
    )


def take_back(
    connection: sqlite3.Connection,
    call: str,
    subjects: Sequence[str],
    at_ns: int,
    *,
    charged_tokens: int,
) -> None:
    """Forget the admission: nothing of it reached the provider."""
    marks = _marks(subjects)
    connection.execute(
        f"DELETE FROM rate_events WHERE subject IN ({marks}) AND at_ns = ? AND call = ?",
        (*subjects, at_ns, call),
    )
    connection.execute(
        "UPDATE rate_seconds SET tokens = tokens - ?, admissions = admissions - 1"
        f" WHERE subject IN ({marks}) AND second = ?",
        (charged_tokens, *subjects, at_ns // NS_PER_SECOND),
    )


def forget(connection: sqlite3.Connection, now_ns: int) -> None:
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


def _marks(subjects: Sequence[str]) -> str:
    return ", ".join("?" * len(subjects))
