"""`export`: calls, transfers and the record for other programs, row by row in constant memory."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from tollkeeper.errors import UsageError
from tollkeeper_cli import reports, state
from tollkeeper_cli.output import escape, plain, say
from tollkeeper_cli.spent import Period, Since, Until
from tollkeeper_cli.units import iso, now_ns

_FORMULA: Final = re.compile(r"(^|;)(?=[\s\"']*[=+\-@＝＋－＠])")
"""Where a formula would begin: spreadsheets skip spaces, take wide signs for narrow ones, and split at
semicolons where a comma is the decimal sign."""

_RAW: Final = "data"
"""A record's own JSON, which its hash is made of; a text that begins with a brace is no formula."""


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


class What(StrEnum):
    """What is exported."""

    CALLS = "calls"
    TRANSFERS = "transfers"
    AUDIT = "audit"


Into = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Instead of standard output."),
]
As = Annotated[
    Format | None, typer.Option("--format", help="Without it: as FILE's name ends, else jsonl.")
]


def export(
    what: Annotated[
        str, typer.Argument(metavar="[WHAT]", help="calls, transfers or audit.")
    ] = "calls",
    format_: As = None,
    since: Since = None,
    until: Until = None,
    output: Into = None,
) -> None:
    """Write calls, transfers or the record as CSV or JSON."""
    if what not in What:
        raise typer.BadParameter(f"{what!r} is none of {', '.join(What)}")
    at = state.made_home()
    period = Period.of(since, until, now_ns(), reports.timezone_of(at))
    write_all(What(what), format_, period, output)


def write_all(what: What, format_: Format | None, period: Period, output: Path | None) -> None:
    """Write to standard output or to a new file.

    Raises:
        UsageError: When the file is there already or cannot be written.
    """
    from tollkeeper.ledger import extracts

    with state.open_ledger() as ledger:
        ending = output.suffix.removeprefix(".") if output else ""
        chosen = format_ or (Format(ending) if ending in Format else Format.JSONL)
        header = [*plain(dict.fromkeys(extracts.COLUMNS[what])), "day"]
        if what is What.AUDIT:
            header = [*extracts.COLUMNS[what], "at"]
            rows: Iterator[Mapping[str, Any]] = extracts.audit(
                ledger, period.since_ns, period.until_ns
            )
            if chosen is Format.CSV:
                rows = ({**row, "at": iso(row["at_ns"])} for row in rows)
        else:
            taken = extracts.calls if what is What.CALLS else extracts.transfers
            rows = map(_readable, taken(ledger, period.since_ns, period.until_ns))
        if output is None:
            write(rows, header, chosen, sys.stdout)
            return
        try:
            with output.open("x", encoding="utf-8", newline="") as file:
                count = write(rows, header, chosen, file)
        except FileExistsError as e:
            raise UsageError(f"{output} is there already.") from e
        except OSError as e:
            raise UsageError(f"{output} cannot be written: {e.strerror}.") from e
    noun = "records" if what is What.AUDIT else what
    say(f"{count} {noun} in {escape(output)}.")


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Amounts as exact decimals in USD, times as ISO-8601 in UTC, and the day that invoices go by."""
    read: dict[str, Any] = plain(row)
    if "codes" in read:
        read["codes"] = json.loads(read["codes"])
        read["stream"] = bool(read["stream"])
    return {**read, "day": iso(row["booked_ns"])[:10]}


def write(
    rows: Iterator[Mapping[str, Any]], header: Sequence[str], format_: Format, file: TextIO
) -> int:
    """Write each row as it comes; how many there were.

    Args:
        header: The columns of a CSV, which has them also when there is no row.
    """
    count = 0
    writer = csv.writer(file)
    if format_ is Format.CSV:
        writer.writerow(header)
    for count, row in enumerate(rows, 1):
        if format_ is Format.CSV:
            writer.writerow([_cell(key, row[key]) for key in header])
        elif format_ is Format.JSONL:
            file.write(f"{_json(row)}\n")
        else:
            file.write(f"{'[' if count == 1 else ','}\n{_json(row)}")
    if format_ is Format.JSON:
        file.write("\n]\n" if count else "[]\n")
    return count


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True).replace("\x7f", "\\u007f")


def _cell(key: str, value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands where one would begin.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if isinstance(value, str) and not key.endswith("_usd"):
        return escape(value) if key == _RAW else _FORMULA.sub(r"\1'", escape(value))
    return value
