from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.domain import Account, Window
from tollkeeper.home import Home
from tollkeeper_cli.export import Format, write

from .conftest import Books, Cli

CALL = [
    "id", "at", "booked_at", "settled_at", "agent", "team", "run", "provider", "model", "operation",
    "stream", "state", "effect", "codes", "outcome", "status", "basis", "cost_usd", "reserved_usd",
    "expected_usd", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_write_input_tokens", "reasoning_output_tokens", "price_source", "approval", "day",
]  # fmt: skip
TRANSFER = [
    "id", "at", "booked_at", "call", "subject", "kind", "amount_usd", "released_usd", "calls",
    "resolves", "credit_window", "credit_starts_at", "day",
]  # fmt: skip


def table(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_all_formats_say_the_same(cli: Cli, books: Books) -> None:
    books.call()
    books.call(model="o3")

    lines = [json.loads(line) for line in cli("export").lines]
    whole = cli("export", "calls", "--format", "json").data
    cells = table(cli("export", "--format", "csv").out)

    assert lines == whole
    assert [list(row) for row in (lines[0], cells[0])] == [CALL, CALL]
    assert [row["cost_usd"] for row in cells] == ["0.00325", ""]
    assert [row["cost_usd"] for row in whole] == ["0.00325", None]
    assert [row["codes"] for row in cells] == ["", "policy_denied"]


def test_the_schema_is_what_the_page_says(cli: Cli, books: Books) -> None:
    books.call()

    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    told = readme.split("### Exports", 1)[1].split("\n### ", 1)[0]

    assert list(json.loads(cli("export", "transfers").lines[0])) == TRANSFER
    for column in (*CALL, *TRANSFER):
        assert f"`{column}`" in told


def test_transfers_make_the_balance(cli: Cli, books: Books) -> None:
    books.call()
    books.call(settle=False)
    cli("budget", "add", "atlas", "2")
    cli("budget", "add", "atlas", "-1.000000001")

    rows = [json.loads(line) for line in cli("export", "transfers").lines]

    spent = sum(
        Decimal(row["amount_usd"]) for row in rows
        if row["subject"] == "agent:atlas" and row["kind"] in ("post", "overrun")
    )  # fmt: skip
    assert spent == Decimal("0.00325")
    assert [row["amount_usd"] for row in rows if row["kind"] == "correction"] == ["-1.000000001"]


def test_a_negative_amount_stays_a_number_in_a_spreadsheet(cli: Cli, books: Books) -> None:
    books.ledger.credit(Account("agent:atlas", Window.TOTAL), 5, 1, "ada")
    books.ledger.credit(Account("agent:atlas", Window.TOTAL), -5, 1, "ada")

    rows = table(cli("export", "transfers", "--format", "csv").out)

    assert [row["amount_usd"] for row in rows] == ["0.000000005", "-0.000000005"]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")', " =1", "＝1", ";=1"],
)
def test_no_cell_is_taken_for_a_formula(text: str) -> None:
    file = io.StringIO(newline="")

    write(iter([{"model": text, "codes": [text]}]), ["model", "codes"], Format.CSV, file)

    [row] = table(file.getvalue())
    assert all(cell.startswith(("'", "\\", ";'")) for cell in row.values())


def test_a_period_is_one_of_admissions(cli: Cli, books: Books) -> None:
    books.call()
    books.call(seconds_ago=90_000)

    for what in ("calls", "transfers"):
        whole, young = cli("export", what).lines, cli("export", what, "--since", "24h").lines
        assert young == whole[: len(young)] or young == whole[-len(young) :]
        assert len(young) == len(whole) / 2
    assert len(cli("export", "--until", "24h").lines) == 1


def test_the_record_is_that_of_audit_export(cli: Cli, books: Books) -> None:
    books.call()

    for format_ in ("csv", "json", "jsonl"):
        one, other = (
            cli("export", "audit", "--format", format_),
            cli("audit", "export", "--format", format_),
        )
        assert one.out == other.out != ""


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "txt"])
def test_a_file_is_written_as_its_name_ends(
    cli: Cli, books: Books, tmp_path: Path, ending: str
) -> None:
    books.call()
    target = tmp_path / f"calls.{ending}"

    assert cli("export", "-o", str(target)).err == f"1 calls in {target}.\n"

    begins = {"csv": "id,at,", "json": "[\n{", "jsonl": '{"id"', "txt": '{"id"'}
    assert target.read_text().startswith(begins[ending])


def test_empty_books_are_exported_too(cli: Cli, made: Home) -> None:
    assert cli("export", "--format", "csv").out == ",".join(CALL) + "\r\n"
    assert cli("export", "--format", "json").data == []
    assert cli("export").out == ""
