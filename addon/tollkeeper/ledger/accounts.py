"""Money and quotas: transfers, and the balances that are their sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from tollkeeper.domain import NS_PER_SECOND, Account, Balance
from tollkeeper.errors import UsageError
from tollkeeper.ledger import standings
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.journal import Journal, append

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


HOUR_NS = 3600 * NS_PER_SECOND


class Pending(NamedTuple):
    """One subject's part of a reservation."""

    id: int
    subject: str
    amount_nano_usd: int
    booked_ns: int


class Balances(NamedTuple):
    """What stands on some accounts before a decision.

    Attributes:
        in_flight: By subject, of those that have a row for the total: who ever had a reservation.
        last_ns: The latest reservation on any of them; 0 when there was none.
    """

    by_account: Mapping[Account, Balance] = {}
    in_flight: Mapping[str, int] = {}
    last_ns: int = 0


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
            standings.forget(connection, account.subject)
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


def balances(
    connection: Connection, accounts: Sequence[Account], subjects: Iterable[str] = ()
) -> Balances:
    """What stands on each; an account asked for the first time gets its row from the transfers.

    Args:
        subjects: Who else it would be good to know of.
    """
    keys = [_key(account) for account in accounts]
    earliest = min([key[1] for key in keys], default=standings.FOREVER)
    standing = standings.known(connection, {*subjects, *[key[0] for key in keys]}, earliest)
    found = {
        account: stands.balance()
        if (stands := standing[key[0]].rows.get(key[1:]))
        else _opened(connection, account)
        for account, key in zip(accounts, keys, strict=True)
    }
    totals = {
        one: known.rows[standings.TOTAL]
        for one, known in standing.items()
        if standings.TOTAL in known.rows
    }
    last_ns = max(
        [r.last_ns for known in standing.values() for r in known.rows.values()], default=0
    )
    return Balances(found, {one: row.in_flight for one, row in totals.items()}, last_ns)


def in_flight(connection: Connection, subject: str) -> int:
    """How many calls of this subject are forwarded and not settled."""
    row = connection.execute(
        f"SELECT in_flight FROM balances WHERE subject = ? AND ends_ns = {standings.FOREVER}"
        " AND window = 'total' AND starts_ns = 0",
        (subject,),
    ).fetchone()
    return int(row[0]) if row else 0


def reserve(
    connection: Connection,
    call: str,
    subjects: Sequence[str],
    amount_nano_usd: int,
    now_ns: int,
    *,
    forwarded: bool,
    before: Balances,
) -> int | None:
    """One pending transfer on every subject, with consecutive ids after the last.

    Args:
        forwarded: Whether the call goes out, so that it is in flight from now on.
        before: What is known of some of the subjects, within this transaction.

    Returns:
        The id of the first; None when there is nobody to count on.
    """
    if not subjects:
        return None
    last = connection.execute(
        _pending(len(subjects)), (call, amount_nano_usd, now_ns, *subjects)
    ).lastrowid
    assert last is not None
    first, hour = last - len(subjects) + 1, now_ns // HOUR_NS
    if before.last_ns // HOUR_NS != hour:
        connection.execute(
            "INSERT INTO transfer_hours VALUES (?, ?) ON CONFLICT DO NOTHING", (hour, first)
        )
    slots = int(forwarded)
    standings.move(connection, subjects, 0, amount_nano_usd, 1, slots, now_ns)
    new = [one for one in subjects if one not in before.in_flight]
    if new:  # the others' totals were moved
        for one in new:
            standings.forget(connection, one)
        connection.executemany(
            f"INSERT INTO balances SELECT ?1, {standings.FOREVER}, 'total', 0, 0, ?2, 1, 0, ?3, ?4"
            " WHERE NOT EXISTS (SELECT 1 FROM balances WHERE subject = ?1 AND window = 'total')",
            [(one, amount_nano_usd, now_ns, slots) for one in new],
        )
    made = [Pending(first + n, one, amount_nano_usd, now_ns) for n, one in enumerate(subjects)]
    connection.keep(("pending", first), made)
    return first


def pendings(connection: Connection, ids: range) -> list[Pending]:
    """The pending transfers of these ids, in their order."""
    if not ids:
        return []
    known: list[Pending] | None = connection.known.pop(("pending", ids.start), None)
    if known is not None:
        return known
    rows = connection.execute(
        "SELECT id, subject, amount_nano_usd, booked_ns FROM transfers"
        " WHERE id >= ? AND id < ? AND kind = 'pending'",
        (ids.start, ids.stop),
    ).fetchall()
    return [Pending(*row) for row in rows]


