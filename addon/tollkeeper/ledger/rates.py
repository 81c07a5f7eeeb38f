"""Rates: the admissions of the last two minutes, by call and by second, of who is under a rate.

Exact over any rolling minute: whole seconds are summed in ``rate_seconds``, the second in which the
minute begins is looked at event by event. Order is by time, never by arrival, since processes that
wait for the write lock do not get it in the order of their clocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.ledger import accounts
from tollkeeper.ledger.file import Connection

KEPT_NS = 120 * NS_PER_SECOND
"""How long admissions are kept: the minute that counts, and as much again for clocks that differ."""

_WINDOW_NS = 60 * NS_PER_SECOND

_KEPT_SECONDS = 60
"""How far behind the minute that counts seconds are known, before they are read anew without those."""


class Seconds(NamedTuple):
    """A subject's admissions and tokens by second, all those ``since`` one, known between transactions.

    Seconds count from the epoch.
    """

    since: int
    sums: dict[int, tuple[int, int]]


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
        for second, (admissions, _) in sorted(self._seconds(subject).items(), reverse=True):
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
            first = self._since_ns // NS_PER_SECOND
            admissions = tokens = 0
            for second, sums in self._seconds(subject).items():
                if second >= first:
                    admissions += sums[0]
                    tokens += sums[1]
            most = self._most[subject] = admissions, tokens
        return most

    def _seconds(self, subject: str) -> Mapping[int, tuple[int, int]]:
        """At least the seconds of the last minute."""
        since = self._since_ns // NS_PER_SECOND
        known: Seconds | None = self._connection.known.get(("rate", subject))
        if known is None or not known.since <= since <= known.since + _KEPT_SECONDS:
            read = self._connection.execute(
                "SELECT second, admissions, tokens FROM rate_seconds"
                " WHERE subject = ? AND second >= ?",
                (subject, since),
            )
            sums = {second: (admissions, tokens) for second, admissions, tokens in read}
            known = self._connection.keep(("rate", subject), Seconds(since, sums))
        return known.sums


# ------------------------------------------------------------------ within a transaction


def charge(
    connection: Connection, call: str, subjects: Sequence[str], tokens: int, now_ns: int
) -> None:
    """Count one admission on every subject."""
    if not subjects:
        return
    events, seconds = _charges(len(subjects))
    second = now_ns // NS_PER_SECOND
    connection.execute(events, (now_ns, call, tokens, *subjects))
    connection.execute(seconds, (second, tokens, *subjects))
    for subject in subjects:
        known: Seconds | None = connection.known.get(("rate", subject))
        if known is not None and second >= known.since:
            before = known.sums.get(second, (0, 0))
            known.sums[second] = before[0] + 1, before[1] + tokens


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
    changed = connection.executemany(
        "UPDATE rate_events SET tokens = ? WHERE subject = ? AND at_ns = ? AND call = ?",
        [(used_tokens, one, at_ns, call) for one in subjects],
    )
    if changed.rowcount:
        _change(connection, subjects, at_ns // NS_PER_SECOND, 0, used_tokens - charged_tokens)


def take_back(
    connection: Connection,
    call: str,
    subjects: Sequence[str],
    at_ns: int,
    *,
    charged_tokens: int,
) -> None:
    """Forget the admission: nothing of it reached the provider."""
    gone = connection.executemany(
        "DELETE FROM rate_events WHERE subject = ? AND at_ns = ? AND call = ?",
        [(one, at_ns, call) for one in subjects],
    )
    if gone.rowcount:
        _change(connection, subjects, at_ns // NS_PER_SECOND, -1, -charged_tokens)


def _change(
    connection: Connection, subjects: Sequence[str], second: int, admissions: int, tokens: int
) -> None:
    """Add to a second that is there: in the file, and as known."""
    connection.executemany(
        "UPDATE rate_seconds SET admissions = admissions + ?, tokens = tokens + ?"
        " WHERE subject = ? AND second = ?",
        [(admissions, tokens, one, second) for one in subjects],
    )
    for subject in subjects:
        known: Seconds | None = connection.known.get(("rate", subject))
        if known is not None and (before := known.sums.get(second)) is not None:
            known.sums[second] = before[0] + admissions, before[1] + tokens


def forget(connection: Connection, now_ns: int) -> None:
    """Drop whole seconds that are older than what is kept."""
    second = (now_ns - KEPT_NS) // NS_PER_SECOND
    old = connection.execute(
        "SELECT DISTINCT subject FROM rate_seconds WHERE second < ?", (second,)
    ).fetchall()
    for (subject,) in old:
        connection.known.pop(("rate", subject), None)
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
