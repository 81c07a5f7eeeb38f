"""The file: who may read it, what happens when it is locked, broken, newer or shared."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.conftest import Opener
from ledger.scripted import PRINCIPAL, T0, ScriptedCase, measured, with_atlas
from tollkeeper.errors import LedgerBusy, LedgerError
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.journal import append
from tollkeeper.ledger.sqlite import SqliteLedger

OPEN = """
import sys
from pathlib import Path
from tollkeeper.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(Path(sys.argv[1]))
ledger.record("opened", sys.argv[2], {}, 1)
ledger.close()
"""


def test_file_and_its_companions_can_be_read_by_their_owner_only(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    ledger.record("note", "owner", {}, T0)

    files = sorted(tmp_path.iterdir())

    assert [f.name for f in files] == ["tollkeeper.db", "tollkeeper.db-shm", "tollkeeper.db-wal"]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}


def test_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "tollkeeper.db"
    path.touch(mode=0o644)

    SqliteLedger(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_twenty_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tollkeeper.db"

    started = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(path), str(n)], env=environment())
        for n in range(20)
    ]

    assert [process.wait(60) for process in started] == [0] * 20
    ledger = SqliteLedger(path)
    assert sorted(int(row["actor"]) for row in ledger.audit()) == list(range(20))
    ledger.close()


def environment() -> dict[str, str]:
    """What a child needs to import what this process imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_locked_ledger_says_so_at_once_when_it_may_not_wait(
    ledger: SqliteLedger, opener: Opener
) -> None:
    impatient = opener(busy_timeout_ms=0)

    with ledger.transaction():
        with pytest.raises(LedgerBusy, match="another process"):
            impatient.admit(ScriptedCase(), PRINCIPAL, T0)
        assert impatient.identify("atlas", "") is None

    impatient.admit(ScriptedCase(), PRINCIPAL, T0)


def test_ledger_that_may_wait_is_busy_after_its_timeout(
    ledger: SqliteLedger, opener: Opener
) -> None:
    patient = opener(busy_timeout_ms=50)

    with ledger.transaction(), pytest.raises(LedgerBusy):
        patient.record("note", "owner", {}, T0)


