"""Records that wait in a file until the ledger is back."""

from __future__ import annotations

import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ledger.conftest import Opener
from ledger.scripted import ATLAS, PRINCIPAL, T0, ScriptedCase, measured
from tollkeeper.domain import Balance, Billing, Settlement
from tollkeeper.errors import LedgerBusy, LedgerError
from tollkeeper.ledger import spool
from tollkeeper.ledger.spool import FILE_NAME, WHOLE, append, take_in, waiting
from tollkeeper.ledger.sqlite import SqliteLedger

NOTE = {"kind": "refused", "actor": "atlas", "data": {"code": "policy_unavailable"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_record_is_taken_in_once_with_its_own_time(ledger: SqliteLedger, folder: Path) -> None:
    append(folder, NOTE, T0 + 5)
    append(folder, NOTE, T0 + 6)

    assert waiting(folder) == 2
    assert take_in(ledger, folder) == 2
    assert take_in(ledger, folder) == 0
    assert waiting(folder) == 0

    taken = ledger.audit()[-2:]
    assert [row["at_ns"] for row in taken] == [T0 + 5, T0 + 6]
    assert [(r["kind"], r["actor"], r["data"]) for r in taken] == [tuple(NOTE.values())] * 2


def test_spool_can_be_read_by_its_owner_only(folder: Path) -> None:
    append(folder, NOTE, T0)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600


def test_lines_that_were_taken_before_a_crash_are_not_taken_again(
    ledger: SqliteLedger, folder: Path
) -> None:
    append(folder, NOTE, T0)
    before_the_crash = (folder / FILE_NAME).read_bytes()
    take_in(ledger, folder)

    (folder / FILE_NAME).write_bytes(before_the_crash)

    assert take_in(ledger, folder) == 0


def test_settlement_that_was_kept_is_booked(ledger: SqliteLedger, folder: Path) -> None:
    admission = ledger.admit(ScriptedCase(budgets={ATLAS: 1000}), PRINCIPAL, T0)
    settlement = asdict(measured(60))
    record = {"kind": "settlement", "call": admission.id, "settlement": settlement}
    append(folder, record, T0 + 7)
    append(folder, record, T0 + 8)

    assert take_in(ledger, folder) == 1

    assert ledger.balance(ATLAS) == Balance(60, 0, 1)
    [call] = ledger.rows("SELECT * FROM calls")
    assert (call["settled_ns"], call["input_tokens"]) == (T0 + 7, 400)


def test_settlement_that_fits_no_ledger_is_recorded_and_booked_whole(
    ledger: SqliteLedger, folder: Path
) -> None:
    case = ScriptedCase(reserve=100, budgets={ATLAS: 1000})
    call = ledger.admit(case, PRINCIPAL, T0).id
    for name in (call, "call_unknown"):
        settlement = asdict(measured(2**63))
        append(folder, {"kind": "settlement", "call": name, "settlement": settlement}, T0)

    take_in(ledger, folder)

    assert ledger.balance(ATLAS) == Balance(spent_nano_usd=100, calls=1)
    assert [row["kind"] for row in ledger.audit()[-3:]] == [
        "settled", "spool_refused", "spool_refused",
    ]  # fmt: skip
    assert waiting(folder) == 0


@pytest.mark.parametrize("error", [LedgerBusy, LedgerError])
@pytest.mark.parametrize("cost", [2**63, 60])
def test_settlement_waits_while_the_ledger_takes_nothing(
    ledger: SqliteLedger,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[LedgerError],
    cost: int,
) -> None:
    call = ledger.admit(ScriptedCase(reserve=100, budgets={ATLAS: 1000}), PRINCIPAL, T0).id
    append(folder, {"kind": "settlement", "call": call, "settlement": asdict(measured(cost))}, T0)
    settle = ledger.settle

    def locked_between_two(call: str, made: Settlement, now_ns: int) -> bool:
        if made == WHOLE or cost == 60:
            raise error("not now")
        return settle(call, made, now_ns)

    monkeypatch.setattr(ledger, "settle", locked_between_two)
    with pytest.raises(error):
        take_in(ledger, folder)
    assert waiting(folder) == 1
    monkeypatch.setattr(ledger, "settle", settle)
    take_in(ledger, folder)

    spent = 100 if cost == 2**63 else 60
    assert ledger.balance(ATLAS) == Balance(spent_nano_usd=spent, calls=1)


def test_line_that_cannot_be_read_is_recorded_and_stops_nothing(
    ledger: SqliteLedger, folder: Path
) -> None:
    append(folder, NOTE, T0)
    with (folder / FILE_NAME).open("ab") as file:
        file.write(b'{"id": "torn by a cra')
    append(folder, NOTE, T0 + 1)
    append(folder, {"kind": "settlement", "call": "call_x", "settlement": asdict(measured(1))}, T0)

    assert take_in(ledger, folder) == 4

    kinds = [row["kind"] for row in ledger.audit()[-4:]]
    assert kinds == ["refused", "spool_refused", "refused", "spool_refused"]


def test_busy_ledger_leaves_the_spool_as_it_is(
    ledger: SqliteLedger, opener: Opener, folder: Path
) -> None:
    append(folder, NOTE, T0)
    impatient = opener(busy_timeout_ms=0)

    with ledger.transaction(), pytest.raises(LedgerBusy):
        take_in(impatient, folder)

    assert take_in(ledger, folder) == 1


def test_full_spool_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(folder, NOTE, T0)
    monkeypatch.setattr(spool, "MAX_BYTES", 10)

    with pytest.raises(LedgerError, match="full"):
        append(folder, NOTE, T0)


def test_spool_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")

    with pytest.raises(LedgerError, match="cannot be written"):
        append(tmp_path / "spool", NOTE, T0)


def test_nothing_is_taken_from_a_folder_that_is_not_there(
    ledger: SqliteLedger, folder: Path
) -> None:
    assert take_in(ledger, folder) == 0


@pytest.mark.parametrize(
    ("told", "paid"),
    [(None, ("flat", 0, 60)), (Billing.METERED, ("metered", 0, None))],
)
def test_settlement_that_was_kept_knows_who_paid(
    ledger: SqliteLedger, folder: Path, told: Billing | None, paid: tuple[object, ...]
) -> None:
    case = ScriptedCase(reserve=0, worst=100, billing=Billing.FLAT)
    admission = ledger.admit(case, PRINCIPAL, T0)
    made = replace(measured(0), notional_nano_usd=60, billing=told)
    append(folder, {"kind": "settlement", "call": admission.id, "settlement": asdict(made)}, T0)

    take_in(ledger, folder)

    [call] = ledger.rows("SELECT * FROM calls")
    assert (call["billing"], call["cost_nano_usd"], call["notional_nano_usd"]) == paid
