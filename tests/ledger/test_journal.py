"""The record as it is written and read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ledger.scripted import ATLAS, PRINCIPAL, T0, ScriptedCase, measured
from tollkeeper.errors import LedgerError
from tollkeeper.ledger.books import head
from tollkeeper.ledger.sqlite import SqliteLedger


def test_record_of_its_own_is_read_back(ledger: SqliteLedger) -> None:
    before = head(ledger).seq

    ledger.record("policy_loaded", "owner", {"digest": "d", "mode": "enforce"}, T0)

    [row] = ledger.audit(after=before)
    assert (row["seq"], row["at_ns"], row["kind"]) == (before + 1, T0, "policy_loaded")
    assert (row["actor"], row["call"]) == ("owner", None)
    assert row["data"] == {"digest": "d", "mode": "enforce"}
    assert row["hash"] == head(ledger).hash


def test_reading_goes_on_where_it_stopped(ledger: SqliteLedger) -> None:
    for number in range(5):
        ledger.record("note", "owner", {"n": number}, T0)
    first = ledger.audit(limit=4)

    rest = ledger.audit(after=first[-1]["seq"], limit=100)

    assert [row["seq"] for row in first + rest] == list(range(1, len(first + rest) + 1))


def test_every_step_of_a_call_is_one_record(ledger: SqliteLedger) -> None:
    before = head(ledger).seq
    admission = ledger.admit(ScriptedCase(budgets={ATLAS: 100}), PRINCIPAL, T0)
    ledger.admit(ScriptedCase(budgets={ATLAS: 100}), PRINCIPAL, T0 + 1)
    ledger.settle(admission.id, measured(60), T0 + 2)

    admitted, refused, settled = ledger.audit(after=before)

    assert [r["kind"] for r in (admitted, refused, settled)] == ["admitted", "refused", "settled"]
    assert admitted["actor"] == "atlas"
    assert admitted["data"]["subjects"] == ["agent:atlas", "team:research"]
    assert refused["data"]["reasons"][0]["code"] == "budget_exhausted"
    assert settled["call"] == admission.id
    assert settled["data"]["cost_nano_usd"] == 60
    assert settled["data"]["usage"] == {"input_tokens": 400, "output_tokens": 80}


@pytest.mark.parametrize("table", ["audit", "transfers"])
@pytest.mark.parametrize("verb", ["DELETE FROM {}", "UPDATE {} SET at_ns = 1"])
def test_engine_itself_refuses_to_edit_what_was_written(
    ledger: SqliteLedger, table: str, verb: str
) -> None:
    ledger.admit(ScriptedCase(), PRINCIPAL, T0)

    with pytest.raises(LedgerError, match="never edited") as caught, ledger.transaction() as open_:
        open_.execute(verb.format(table))

    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_nothing_secret_reaches_the_record(ledger: SqliteLedger, tmp_path: Path) -> None:
    ledger.admit(ScriptedCase(hold=True), PRINCIPAL, T0, body=b'{"model": "gpt-4o"}')

    told = "".join(str(row) for row in ledger.audit())

    assert "tk_secret" not in told
    assert '"model": "gpt-4o"}' not in told
    assert b"tk_secret" not in (tmp_path / "tollkeeper.db-wal").read_bytes()
