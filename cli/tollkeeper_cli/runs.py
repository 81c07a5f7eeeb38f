"""`runs …`: what belongs together, step by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper.errors import UsageError
from tollkeeper_cli import reports, state
from tollkeeper_cli.output import Column, Row, escape, print_facts, print_json, print_rows
from tollkeeper_cli.spent import BASIS, seldom
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

app = typer.Typer(help="Runs: list, look at, pause and stop them.", invoke_without_command=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run, or the beginning of its id.")]

_COLUMNS = [
    Column("id", "run"), Column("agent", "agent"), Column("state", "state"),
    Column("started_ns", "started", spare=1), Column("calls", "calls"), Column("refused", "refused", spare=2),
    Column("holds", "held", spare=3), Column("cost_nano_usd", "cost"),
]  # fmt: skip

_NOTIONAL = Column("notional_nano_usd", "notional")
"""What calls paid by plans would have cost; shown where there are such calls, in no other sum."""

_AGENT = Column("agent", "agent")
_SUMS = [Column("calls", "calls"), Column("cost_nano_usd", "cost"), *BASIS]
_MODEL = Column("model", "model")

_CALLS = [
    Column("at_ns", "when"), Column("model", "model"), Column("operation", "operation", spare=2),
    Column("became", "became"), Column("input_tokens", "in", spare=1), Column("output_tokens", "out", spare=1),
    Column("cost_nano_usd", "cost"), Column("took_ms", "ms", spare=3), Column("id", "call", spare=4),
]  # fmt: skip


OfAgent = Annotated[str | None, typer.Option(metavar="AGENT", help="Of this agent only.")]
Count = Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many at most.")]


@app.callback()
def newest(
    context: typer.Context, agent: OfAgent = None, lines: Count = 30, json_: Json = False
) -> None:
    """Runs: list, look at, pause and stop them."""
    if context.invoked_subcommand is None:
        list_(agent=agent, lines=lines, json_=json_)


@app.command("list")
def list_(agent: OfAgent = None, lines: Count = 30, json_: Json = False) -> None:
    """List runs, newest first."""
    with state.open_ledger() as ledger:
        rows = reports.runs(ledger, agent=agent, limit=lines)
    columns = with_notional(_COLUMNS, rows) + seldom(rows, BASIS[1:])
    print_rows(rows, columns, json_=json_, empty="No runs yet: tollkeeper run -- CMD")


def with_notional(columns: list[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns, with notional costs beside the costs where there are any."""
    if not any(row.get("notional_nano_usd") for row in rows):
        return columns
    at = next(i for i, column in enumerate(columns) if column.key == "cost_nano_usd") + 1
    return [*columns[:at], _NOTIONAL, *columns[at:]]


def find(ledger: Ledger, prefix: str) -> str:
    """The run with this prefix.

    Raises:
        UsageError: When there is none, or several.
    """
    found = reports.run_ids(ledger, prefix) if prefix else []
    if not found:
        raise UsageError(f"There is no run {prefix!r}: see `tollkeeper runs`.")
    if len(found) > 1:
        raise UsageError(f"{prefix!r} is the beginning of several runs: {', '.join(found)}.")
    return found[0]


@app.command()
def show(run: Run, json_: Json = False) -> None:
    """Show one run: each call, its cost and its time."""
    with state.open_ledger() as ledger:
        found = find(ledger, run)
        made = reports.run_record(ledger, found)
        calls = reports.calls_of_run(ledger, found)
        summary = reports.summary_of_run(ledger, found)
        by_agent = parts(ledger, found, "agent")
        by_model = parts(ledger, found, "model")
    facts: dict[str, Any] = {"run": found}
    if made is not None:
        ended = "ended" if made["state"] == "active" and made["ended_ns"] else made["state"]
        facts |= {"agent": made["agent"], "state": ended, **json.loads(made["about"])}
        facts |= {"started_ns": made["created_ns"], "ended_ns": made["ended_ns"]}
    facts |= {
        "calls": summary.calls, "refused": summary.refused, "refused_unread": summary.unread,
        "holds": summary.holds,
        "cost_nano_usd": summary.cost_nano_usd,
    }  # fmt: skip
    if summary.notional_nano_usd:
        facts["notional_nano_usd"] = summary.notional_nano_usd
    for call in calls:
        call["codes"] = json.loads(call["codes"])
        call["became"] = became(call)
    if json_:
        print_json({**facts, "agents": by_agent, "models": by_model, "calls": calls})
        return
    print_facts(facts, json_=False)
    print()
    starter = made["agent"] if made is not None else None
    agents = {row["agent"] for row in by_agent}
    shared = agents - {starter} != set() if starter else len(agents) > 1
    for rows, column in ((by_agent if shared else [], _AGENT), (by_model, _MODEL)):
        if rows:
            print_rows(rows, [column, *seldom(rows, with_notional(_SUMS, rows))], json_=False)
            print()
    whose = [_AGENT] if shared else []
    columns = with_notional([_CALLS[0], *whose, *_CALLS[1:]], calls)
    print_rows(calls, columns, json_=False, empty="No calls yet.")


def parts(ledger: Ledger, run: str, by: str) -> list[dict[str, Any]]:
    """What a run's calls came to by one thing that they differ in, the dearest first."""
    from tollkeeper.ledger.breakdown import Asked, breakdown

    return breakdown(ledger, Asked((by,), run=run))


def became(call: dict[str, Any]) -> str:
    """What became of a call, in a word or a code."""
    match call["state"]:
        case "refused":
            return str(call["codes"][0]) if call["codes"] else "refused"
        case "settled":
            return str(call["outcome"]).replace("_", " ")
        case "left":
            return "client left"
        case other:
            return str(other)


def _set_state(run: str, new_state: str) -> str:
    with state.open_ledger() as ledger:
        found = find(ledger, run)
        made = reports.run_record(ledger, found)
        if made is None:
            raise UsageError(
                f"{found} only groups calls of an agent: pause the agent, or start runs with"
                " `tollkeeper run`."
            )
        if made["ended_ns"]:
            raise UsageError(f"{found} has ended, and its token with it: nothing calls in it.")
        ledger.set_run_state(found, new_state, now_ns(), state.operator())
        return escape(found)


@app.command()
def pause(run: Run) -> None:
    """Refuse the run's calls until it is resumed."""
    print(f"{_set_state(run, 'paused')} is paused.")


@app.command()
def resume(run: Run) -> None:
    """Let a paused or stopped run call again."""
    print(f"{_set_state(run, 'active')} is active.")


@app.command()
def stop(run: Run) -> None:
    """Refuse the run's calls from now on."""
    print(f"{_set_state(run, 'stopped')} is stopped.")