def test_error_in_a_transaction_undoes_all_of_it(ledger: SqliteLedger) -> None:
    def break_off() -> None:
        with ledger.transaction() as connection:
            connection.execute("INSERT INTO spooled VALUES ('x', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()

    assert list(ledger.rows("SELECT * FROM spooled")) == []
    ledger.record("note", "owner", {}, T0)


def test_group_stands_or_falls_as_a_whole(ledger: SqliteLedger) -> None:
    def break_off() -> None:
        with ledger.group():
            ledger.record("note", "first", {}, T0)
            ledger.admit(ScriptedCase(), PRINCIPAL, T0)
            raise ZeroDivisionError

    before = list(ledger.audit())
    with pytest.raises(ZeroDivisionError):
        break_off()
    assert ledger.audit() == before

    with ledger.group():
        ledger.record("note", "first", {}, T0)
        call = ledger.admit(ScriptedCase(), PRINCIPAL, T0).id
        assert ledger.settle(call, measured(60), T0)

    assert [row["kind"] for row in ledger.audit()[len(before) :]] == ["note", "admitted", "settled"]
    assert verify(ledger) == []


def test_what_is_known_of_the_file_is_read_again_after_somebody_else_wrote(
    ledger: SqliteLedger, opener: Opener
) -> None:
    other = opener()
    mine, theirs = (each.admit(ScriptedCase(), PRINCIPAL, T0).id for each in (ledger, other))

    assert other.settle(mine, measured(60), T0 + 1)

    assert not ledger.settle(mine, measured(60), T0 + 2)
    assert ledger.settle(theirs, measured(60), T0 + 3)
    assert not other.settle(theirs, measured(60), T0 + 4)
    assert verify(ledger) == []


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_ledger_that_lies_elsewhere_now_is_not_written(
    ledger: SqliteLedger, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "tollkeeper.db"
    path.rename(tmp_path / "moved.db")
    if how == "replaced":
        path.touch()

    with pytest.raises(LedgerError, match="moved or replaced"):
        ledger.record("note", "owner", {}, T0)


def test_newer_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tollkeeper.db"
    SqliteLedger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(LedgerError, match="newer Tollkeeper"):
        SqliteLedger(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tollkeeper.db"
    path.write_text("a shopping list, and quite a long one at that\n" * 40)

    with pytest.raises(LedgerError, match="damaged or no ledger") as caught:
        SqliteLedger(path)

    assert "\n" not in str(caught.value)


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        SqliteLedger(tmp_path / "nowhere" / "tollkeeper.db")


def test_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="process or power"):
        SqliteLedger(tmp_path / "tollkeeper.db", durability="wishful")


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
def test_durability_decides_how_commits_reach_the_disk(
    opener: Opener, durability: str, synchronous: int
) -> None:
    ledger = opener(durability=durability)

    with ledger.transaction() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_reports_cannot_write(ledger: SqliteLedger) -> None:
    with pytest.raises(LedgerError):
        list(ledger.rows("DELETE FROM agents"))

    assert [agent.name for agent in ledger.agents()] == ["atlas"]


def test_reading_sees_one_moment_while_others_write(ledger: SqliteLedger, opener: Opener) -> None:
    other = opener()
    count = "SELECT count(*) AS n FROM audit"

    with ledger.reading():
        [before] = ledger.rows(count)
        other.record("note", "owner", {}, T0)
        [during] = ledger.rows(count)
    [after] = ledger.rows(count)

    assert during == before
    assert after["n"] == before["n"] + 1


def test_wrong_question_is_an_error_in_one_sentence(ledger: SqliteLedger) -> None:
    with pytest.raises(LedgerError, match="no such table"):
        list(ledger.rows("SELECT * FROM nowhere"))


def test_checkpoint_moves_the_log_into_the_database_while_it_is_in_use(
    ledger: SqliteLedger, opener: Opener, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"

    with ledger.transaction():
        opener(busy_timeout_ms=0).checkpoint()
    shutil.copy(tmp_path / "tollkeeper.db", copy)

    moved = SqliteLedger(copy)
    assert [agent.name for agent in moved.agents()] == ["atlas"]
    moved.close()


def test_checkpoint_of_a_file_moved_away_makes_none_anew_and_its_log_stays_its_own(
    ledger: SqliteLedger, opener: Opener, tmp_path: Path
) -> None:
    other, path = opener(), tmp_path / "tollkeeper.db"
    away = path.rename(tmp_path / "away.db")

    with pytest.raises(LedgerError, match="moved or replaced"):
        other.checkpoint()

    assert not path.exists()
    away.rename(path)
    other.checkpoint()
    ledger.record("note", "owner", {}, T0)
    assert [agent.name for agent in opener().agents()] == ["atlas"]


def test_closing_twice_is_no_error(opener: Opener) -> None:
    ledger = opener()
    ledger.close()
    ledger.close()


def test_ledger_that_was_closed_is_an_error_not_a_crash(opener: Opener) -> None:
    ledger = opener()
    ledger.close()

    with pytest.raises(LedgerError):
        ledger.record("note", "owner", {}, T0)


def test_damage_that_was_met_once_ends_all_writing(ledger: SqliteLedger, tmp_path: Path) -> None:
    """What is in memory looks right for as long as it stays there."""
    ledger.checkpoint()
    path = tmp_path / "tollkeeper.db"
    assert ledger.look_through(60) is True
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))

    with pytest.raises(LedgerError, match="put a copy in its place"):
        ledger.look_through(60)
    with pytest.raises(LedgerError, match="is damaged"):
        ledger.record("note", "owner", {}, T0)


def test_look_that_takes_too_long_is_broken_off(ledger: SqliteLedger) -> None:
    with ledger.transaction() as connection:
        connection.executemany(
            "INSERT INTO spooled VALUES (?, ?)", [(str(n), n) for n in range(50_000)]
        )

    assert ledger.look_through(0) is False


def test_value_that_sqlite_cannot_hold_is_an_error_of_the_ledger(tmp_path: Path) -> None:
    ledger = with_atlas(SqliteLedger(tmp_path / "ledger.db"))
    admission = ledger.admit(ScriptedCase(), PRINCIPAL, T0)

    with pytest.raises(LedgerError, match="cannot hold"):
        ledger.settle(admission.id, measured(2**63), T0)

    assert ledger.settle(admission.id, measured(60), T0)
    ledger.close()


def test_transaction_in_a_transaction_fails_alone(tmp_path: Path) -> None:
    ledger = with_atlas(SqliteLedger(tmp_path / "ledger.db"))

    with ledger.transaction():
        with pytest.raises(LedgerError, match="within a transaction"):
            ledger.record("inner", "somebody", {}, 1)
        append(ledger._connection, "outer", "somebody", None, {}, 1)

    assert [row["kind"] for row in ledger.audit()][-1] == "outer"
    ledger.record("after", "somebody", {}, 1)
    ledger.close()
