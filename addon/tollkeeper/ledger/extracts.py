"""Rows of the books as they are taken elsewhere: a fixed choice of columns, oldest first, streamed.

Names and meanings of columns are a promise to whoever reads an export; the README lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tollkeeper.ledger.port import Ledger

type Rows = Iterator[dict[str, Any]]

_CALLS: Final = (
    "id, at_ns, booked_ns, settled_ns, agent, team, run, provider, model, operation, stream, state,"
    " effect, codes, outcome, status, basis, cost_nano_usd, worst_nano_usd AS reserved_nano_usd,"
    " expected_nano_usd, input_tokens, output_tokens, cache_read_input_tokens,"
    " cache_write_input_tokens, reasoning_output_tokens, price_source, approval"
)
_TRANSFERS: Final = (
    "id, at_ns, booked_ns, call, subject, kind, amount_nano_usd, released_nano_usd, calls, resolves,"
    " credit_window, credit_starts_ns"
)
_AUDIT: Final = "seq, at_ns, kind, actor, call, data, previous, hash"

COLUMNS: Final = {
    name: tuple(column.rpartition(" ")[2] for column in sql.split(", "))
    for name, sql in (("calls", _CALLS), ("transfers", _TRANSFERS), ("audit", _AUDIT))
}
"""What the rows of each extract hold, in this order."""


def calls(ledger: Ledger, since_ns: int | None = None, until_ns: int | None = None) -> Rows:
    """One row a call, admitted in this time."""
    return _rows(ledger, f"SELECT {_CALLS} FROM calls", "booked_ns", since_ns, until_ns, "id")


def transfers(ledger: Ledger, since_ns: int | None = None, until_ns: int | None = None) -> Rows:
    """One row a transfer, booked in this time; its amounts make every balance."""
    sql = f"SELECT {_TRANSFERS} FROM transfers"
    return _rows(ledger, sql, "booked_ns", since_ns, until_ns, "id")


def audit(ledger: Ledger, since_ns: int | None = None, until_ns: int | None = None) -> Rows:
    """One row a record with what its hash is made of, ``data`` as the canonical text that was hashed."""
    return _rows(ledger, f"SELECT {_AUDIT} FROM audit", "at_ns", since_ns, until_ns, "seq")


def _rows(
    ledger: Ledger, sql: str, time: str, since_ns: int | None, until_ns: int | None, order: str
) -> Rows:
    since, until = since_ns or 0, 2**63 - 1 if until_ns is None else until_ns
    return ledger.rows(f"{sql} WHERE {time} >= ? AND {time} < ? ORDER BY {order}", (since, until))
