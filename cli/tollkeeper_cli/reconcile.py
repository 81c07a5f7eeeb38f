"""`reconcile`: a provider's usage file beside our books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tollkeeper.errors import StatementError
from tollkeeper_cli import state
from tollkeeper_cli.output import Column, escape, print_json, print_rows
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import dollars, now_ns, parse_limit_usd, parse_moment_ns

if TYPE_CHECKING:
    from tollkeeper.core.reconcile import Comparison, Difference, Tolerance
    from tollkeeper.core.statement import Statement

_LARGEST_BYTES: Final = 256 * 2**20
_COSTS: Final = [
    Column("day", "day"), Column("provider", "provider"), Column("model", "model"),
    Column("ours_nano_usd", "ours"), Column("theirs_nano_usd", "theirs"),
    Column("difference_nano_usd", "difference"), Column("cause", "probable cause"),
]  # fmt: skip
_TOKENS: Final = [
    *_COSTS[:3], Column("our_tokens", "our in/out", right=True),
    Column("their_tokens", "their in/out", right=True), _COSTS[-1],
]  # fmt: skip


def reconcile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON, as exported.")],
    tolerance: Annotated[
        str,
        typer.Option(metavar="T", help="How far a row may be apart: 0.01 (USD) or 0.5%."),
    ] = "0.01",
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose file it is, where it does not say.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Show rows that agree too.")] = False,
    json_: Json = False,
) -> None:
    """Compare a provider's usage file with the books.

    Exit code 1 when they differ by more than the tolerance, 2 when the file cannot be read.
    """
    from tollkeeper.core.reconcile import compare

    allowed = parse_tolerance(tolerance)
    state.made_home()
    try:
        statement = read(file)
    except StatementError as e:
        raise typer.BadParameter(str(e)) from e
    if provider:
        _rename(statement, provider)
    compared = compare(statement, booked(statement), allowed)
    if json_:
        print_json(as_plain(statement, compared, tolerance))
    else:
        _print(statement, compared, tolerance, whole=whole)
    if not compared.agrees:
        raise typer.Exit(1)


def parse_tolerance(text: str) -> Tolerance:
    """``0.01`` is an amount in USD, ``0.5%`` a share."""
    from tollkeeper.core.reconcile import Tolerance

    if not text.endswith("%"):
        return Tolerance(nano_usd=parse_limit_usd(text))
    try:
        share = Decimal(text.removesuffix("%")) / 100
    except InvalidOperation:
        share = Decimal(-1)
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{text!r} is no tolerance (write 0.01 or 0.5%)")
    return Tolerance(share=share)


def read(path: Path) -> Statement:
    """The statement in a file, whatever its format.

    Raises:
        StatementError: With line and column, when it cannot be read.
    """
    from tollkeeper.core.statement_csv import read_csv
    from tollkeeper.core.statement_json import read_json

    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise StatementError(
                f"{path}: more than {_LARGEST_BYTES >> 20} MiB: export less at a time"
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            begins = file.read(256).lstrip()
            file.seek(0)
            if begins.startswith(("{", "[")):
                return read_json(file.read(), str(path))
            return read_csv(_lines(file, path), str(path))
    except UnicodeDecodeError as e:
        raise StatementError(_no_text(path)) from e
    except OSError as e:
        raise StatementError(f"{path}: {e.strerror}") from e


def _lines(file: Any, path: Path) -> Iterator[str]:
    for line in file:
        if "\0" in line:
            raise StatementError(_no_text(path))
        yield line


def _no_text(path: Path) -> str:
    """Where the first byte stands that is no UTF-8 text."""
    line, column, data = 1, 1, path.read_bytes()
    try:
        data.decode("utf-8")
        at = data.index(b"\0")
    except UnicodeDecodeError as e:
        at = e.start
    line += data.count(b"\n", 0, at)
    column = at - data.rfind(b"\n", 0, at)
    return f"{path}:{line}:{column}: no UTF-8 text: export it as CSV or JSON in UTF-8"


def _rename(statement: Statement, provider: str) -> None:
    from tollkeeper.core.statement import Key

    lines, statement.lines = statement.lines, {}
    for key, figures in lines.items():
        statement.add(Key(provider, key.day, key.model), figures)


def booked(statement: Statement) -> list[dict[str, Any]]:
    """What the books have of the statement's period, by provider, day and model."""
    from tollkeeper.ledger.breakdown import Asked, breakdown

    if not statement.first_day:
        return []
    after = (date.fromisoformat(statement.last_day) + timedelta(days=1)).isoformat()
    zone, at_ns = statement.timezone, now_ns()
    asked = Asked(
        ("provider", "day", "model"),
        parse_moment_ns(statement.first_day, at_ns, zone),
        parse_moment_ns(after, at_ns, zone),
        timezone=zone,
    )
    with state.open_ledger() as ledger:
        return breakdown(ledger, asked)