def post(
    connection: Connection,
    call: str,
    pending: Sequence[Pending],
    cost_nano_usd: int,
    now_ns: int,
    *,
    forwarded: bool,
) -> None:
    """Resolve with what was spent, in the windows of the admission; the excess as ``overrun``.

    Args:
        pending: All of one admission, so that amount and time are the same in each.
        forwarded: Whether the call was in flight.
    """
    if not pending:
        return
    reserved, booked_ns = pending[0].amount_nano_usd, pending[0].booked_ns
    subjects = [one.subject for one in pending]
    posted = min(cost_nano_usd, reserved)
    _resolve(connection, call, "post", posted, 0, pending, now_ns)
    if cost_nano_usd > posted:
        connection.executemany(
            "INSERT INTO transfers (call, subject, kind, amount_nano_usd, calls, booked_ns, at_ns)"
            " VALUES (?, ?, 'overrun', ?, 0, ?, ?)",
            [(call, one, cost_nano_usd - posted, booked_ns, now_ns) for one in subjects],
        )
    standings.move(connection, subjects, cost_nano_usd, -reserved, 0, -int(forwarded), booked_ns)


def void(
    connection: Connection,
    call: str,
    pending: Sequence[Pending],
    now_ns: int,
    *,
    forwarded: bool,
) -> None:
    """Resolve as if it had never been: money and quota are given back; arguments as for ``post``."""
    if not pending:
        return
    reserved, booked_ns = pending[0].amount_nano_usd, pending[0].booked_ns
    subjects = [one.subject for one in pending]
    _resolve(connection, call, "void", 0, -1, pending, now_ns)
    standings.move(connection, subjects, 0, -reserved, -1, -int(forwarded), booked_ns)


def _resolve(
    connection: Connection,
    call: str,
    kind: str,
    amount_nano_usd: int,
    calls: int,
    pending: Sequence[Pending],
    now_ns: int,
) -> None:
    subjects, ids = [one.subject for one in pending], [one.id for one in pending]
    reserved, booked_ns = pending[0].amount_nano_usd, pending[0].booked_ns
    connection.execute(
        _resolution(len(pending)),
        (call, kind, amount_nano_usd, reserved, calls, booked_ns, now_ns, *subjects, *ids),
    )


@cache
def _resolution(subjects: int) -> str:
    rows = ", ".join(
        f"(?1, ?{n + 8}, ?2, ?3, ?4, ?5, ?{n + 8 + subjects}, ?6, ?7)" for n in range(subjects)
    )
    return (
        "INSERT INTO transfers (call, subject, kind, amount_nano_usd, released_nano_usd, calls,"
        f" resolves, booked_ns, at_ns) VALUES {rows}"
    )


@cache
def _pending(subjects: int) -> str:
    rows = ", ".join(f"(?1, ?{n + 4}, 'pending', ?2, 1, ?3, ?3)" for n in range(subjects))
    return (
        "INSERT INTO transfers (call, subject, kind, amount_nano_usd, calls, booked_ns, at_ns)"
        f" VALUES {rows}"
    )


def _opened(connection: Connection, account: Account) -> Balance:
    balance = _stored(connection, account)
    if balance is None:
        balance, last_ns = _summed(connection, account)
        standings.forget(connection, account.subject)
        connection.execute(
            "INSERT INTO balances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (*_key(account), balance.spent_nano_usd, balance.reserved_nano_usd, balance.calls,
             balance.credit_nano_usd, last_ns),
        )  # fmt: skip
    return balance


def _stored(connection: Connection, account: Account) -> Balance | None:
    row = connection.execute(
        f"SELECT {standings.BALANCE} FROM balances"
        " WHERE subject = ? AND ends_ns = ? AND window = ? AND starts_ns = ?",
        _key(account),
    ).fetchone()
    return Balance(*row) if row else None


def _summed(connection: Connection, account: Account) -> tuple[Balance, int]:
    """The balance from the transfers, and the time of the latest.

    The row for the total tells when nothing has to be summed: in the common case, the first call of
    a subject in a new window, its last transfer is older than the window.
    """
    subject, ends_ns, window, starts_ns = _key(account)
    (credit,) = connection.execute(CREDIT, (subject, window, starts_ns)).fetchone()
    total = connection.execute(
        "SELECT spent_nano_usd, reserved_nano_usd, calls, last_ns FROM balances"
        " WHERE subject = ? AND ends_ns = ? AND window = 'total' AND starts_ns = 0",
        (subject, standings.FOREVER),
    ).fetchone()
    if total is None or total[3] < starts_ns:
        return Balance(credit_nano_usd=credit), 0
    if account.resets_ns is None and starts_ns == 0:
        spent, reserved, calls, last_ns = total
    else:
        spent, reserved, calls, last_ns = connection.execute(
            f"SELECT {SUMS}, coalesce(max(booked_ns), 0) FROM transfers WHERE id >="
            " (SELECT min(first) FROM transfer_hours WHERE hour >= ?) AND subject = ?"
            " AND booked_ns >= ? AND booked_ns < ? AND credit_window IS NULL",
            (starts_ns // HOUR_NS, subject, starts_ns, ends_ns),
        ).fetchone()
    return Balance(spent, reserved, calls, credit), last_ns


def _key(account: Account) -> tuple[str, int, str, int]:
    ends_ns = standings.FOREVER if account.resets_ns is None else account.resets_ns
    # The plain text of the window, because hashing the member of an enum is slow.
    return (account.subject, ends_ns, account.window.value, account.starts_ns)
