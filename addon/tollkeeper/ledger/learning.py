"""What settled calls teach: how long answers get, and what a conversation's beginning was billed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from tollkeeper.core.snapshot import History
from tollkeeper.domain import NS_PER_SECOND

PREFIXES_KEPT_NS = 7 * 24 * 3600 * NS_PER_SECOND
"""A conversation that has rested for a week is bound from its bytes again."""

_WEIGHT = 8  # the newest call counts for an eighth
_LIKELY = 4  # a turn of an agent adds an answer and one to three messages to what was billed last
_PPM = 1_000_000


def billed_prefix(
    connection: sqlite3.Connection, agent: str, model_key: str, prefixes: Sequence[str]
) -> tuple[str, int] | None:
    """The first of the digests (longest first) that was billed before, with its tokens."""
    for some in (prefixes[:_LIKELY], prefixes[_LIKELY:]):
        if not some:
            break
        marks = ", ".join("?" * len(some))
        known = dict(
            connection.execute(
                "SELECT digest, input_tokens FROM billed_prefixes"
                f" WHERE agent = ? AND model_key = ? AND digest IN ({marks})",
                (agent, model_key, *some),
            ).fetchall()
        )
        for digest in some:
            if digest in known:
                return digest, known[digest]
    return None


def learn_prefix(
    connection: sqlite3.Connection,
    agent: str,
    model_key: str,
    digest: str,
    input_tokens: int,
    now_ns: int,
) -> None:
    """Remember what the whole conversation was billed; of several bills the largest."""
    connection.execute(
        "INSERT INTO billed_prefixes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " input_tokens = max(input_tokens, excluded.input_tokens), at_ns = excluded.at_ns",
        (agent, model_key, digest, input_tokens, now_ns),
    )


def history(connection: sqlite3.Connection, agent: str, model_key: str) -> History | None:
    """The moving averages, or None before the first measured call."""
    row = connection.execute(
        "SELECT calls, output_tokens, input_share_ppm FROM history"
        " WHERE agent = ? AND model_key = ?",
        (agent, model_key),
    ).fetchone()
    return History(*row) if row else None


def learn_history(
    connection: sqlite3.Connection,
    agent: str,
    model_key: str,
    *,
    input_tokens: int,
    bound_input_tokens: int,
    output_tokens: int,
) -> None:
    """Move the averages by one measured call."""
    share_ppm = input_tokens * _PPM // bound_input_tokens if bound_input_tokens > 0 else _PPM
    before = history(connection, agent, model_key)
    if before is None:
        after = History(1, output_tokens, share_ppm)
    else:
        after = History(
            before.calls + 1,
            before.output_tokens + (output_tokens - before.output_tokens) // _WEIGHT,
            before.input_share_ppm + (share_ppm - before.input_share_ppm) // _WEIGHT,
        )
    connection.execute(
        "INSERT INTO history VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = excluded.calls,"
        " output_tokens = excluded.output_tokens, input_share_ppm = excluded.input_share_ppm",
        (agent, model_key, after.calls, after.output_tokens, after.input_share_ppm),
    )


def forget(connection: sqlite3.Connection, now_ns: int) -> None:
    """Drop prefixes that nobody has built on for a week."""
    connection.execute("DELETE FROM billed_prefixes WHERE at_ns < ?", (now_ns - PREFIXES_KEPT_NS,))
