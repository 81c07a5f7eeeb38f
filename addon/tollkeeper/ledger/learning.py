"""What settled calls teach: how long answers get, and what a conversation's beginning was billed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from tollkeeper.core.snapshot import History
from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.ledger.file import Connection

PREFIXES_KEPT_NS = 7 * 24 * 3600 * NS_PER_SECOND
"""A conversation that has rested for a week is bound from its bytes again."""

_LIKELY = 4  # a turn of an agent adds an answer and one to three messages to what was billed last
_PPM = 1_000_000

# The newest call counts for an eighth; a shift rounds down on both sides of zero, a division does not.
_MOVE = """
    INSERT INTO history VALUES (?1, ?2, 1, ?3, ?4) ON CONFLICT DO UPDATE SET calls = calls + 1,
    output_tokens = output_tokens + ((?3 - output_tokens) >> 3),
    input_share_ppm = input_share_ppm + ((?4 - input_share_ppm) >> 3)
"""


def known(
    connection: Connection, agent: str, model_key: str, prefixes: Sequence[str]
) -> tuple[tuple[str, int] | None, History | None]:
    """What earlier calls of this agent to this model teach.

    Returns:
        The first of the digests (longest first) that was billed before, with its tokens; and the
        moving averages, None before the first measured call.
    """
    if not model_key:
        return None, None
    likely, rest = prefixes[:_LIKELY], prefixes[_LIKELY:]
    rows = connection.execute(_known(len(likely)), (agent, model_key, *likely)).fetchall()
    history = History(*rows.pop()[1:]) if rows and rows[-1][0] is None else None
    billed = _first(likely, rows)
    if billed is None and rest:
        billed = _first(rest, connection.execute(_billed(len(rest)), (agent, model_key, *rest)))
    return billed, history


def _first(prefixes: Sequence[str], rows: Iterable[Sequence[Any]]) -> tuple[str, int] | None:
    tokens = {row[0]: row[1] for row in rows}
    return next(((one, tokens[one]) for one in prefixes if one in tokens), None)


@cache
def _billed(prefixes: int) -> str:
    marks = ", ".join(f"?{n + 3}" for n in range(prefixes))
    return (
        "SELECT digest, input_tokens, 0, 0 FROM billed_prefixes"
        f" WHERE agent = ?1 AND model_key = ?2 AND digest IN ({marks})"
    )


@cache
def _known(prefixes: int) -> str:
    """The prefixes that were billed, and after them the history."""
    return (
        f"{_billed(prefixes)} UNION ALL SELECT NULL, calls, output_tokens, input_share_ppm"
        " FROM history WHERE agent = ?1 AND model_key = ?2"
    )


def learn_prefix(
    connection: Connection,
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


def learn_history(
    connection: Connection,
    agent: str,
    model_key: str,
    *,
    input_tokens: int,
    bound_input_tokens: int,
    output_tokens: int,
) -> None:
    """Move the averages by one measured call."""
    share_ppm = input_tokens * _PPM // bound_input_tokens if bound_input_tokens > 0 else _PPM
    connection.execute(_MOVE, (agent, model_key, output_tokens, share_ppm))


def forget(connection: Connection, now_ns: int) -> None:
    """Drop prefixes that nobody has built on for a week."""
    connection.execute("DELETE FROM billed_prefixes WHERE at_ns < ?", (now_ns - PREFIXES_KEPT_NS,))
