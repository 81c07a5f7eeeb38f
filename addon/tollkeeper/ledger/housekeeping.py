"""Leases, recovery after a crash, and what is thrown away."""

from __future__ import annotations

import os
from collections.abc import Callable

from tollkeeper.domain import NS_PER_SECOND, Basis, Outcome, Settlement
from tollkeeper.ledger import learning, objects, rates
from tollkeeper.ledger.calls import OpenCall, open_calls
from tollkeeper.ledger.delegation import bury_ended
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.journal import Journal, append
from tollkeeper.ledger.settling import let_go, resolve

LEASE_NS = 90 * NS_PER_SECOND
"""How long a process counts as alive after its last sign; admissions are signs, ``take_lease`` too."""

_RENEW_NS = LEASE_NS // 6

_FORGET_NS = 3600 * NS_PER_SECOND  # looking for old prefixes reads them all


class Housekeeping(Journal):
    """The part of the ledger that is about processes, not calls."""

    _owner: str
    _renewed_ns = 0
    _forgot_ns = 0

    def take_lease(self, owner: str, now_ns: int) -> None:
        """Say that this process lives; what it admits carries its name.

        To be called at the start and again before ``LEASE_NS`` is over. A name must never be used
        by two processes, one after the other neither: nothing of the owner's own is ever recovered.
        """
        with self.transaction() as connection:
            renew(connection, owner, now_ns)
        self._owner, self._renewed_ns = owner, now_ns

    def _lease_is_due(self, now_ns: int) -> bool:
        """Whether an admission should renew the lease in its own transaction."""
        return not 0 <= now_ns - self._renewed_ns < _RENEW_NS

    def recover(self, alive: Callable[[str], bool], now_ns: int) -> int:
        """Book what dead owners left: held calls void, forwarded calls in full. How many.

        Dead is an owner whose lease is over or who is not ``alive``; never this process itself. What
        is awaited stays open (``objects.py``).
        """
        with self.transaction() as connection:
            left = [
                call
                for call in open_calls(connection)
                if call.owner != self._owner
                and not _lives(connection, call.owner, alive, now_ns)
                and not _is_awaited(connection, call.id)
            ]
            for call in left:
                _book(connection, call, now_ns)
            connection.execute(
                "DELETE FROM leases WHERE renewed_ns <= ? AND owner != ? AND owner NOT IN"
                " (SELECT owner FROM calls WHERE state IN ('held', 'forwarded'))",
                (now_ns - LEASE_NS, self._owner),
            )
            return len(left)

    def tidy(self, now_ns: int) -> None:
        """Drop rate entries and billed prefixes that no longer matter; see the port."""
        with self.transaction() as connection:
            bury_ended(connection, now_ns)
            rates.forget(connection, now_ns)
            if forget_prefixes := now_ns - self._forgot_ns >= _FORGET_NS:
                learning.forget(connection, now_ns)
                objects.forget(connection, now_ns)
        if forget_prefixes:
            self._forgot_ns = now_ns


def renew(connection: Connection, owner: str, now_ns: int) -> None:
    """Write the owner's sign of life; the caller's transaction holds the write lock."""
    connection.execute(
        "INSERT INTO leases VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET renewed_ns = max(renewed_ns, excluded.renewed_ns)",
        (owner, os.getpid(), now_ns, now_ns),
    )


def _lives(connection: Connection, owner: str, alive: Callable[[str], bool], now_ns: int) -> bool:
    row = connection.execute("SELECT renewed_ns FROM leases WHERE owner = ?", (owner,)).fetchone()
    return row is not None and now_ns - row[0] < LEASE_NS and alive(owner)


def _is_awaited(connection: Connection, call: str) -> bool:
    """Whether the provider works on its answer, which somebody will ask for."""
    row = connection.execute("SELECT 1 FROM awaited WHERE call = ?", (call,)).fetchone()
    return row is not None


def _book(connection: Connection, call: OpenCall, now_ns: int) -> None:
    if call.state == "held":
        let_go(connection, call, now_ns)
        append(connection, "left", "tollkeeper", call.id, {"why": "recovered"}, now_ns)
        return
    settlement = Settlement(Outcome.RECOVERED, Basis.RESERVED, call.whole_nano_usd)
    resolve(connection, call, settlement, now_ns, actor="tollkeeper")
