"""Numbered migrations: each once, whoever comes first."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from tollkeeper.ledger.file import SCHEMA_VERSION
from tollkeeper.ledger.migrations import migrations
from tollkeeper.ledger.sqlite import SqliteLedger


def test_version_of_the_schema_is_the_number_of_its_migrations(tmp_path: Path) -> None:
    SqliteLedger(tmp_path / "tollkeeper.db").close()

    connection = sqlite3.connect(tmp_path / "tollkeeper.db")
    applied = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations")]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()

    assert len(applied) == version == SCHEMA_VERSION
    assert [int(name[:4]) for name in applied] == list(range(1, SCHEMA_VERSION + 1))
    assert migrations.name == "tollkeeper"


def test_current_file_is_opened_without_migrating(tmp_path: Path) -> None:
    SqliteLedger(tmp_path / "tollkeeper.db").close()
    before = (tmp_path / "tollkeeper.db").read_bytes()

    SqliteLedger(tmp_path / "tollkeeper.db").close()

    assert (tmp_path / "tollkeeper.db").read_bytes() == before


def test_unit_of_every_amount_and_time_is_in_its_name(ledger: SqliteLedger) -> None:
    tables = ledger.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = [
        (table["name"], column["name"])
        for table in list(tables)
        for column in list(ledger.rows(f"PRAGMA table_info({table['name']})"))
    ]

    unclear = [n for n in names if re.search(r"(amount|cost|spent|reserved|worst|usd)$", n[1])]
    assert [n for n in unclear if not n[1].endswith("_nano_usd")] == []
    assert [n for n in names if re.search(r"_(at|time)$", n[1]) and n[0][0] != "_"] == []
