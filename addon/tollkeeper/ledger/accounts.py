"""Money and quotas: transfers, and the balances that are their sums."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tollkeeper.domain import Account, Balance
from tollkeeper.errors import UsageError
from tollkeeper.ledger.journal import Journal, append

FOREVER = 2**63 - 1
"""The end of a window that never ends: the largest integer that SQLite keeps."""

SUMS = (
    "coalesce(sum(CASE WHEN kind IN ('post', 'overrun') THEN amount_nano_usd END), 0) AS spent,"
    " coalesce(sum(CASE kind WHEN 'pending' THEN amount_nano_usd END), 0)"
    " - coalesce(sum(released_nano_usd), 0) AS reserved,"
    " coalesce(sum(calls), 0) AS calls"
)
"""What a balance is, over the transfers of one subject and window that are no credits."""

CREDIT = """
    SELECT coalesce(sum(amount_nano_usd), 0) AS credit FROM transfers
    WHERE subject = ? AND credit_window = ? AND credit_starts_ns = ?
"""
"""Credit of a subject in one window."""

_BALANCE = "spent_nano_usd, reserved_nano_usd, calls, credit_nano_usd"


@dataclass(frozen=True, slots=True)
class Pending:
    """One subject's part of a reservation."""

    id: int
    subject: str
    amount_nano_usd: int
    booked_ns: int


class Accounts(Journal):
    """Reads balances; gives credits."""

    def balance(self, account: Account) -> Balance:
        """As it stands; takes no lock and makes no row."""
        with self._lock, self._translated():
            stored = _stored(self._connection, account)
            return stored or _summed(self._connection, account)[0]

    def credit(self, account: Account, amount_nano_usd: int, now_ns: int, by: str) -> None:
        """Add to what the account may spend in this window; a negative amount takes a credit back.

        Raises:
            UsageError: When more would be taken back than was given.
        """
        with self.transaction() as connection:
            balance = _opened(connection, account)
            after = balance.credit_nano_usd + amount_nano_usd
            if after < 0:
                raise UsageError("There is not that much credit on the account to take back.")
            kind = "credit" if amount_nano_usd >= 0 else "correction"
            connection.execute(
                "INSERT INTO transfers (subject, kind, amount_nano_usd, calls, booked_ns, at_ns,"
                " credit_window, credit_starts_ns) VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                (account.subject, kind, amount_nano_usd, now_ns, now_ns, account.window,
                 account.starts_ns),
            )  # fmt: skip
            connection.execute(
                "UPDATE balances SET credit_nano_usd = ? WHERE subject = ? AND ends_ns = ?"
                " AND window = ? AND starts_ns = ?",
                (after, *_key(account)),
            )
            data = {
                "subject": account.subject,
                "window": str(account.window),
                "starts_ns": account.starts_ns,
                "amount_nano_usd": amount_nano_usd,
                "credit_nano_usd": after,
            }
            append(connection, "credit", by, None, data, now_ns)


# ------------------------------------------------------------------ within a transaction


def balances(connection: sqlite3.Connection, accounts: Sequence[Account]) -> dict[Account, Balance]:
    """What stands on each; an account asked for the first time gets its row from the transfers."""
    if not accounts:
        return {}
    keys = [_key(account) for account in accounts]
    subjects = tuple({key[0] for key in keys})
    rows = connection.execute(
        f"SELECT subject, ends_ns, window, starts_ns, {_BALANCE} FROM balances"
        f" WHERE subject IN ({_marks(subjects)}) AND ends_ns >= ?",
        (*subjects, min(key[1] for key in keys)),
    )
    stored = {row[:4]: row[4:] for row in rows}
    return {
        account: Balance(*stored[key]) if key in stored else _opened(connection, account)
        for account, key in zip(accounts, keys, strict=True)
    }


def next_transfer(connection: sqlite3.Connection) -> int:
    """The id that the next transfer will get."""
    (last,) = connection.execute("SELECT max(id) FROM transfers").fetchone()
    return (last or 0) + 1


def reserve(
    connection: sqlite3.Connection,
    call: str,
    subjects: Sequence[str],
    amount_nano_usd: int,
    first: int,
    now_ns: int,
) -> None:
    """One pending transfer on every subject, with consecutive ids from ``first`` on."""
    if not subjects:
        return
    connection.executemany(
        f"INSERT INTO balances VALUES (?, {FOREVER}, 'total', 0, 0, 0, 0, 0, 0)"
        " ON CONFLICT DO NOTHING",
        [(subject,) for subject in subjects],
    )
    connection.executemany(
        "INSERT INTO transfers (id, call, subject, kind, amount_nano_usd, calls, booked_ns, at_ns)"
        " VALUES (?, ?, ?, 'pending', ?, 1, ?, ?)",
        [
            (number, call, subject, amount_nano_usd, now_ns, now_ns)
            for number, subject in enumerate(subjects, first)
        ],
    )
    _move(connection, subjects, now_ns, reserved=amount_nano_usd, calls=1)


def pendings(
    connection: sqlite3.Connection, reservation: int | None, subjects: int
) -> list[Pending]:
    """What is not resolved of so many consecutive pending transfers."""
    if reservation is None:
        return []
    rows = connection.execute(
        "SELECT id, subject, amount_nano_usd, booked_ns FROM transfers AS reservation"
        " WHERE id BETWEEN ? AND ? AND kind = 'pending' AND NOT EXISTS"
        " (SELECT 1 FROM transfers WHERE resolves = reservation.id)",
        (reservation, reservation + subjects - 1),
    )
    return [Pending(*row) for row in rows]


