"""`audit …`: the record of everything, and its proof."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tollkeeper_cli import records, state
from tollkeeper_cli.export import As, Into, What, write_all
from tollkeeper_cli.output import (
    Column,
    Row,
    escape,
    print_json,
    print_json_line,
    print_rows,
    say,
    table,
)
from tollkeeper_cli.spent import Period
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import dollars, now_ns, parse_duration_ns

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

app = typer.Typer(help="The record: read, search, export, verify.", invoke_without_command=True)

_FOLLOW_SECONDS: Final = 0.2
_COLUMNS = [
    Column("seq", "#"), Column("at_ns", "when"), Column("kind", "what"), Column("actor", "who"),
    Column("told", "details"),
]  # fmt: skip

Count = Annotated[
    int, typer.Option("--lines", "-n", metavar="N", min=1, max=100_000, help="How many at most.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on as records come.")]


@app.callback()
def newest(
    context: typer.Context,
    lines: Count = 20,
    follow: Follow = False,
    json_: Json = False,
) -> None:
    """The record: read, search, export, verify."""
    if context.invoked_subcommand is None:
        tail(lines=lines, follow=follow, json_=json_)


@app.command()
def tail(
    lines: Count = 20,
    follow: Follow = False,
    json_: Json = False,
) -> None:
    """Show the newest records."""
    with state.open_ledger() as ledger:
        last = records.last_seq(ledger)
        found = ledger.audit(after=max(0, last - lines), limit=lines)
        _print(found, json_=json_, follow=follow)
        if follow:
            _follow(ledger, max(last, found[-1]["seq"] if found else 0), json_=json_)


def _follow(ledger: Ledger, seq: int, *, json_: bool) -> None:
    while True:
        if ledger.changed():
            for record in ledger.audit(after=seq, limit=1000):
                seq = record["seq"]
                _print([record], json_=json_, follow=True)
        time.sleep(_FOLLOW_SECONDS)


def _print(records: list[dict[str, Any]], *, json_: bool, follow: bool) -> None:
    if follow and json_:
        for record in records:
            print_json_line(record)
    elif follow:
        for row in map(_row, records):
            print(table([row], _COLUMNS)[1], flush=True)
    else:
        rows = records if json_ else [_row(record) for record in records]
        print_rows(rows, _COLUMNS, json_=json_, empty="No record fits.")


def _row(record: Row) -> Row:
    return {**record, "told": told(record["kind"], record["data"])}


def told(kind: str, data: Row) -> str:
    """A record's data in one line: the reason first, whom and what it is about, then the money."""
    parts = [*_about(kind, data), *_money(kind, data)]
    shown = parts or [f"{k} {_short(v)}" for k, v in data.items() if v not in (None, "", [], {})]
    return escape(", ".join(shown))


_NAMED: Final = (
    "model", "agent", "parent", "run", "token", "minted_by", "approval", "rule", "state", "answer",
    "origin", "said_by", "outcome", "basis", "host", "path", "note",
)  # fmt: skip


def _about(kind: str, data: Row) -> Iterator[str]:
    reasons = data.get("reasons")
    first = reasons[0] if isinstance(reasons, list) and reasons else None
    if isinstance(first, Mapping):
        yield f"{first.get('code')} ({first.get('source')})"
    elif data.get("code"):
        yield _short(data["code"])
    known = ("agent", "token") if kind in ("admitted", "held", "refused") else ()
    for key in _NAMED:
        if data.get(key) and key not in known:
            yield f"{key.replace('_', ' ')} {_short(data[key])}"
    if isinstance(data.get("subject"), str):
        yield data["subject"].replace(":", " ", 1)
    if data.get("window"):
        yield f"{data['window']} budget"
    if isinstance(data.get("limits"), Mapping):
        yield from _limits(data["limits"])
    if kind == "agent_limits" and not data.get("limits"):
        yield "no limits of its own"
    for key in ("with", "tokens"):
        if isinstance(data.get(key), list) and data[key]:
            yield f"{key} {' '.join(map(str, data[key]))}"


def _money(kind: str, data: Row) -> Iterator[str]:
    by_plan = isinstance(data.get("notional_nano_usd"), int)
    for key, word in (("reserve_nano_usd", "reserved"), ("cost_nano_usd", "cost"),
                      ("notional_nano_usd", "notional"),
                      ("amount_nano_usd", "amount")):  # fmt: skip
        nothing = kind == "refused" or (key == "cost_nano_usd" and by_plan)
        if isinstance(data.get(key), int) and not nothing:
            yield f"{word} {dollars(data[key])}"
    if data.get("billing") == "flat_counted":
        yield "which counts"


def _limits(limits: Row) -> Iterator[str]:
    for name, value in limits.items():
        by_window = value.items() if isinstance(value, Mapping) else [("", value)]
        for window, limit in by_window:
            money = name.endswith("_nano_usd") and isinstance(limit, int)
            label = f"{name.removesuffix('_nano_usd')} {window}".rstrip()
            yield f"{label} {dollars(limit) if money else _short(limit)}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@app.command()
def search(
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="Anywhere in the details.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="AGENT", help="By or about this agent.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="admitted, refused, verdict …")
    ] = None,
    call: Annotated[str | None, typer.Option(metavar="ID", help="Of this call.")] = None,
    since: Annotated[str | None, typer.Option(metavar="24h", help="Not older than this.")] = None,
    lines: Count = 100,
    json_: Json = False,
) -> None:
    """Find records.

    The newest that fit, oldest first. Exit code 1 when none fits.
    """
    since_ns = now_ns() - parse_duration_ns(since) if since else None
    with state.open_ledger() as ledger:
        found = records.search_audit(
            ledger, text=text, agent=agent, kind=kind, call=call, since_ns=since_ns, limit=lines
        )
        kinds = records.kinds(ledger) if kind and not found else []
    _print(found, json_=json_, follow=False)
    if kind and not found and kind not in kinds:
        say(f"There is no kind {escape(repr(kind))} in this record; there are {', '.join(kinds)}.")
    if not found:
        raise typer.Exit(1)


@app.command("export")
def export_(format_: As = None, output: Into = None) -> None:
    """Write the whole record, with the hashes that prove it."""
    state.made_home()
    write_all(What.AUDIT, format_, Period(None, None, "UTC"), output)


@app.command()
def verify(
    expect_head: Annotated[
        str | None,
        typer.Option("--expect-head", metavar="HASH", help="A hash that verify once printed."),
    ] = None,
    json_: Json = False,
) -> None:
    """Prove that nothing was changed and the money adds up.

    Exit code 1 when something is wrong.
    """
    from tollkeeper.ledger.books import head
    from tollkeeper.ledger.books import verify as check_books

    with state.open_ledger() as ledger:
        end = head(ledger)
        findings = check_books(ledger, expect_head=expect_head)
    if json_:
        rows = [{"check": f.check, "where": f.where, "message": f.message} for f in findings]
        print_json({"ok": not findings, "records": end.seq, "head": end.hash, "findings": rows})
    else:
        for finding in findings:
            print(escape(finding))
        if not findings:
            print(f"The books balance: {end.seq} records, none changed.")
        print(f"head {end.hash}")
    if findings:
        raise typer.Exit(1)