def as_plain(statement: Statement, compared: Comparison, tolerance: str) -> dict[str, Any]:
    """Everything, for programs."""
    from tollkeeper.core.reconcile import ADVICE

    return {
        "agrees": compared.agrees, "format": statement.kind, "timezone": statement.timezone,
        "first_day": statement.first_day or None, "last_day": statement.last_day or None,
        "compared": "cost" if compared.by_cost else "tokens", "tolerance": tolerance,
        **totals(compared), "notes": statement.notes,
        "causes": {str(cause): ADVICE[cause] for cause in compared.causes},
        "rows": [_row(row) for row in compared.rows],
    }  # fmt: skip


def totals(compared: Comparison) -> dict[str, Any]:
    """Sums over all rows; None where the file has no amounts."""
    ours = sum(row.ours.cost_nano_usd for row in compared.rows)
    if not compared.by_cost:
        return {"ours_nano_usd": ours, "theirs_nano_usd": None, "difference_nano_usd": None}
    theirs = sum(row.theirs_nano_usd or 0 for row in compared.rows)
    return {"ours_nano_usd": ours, "theirs_nano_usd": theirs, "difference_nano_usd": ours - theirs}


def _row(row: Difference) -> dict[str, Any]:
    ours, theirs = row.ours, row.theirs
    return {
        "provider": row.key.provider or None, "day": row.key.day or None,
        "model": row.key.model or None, "agrees": row.agrees,
        "ours_nano_usd": ours.cost_nano_usd, "theirs_nano_usd": row.theirs_nano_usd,
        "difference_nano_usd": row.difference_nano_usd,
        "cause": None if row.cause is None else str(row.cause),
        "unsure_nano_usd": ours.unsure_nano_usd, "unknown_costs": ours.unknown_costs,
        "our_requests": ours.requests, "their_requests": theirs.requests,
        "our_input_tokens": ours.input_tokens, "their_input_tokens": theirs.input_tokens,
        "our_output_tokens": ours.output_tokens, "their_output_tokens": theirs.output_tokens,
    }  # fmt: skip


def _print(statement: Statement, compared: Comparison, tolerance: str, *, whole: bool) -> None:
    from tollkeeper.core.reconcile import ADVICE

    rows = [
        {
            **_row(row),
            "our_tokens": f"{row.ours.input_tokens}/{row.ours.output_tokens}",
            "their_tokens": f"{row.theirs.input_tokens or 0}/{row.theirs.output_tokens or 0}",
        }
        for row in compared.rows
        if whole or not row.agrees
    ]
    period = f"{statement.first_day} to {statement.last_day}" if statement.first_day else "no days"
    print(f"{statement.kind}, {period} ({statement.timezone}), tolerance {escape(tolerance)}")
    for note in statement.notes:
        print(escape(note))
    if rows:
        print()
        print_rows(rows, _COSTS if compared.by_cost else _TOKENS, json_=False)
    print()
    sums = totals(compared)
    if compared.by_cost:
        texts = {name: dollars(amount) for name, amount in sums.items()}
        print(
            f"ours {texts['ours_nano_usd']}, theirs {texts['theirs_nano_usd']},"
            f" difference {texts['difference_nano_usd']}"
        )
    good = sum(row.agrees for row in compared.rows)
    print(f"{good} of {len(compared.rows)} rows agree.")
    for cause in compared.causes:
        print(f"  {cause}: {ADVICE[cause]}")