def post(
    connection: sqlite3.Connection,
    call: str,
    reservations: Sequence[Pending],
    cost_nano_usd: int,
    now_ns: int,
) -> None:
    """Resolve with what was spent, in the windows of the admission; the excess as ``overrun``."""
    rows: list[tuple[Any, ...]] = []
    for pending in reservations:
        posted = min(cost_nano_usd, pending.amount_nano_usd)
        rows.append((call, pending.subject, "post", posted, pending.amount_nano_usd, 0,
                     pending.id, pending.booked_ns, now_ns))  # fmt: skip
        if cost_nano_usd > posted:
            rows.append((call, pending.subject, "overrun", cost_nano_usd - posted, 0, 0,
                         None, pending.booked_ns, now_ns))  # fmt: skip
    _write_resolutions(connection, rows)
    for booked_ns, released, subjects in _together(reservations):
        _move(connection, subjects, booked_ns, spent=cost_nano_usd, reserved=-released)


def void(
    connection: sqlite3.Connection, call: str, reservations: Sequence[Pending], now_ns: int
) -> None:
    """Resolve as if it had never been: money and quota are given back."""
    _write_resolutions(
        connection,
        [(call, p.subject, "void", 0, p.amount_nano_usd, -1, p.id, p.booked_ns, now_ns)
         for p in reservations],
    )  # fmt: skip
    for booked_ns, released, subjects in _together(reservations):
        _move(connection, subjects, booked_ns, reserved=-released, calls=-1)


def _write_resolutions(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    connection.executemany(
        "INSERT INTO transfers (call, subject, kind, amount_nano_usd, released_nano_usd, calls,"
        " resolves, booked_ns, at_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _together(reservations: Sequence[Pending]) -> Iterable[tuple[int, int, list[str]]]:
    """Subjects by time and amount; of one admission both are the same, so this is one group."""
    groups: dict[tuple[int, int], list[str]] = {}
    for pending in reservations:
        key = (pending.booked_ns, pending.amount_nano_usd)
        groups.setdefault(key, []).append(pending.subject)
    return [(booked_ns, amount, subjects) for (booked_ns, amount), subjects in groups.items()]


def _move(
    connection: sqlite3.Connection,
    subjects: Sequence[str],
    booked_ns: int,
    *,
    spent: int = 0,
    reserved: int = 0,
    calls: int = 0,
) -> None:
    """Add to every balance of these subjects whose window holds ``booked_ns``."""
    connection.execute(
        "UPDATE balances SET spent_nano_usd = spent_nano_usd + ?,"
        " reserved_nano_usd = reserved_nano_usd + ?, calls = calls + ?, last_ns = max(last_ns, ?)"
        f" WHERE subject IN ({_marks(subjects)}) AND ends_ns > ? AND starts_ns <= ?",
        (spent, reserved, calls, booked_ns, *subjects, booked_ns, booked_ns),
    )


def _opened(connection: sqlite3.Connection, account: Account) -> Balance:
    balance = _stored(connection, account)
    if balance is None:
        balance, last_ns = _summed(connection, account)
        connection.execute(
            "INSERT INTO balances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_key(account), balance.spent_nano_usd, balance.reserved_nano_usd, balance.calls,
             balance.credit_nano_usd, last_ns),
        )  # fmt: skip
    return balance


def _stored(connection: sqlite3.Connection, account: Account) -> Balance | None:
    row = connection.execute(
        f"SELECT {_BALANCE} FROM balances"
        " WHERE subject = ? AND ends_ns = ? AND window = ? AND starts_ns = ?",
        _key(account),
    ).fetchone()
    return Balance(*row) if row else None


def _summed(connection: sqlite3.Connection, account: Account) -> tuple[Balance, int]:
    """The balance from the transfers, and the time of the latest.

    The row for the total tells when nothing has to be summed: in the common case, the first call of
    a subject in a new window, its last transfer is older than the window.
    """
    subject, ends_ns, window, starts_ns = _key(account)
    (credit,) = connection.execute(CREDIT, (subject, window, starts_ns)).fetchone()
    total = connection.execute(
        "SELECT spent_nano_usd, reserved_nano_usd, calls, last_ns FROM balances"
        " WHERE subject = ? AND ends_ns = ? AND window = 'total' AND starts_ns = 0",
        (subject, FOREVER),
    ).fetchone()
    if total is None or total[3] < starts_ns:
        return Balance(credit_nano_usd=credit), 0
    if account.resets_ns is None and starts_ns == 0:
        spent, reserved, calls, last_ns = total
    else:
        spent, reserved, calls, last_ns = connection.execute(
            f"SELECT {SUMS}, coalesce(max(booked_ns), 0) FROM transfers"
            " WHERE subject = ? AND booked_ns >= ? AND booked_ns < ? AND credit_window IS NULL",
            (subject, starts_ns, ends_ns),
        ).fetchone()
    return Balance(spent, reserved, calls, credit), last_ns


def _key(account: Account) -> tuple[str, int, str, int]:
    ends_ns = FOREVER if account.resets_ns is None else account.resets_ns
    # The plain text of the window, because hashing the member of an enum is slow.
    return (account.subject, ends_ns, account.window.value, account.starts_ns)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
