"""The proof: books that were only written by the ledger verify, and every kind of tampering shows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ledger.conftest import Opener
from ledger.scripted import (
    ATLAS,
    ATLAS_TODAY,
    NOT_SENT,
    PRINCIPAL,
    T0,
    TEAM_TODAY,
    ScriptedCase,
    measured,
    sealed,
)
from tollkeeper.ledger.books import Finding, head, verify
from tollkeeper.ledger.sqlite import SqliteLedger

CASE = ScriptedCase(budgets={ATLAS: 1000, ATLAS_TODAY: 1000, TEAM_TODAY: 1000})


@pytest.fixture
def busy(ledger: SqliteLedger, opener: Opener) -> SqliteLedger:
    """Books in which everything has happened once."""
    ledger.credit(ATLAS, 50, T0, "ada")
    settled = ledger.admit(CASE, PRINCIPAL, T0)
    ledger.settle(settled.id, measured(60), T0 + 1)
    over = ledger.admit(CASE, PRINCIPAL, T0 + 2)
    ledger.settle(over.id, measured(130), T0 + 3)
    not_sent = ledger.admit(CASE, PRINCIPAL, T0 + 4)
    ledger.settle(not_sent.id, NOT_SENT, T0 + 5)
    hold = ScriptedCase(hold=True)
    held = ledger.admit(hold, PRINCIPAL, T0 + 6)
    assert held.approval is not None
    ledger.give_verdict(sealed(ledger, held.approval.id, "approved", T0 + 7))
    ledger.admit(hold, PRINCIPAL, T0 + 8, again=held.id)
    left = ledger.admit(ScriptedCase(hold=True, digest="left"), PRINCIPAL, T0 + 9)
    ledger.leave(left.id, T0 + 10)
    ledger.admit(ScriptedCase(budgets={ATLAS: 0}), PRINCIPAL, T0 + 11)
    opener(owner="dead").admit(CASE, PRINCIPAL, T0 + 12)
    ledger.recover(lambda owner: False, T0 + 13)
    ledger.admit(CASE, PRINCIPAL, T0 + 14)
    return ledger


def tamper(folder: Path, *statements: str) -> None:
    """Write as somebody would who has the file, knows its tables and takes the locks off first."""
    connection = sqlite3.connect(folder / "tollkeeper.db", isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for trigger in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        connection.execute(f"DROP TRIGGER {trigger[0]}")
    for statement in statements:
        assert connection.execute(statement).rowcount > 0, statement
    connection.close()


def test_untouched_books_are_in_order(busy: SqliteLedger) -> None:
    assert verify(busy) == []
    assert verify(busy, expect_head=head(busy).hash) == []


def test_empty_books_are_in_order(opener: Opener) -> None:
    ledger = opener()

    assert verify(ledger) == []
    assert verify(ledger, expect_head=head(ledger).hash) == []


FIRST = "(SELECT min(id) FROM calls WHERE state = 'settled' AND outcome = 'complete')"

TAMPERINGS = {
    "an amount is edited": (
        "UPDATE transfers SET amount_nano_usd = 1 WHERE kind = 'post' AND id ="
        " (SELECT min(id) FROM transfers WHERE kind = 'post')",
        {"balance", "cost"},
    ),
    "a cost is edited": (
        f"UPDATE calls SET cost_nano_usd = 1 WHERE id = {FIRST}",
        {"cost", "record"},
    ),
    "a cost is forgotten": (
        f"UPDATE calls SET cost_nano_usd = NULL WHERE id = {FIRST}",
        {"cost", "record"},
    ),
    "a balance is edited": (
        "UPDATE balances SET spent_nano_usd = spent_nano_usd - 1 WHERE window = 'day'"
        " AND subject = 'agent:atlas'",
        {"balance"},
    ),
    "a balance is cut": (
        "DELETE FROM balances WHERE window = 'total' AND subject = 'team:research'",
        {"balance"},
    ),
    "a call in flight is forgotten": (
        "UPDATE balances SET in_flight = 0 WHERE subject = 'agent:atlas' AND window = 'total'",
        {"balance"},
    ),
    "the beginning of an hour is moved": (
        "UPDATE transfer_hours SET first = first + 1",
        {"hour"},
    ),
    "a transfer is put under a call that never was": (
        "UPDATE transfers SET call = 'call_nowhere' WHERE kind = 'overrun'",
        {"cost", "reservation"},
    ),
    "a credit is edited": (
        "UPDATE transfers SET amount_nano_usd = 51 WHERE kind = 'credit'",
        {"balance"},
    ),
    "an amount is made negative": (
        "UPDATE transfers SET amount_nano_usd = -5 WHERE kind = 'overrun'",
        {"amount", "balance", "cost"},
    ),
    "a post is cut": (
        "DELETE FROM transfers WHERE id = (SELECT min(id) FROM transfers WHERE kind = 'post')",
        {"balance", "reservation", "cost"},
    ),
    "a resolved reservation is cut": (
        "DELETE FROM transfers WHERE id = (SELECT min(id) FROM transfers WHERE kind = 'pending')",
        {"balance", "reservation"},
    ),
    "an open reservation is cut": (
        "DELETE FROM transfers WHERE id = (SELECT max(id) FROM transfers WHERE kind = 'pending')",
        {"balance", "reservation"},
    ),
    "a reservation is resolved twice": (
        "INSERT INTO transfers (call, subject, kind, amount_nano_usd, released_nano_usd, calls,"
        " resolves, booked_ns, at_ns) SELECT call, subject, 'void', 0, released_nano_usd, -1,"
        " resolves, booked_ns, at_ns FROM transfers WHERE kind = 'void' LIMIT 1",
        {"balance", "reservation"},
    ),
    "a subject is changed": (
        "UPDATE transfers SET subject = 'agent:hermes' WHERE kind = 'post' AND id ="
        " (SELECT min(id) FROM transfers WHERE kind = 'post')",
        {"balance", "reservation"},
    ),
    "a settled call is opened again": (
        f"UPDATE calls SET state = 'forwarded' WHERE id = {FIRST}",
        {"reservation", "cost", "record"},
    ),
    "an open call is closed by hand": (
        "UPDATE calls SET state = 'left' WHERE state = 'forwarded'",
        {"reservation", "record"},
    ),
    "a worst case is edited": (
        "UPDATE calls SET worst_nano_usd = 1 WHERE state = 'forwarded'",
        {"amount"},
    ),
    "an agent in the record is changed": (
        "UPDATE audit SET actor = 'hermes' WHERE kind = 'refused'",
        {"chain"},
    ),
    "the data of a record is changed": (
        "UPDATE audit SET data = replace(data, 'gpt-4o', 'gpt-4') WHERE kind = 'refused'",
        {"chain"},
    ),
    "the time of a record is changed": (
        "UPDATE audit SET at_ns = at_ns + 1 WHERE kind = 'left'",
        {"chain"},
    ),
    "a record is deleted": ("DELETE FROM audit WHERE kind = 'verdict'", {"chain"}),
    "the first record is deleted": ("DELETE FROM audit WHERE seq = 1", {"chain"}),
    "the record of a call is cut off": (
        "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)",
        {"record"},
    ),
    "a call is deleted": ("DELETE FROM calls WHERE state = 'refused'", {"record"}),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found(busy: SqliteLedger, tmp_path: Path, how: str) -> None:
    statement, expected = TAMPERINGS[how]

    tamper(tmp_path, statement)

    findings = verify(busy)
    assert {finding.check for finding in findings} == expected, findings


def test_finding_names_the_record_that_was_changed(busy: SqliteLedger, tmp_path: Path) -> None:
    [row] = [row for row in busy.audit() if row["kind"] == "verdict"]

    tamper(tmp_path, "UPDATE audit SET actor = 'eve' WHERE kind = 'verdict'")

    message = f"Record {row['seq']} was changed after it was written."
    assert verify(busy) == [Finding("chain", message, str(row["seq"]))]


def test_record_written_anew_from_one_place_on_is_found_by_the_head_that_was_kept(
    busy: SqliteLedger, tmp_path: Path
) -> None:
    kept = head(busy).hash
    busy.record("note", "owner", {}, T0 + 20)
    assert verify(busy, expect_head=kept) == []

    tamper(tmp_path, "DELETE FROM audit WHERE seq >= (SELECT max(seq) - 1 FROM audit)")
    busy.record("note", "owner", {}, T0 + 21)

    assert "head" in {finding.check for finding in verify(busy, expect_head=kept)}


def test_books_can_be_checked_while_they_are_written(busy: SqliteLedger, opener: Opener) -> None:
    other = opener()
    rows = busy.rows

    def rows_with_traffic(*query: object) -> object:
        admission = other.admit(ScriptedCase(), PRINCIPAL, T0 + 30)
        other.settle(admission.id, measured(1), T0 + 31)
        return rows(*query)  # type: ignore[arg-type]

    busy.rows = rows_with_traffic  # type: ignore[method-assign,assignment]

    assert verify(busy) == []
