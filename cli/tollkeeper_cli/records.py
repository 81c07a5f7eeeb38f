"""Questions about the record; the tables are documented in ``tollkeeper/ledger/migrations.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tollkeeper.ledger.chain import decoded

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger


_OF_AGENT = "CASE WHEN json_valid(data) THEN json_extract(data, '$.agent') END"
"""Whom a record is about; a row that somebody edited may hold no JSON."""


def kinds(ledger: Ledger) -> list[str]:
    """The kinds of records that there are, in alphabetical order; this reads the whole record."""
    return [row["kind"] for row in ledger.rows("SELECT DISTINCT kind FROM audit ORDER BY kind")]


def last_seq(ledger: Ledger) -> int:
    """The number of the newest audit record, 0 for none."""
    return int(next(ledger.rows("SELECT coalesce(max(seq), 0) AS seq FROM audit"))["seq"])


def policy_in_force(ledger: Ledger) -> dict[str, Any] | None:
    """What the record last told of a policy: ``digest``, ``mode``, and ``problem`` of a broken edit."""
    rows = ledger.rows(
        "SELECT data FROM (SELECT kind, data, seq FROM audit ORDER BY seq DESC LIMIT 200000)"
        " WHERE kind IN ('policy_loaded', 'policy_broken') ORDER BY seq DESC LIMIT 1"
    )
    return next((decoded(row["data"]) for row in rows), None)


def tunnelled(ledger: Ledger, since_ns: int) -> dict[str, list[str]]:
    """Hosts that were reached in tunnels nobody reads, each with the agents that went there."""
    rows = ledger.rows(
        "SELECT DISTINCT actor, json_extract(data, '$.host') AS host FROM"
        " (SELECT * FROM audit ORDER BY seq DESC LIMIT 200000)"
        " WHERE kind = 'tunnelled' AND at_ns >= ? ORDER BY host, actor",
        [since_ns],
    )
    hosts: dict[str, list[str]] = {}
    for row in rows:
        hosts.setdefault(row["host"], []).append(row["actor"])
    return hosts


def search_audit(
    ledger: Ledger, *, text: str | None, agent: str | None, kind: str | None,
    call: str | None, since_ns: int | None, limit: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """The newest records that fit, oldest first."""
    conditions: list[tuple[str, list[Any]]] = [
        ("instr(lower(data), lower(?)) > 0", [text] if text else []),
        (f"(actor = ? OR {_OF_AGENT} = ?)", [agent, agent] if agent else []),
        ("kind = ?", [kind] if kind else []),
        ("substr(call, 1, length(?)) = ?", [call, call] if call else []),
        ("at_ns >= ?", [since_ns] if since_ns is not None else []),
    ]
    asked = [(sql, params) for sql, params in conditions if params]
    where = " AND ".join(sql for sql, _ in asked) or "true"
    sql = (
        "SELECT seq, at_ns, kind, actor, call, data, hash FROM"
        f" (SELECT * FROM audit WHERE {where} ORDER BY seq DESC LIMIT ?) ORDER BY seq"
    )
    return _decoded(ledger.rows(sql, [p for _, params in asked for p in params] + [limit]))


def _decoded(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "data": decoded(row["data"])} for row in rows]
