"""The audit record: appended in the transaction of what it tells, each row chained to the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tollkeeper.ledger.chain import GENESIS, canonical, decoded, link
from tollkeeper.ledger.file import Connection, SqliteFile


class Journal(SqliteFile):
    """Writes and reads the audit table."""

    def record(self, kind: str, actor: str, data: Mapping[str, Any], now_ns: int) -> None:
        """One audit record of its own (policy loads, refusals before a principal …)."""
        with self.transaction() as connection:
            append(connection, kind, actor, None, data, now_ns)

    def record_once(
        self, line: str, kind: str, actor: str, data: Mapping[str, Any], now_ns: int
    ) -> bool:
        """As ``record``, but nothing and False when the spool's line of this id was taken before."""
        with self.transaction() as connection:
            taken = connection.execute(
                "INSERT INTO spooled VALUES (?, ?) ON CONFLICT DO NOTHING", (line, now_ns)
            )
            if taken.rowcount == 0:
                return False
            append(connection, kind, actor, None, data, now_ns)
            return True

    def audit(self, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Records later than ``after`` (a seq), oldest first, ``data`` as ``decoded``."""
        rows = self._read(
            "SELECT seq, at_ns, kind, actor, call, data, hash FROM audit WHERE seq > ?"
            " ORDER BY seq LIMIT ?",
            (after, limit),
        )
        names = ("seq", "at_ns", "kind", "actor", "call", "data", "hash")
        return [dict(zip(names, (*row[:5], decoded(row[5]), row[6]), strict=True)) for row in rows]


def append(
    connection: Connection,
    kind: str,
    actor: str,
    call: str | None,
    data: Mapping[str, Any],
    now_ns: int,
) -> None:
    """Write the next record; the caller's transaction holds the write lock.

    Args:
        data: Plain JSON values; never tokens, keys or bodies.
    """
    last, previous = connection.known.get("last record") or _last_record(connection)
    seq, text = last + 1, canonical(data)
    made = link(previous, seq, now_ns, kind, actor, call, text)
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (seq, now_ns, kind, actor, call, text, previous, made),
    )
    connection.keep("last record", (seq, made))


def _last_record(connection: Connection) -> tuple[int, str]:
    last = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return last or (0, GENESIS)
