"""`budget spent`: what was spent, by model, agent, team, run or day, and how surely that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tollkeeper.errors import UsageError
from tollkeeper_cli import reports, state
from tollkeeper_cli.output import Column, print_json, print_rows
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns, parse_list, parse_moment_ns

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: 24h, 7d, 2026-11-01 or a time in ISO-8601."),
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="Before then; as --since. Now, without it.")
]

BASIS: Final = [
    Column("measured_nano_usd", "measured", spare=3), Column("estimated_nano_usd", "estimated", spare=2),
    Column("reserved_nano_usd", "as reserved", spare=2), Column("overrun_nano_usd", "overrun", spare=2),
]  # fmt: skip
"""How surely amounts are known; see ``ledger/breakdown.py``."""

_SUMS: Final = [
    Column("calls", "calls"), Column("input_tokens", "in", spare=4), Column("output_tokens", "out", spare=4),
    Column("cost_nano_usd", "spent"),
    Column("notional_nano_usd", "notional"), Column("with_children_nano_usd", "with children", spare=1),
    *BASIS, Column("open_nano_usd", "reserved now"), Column("unknown_costs", "cost unknown"),
]  # fmt: skip
_ALWAYS: Final = ("calls", "input_tokens", "output_tokens", "cost_nano_usd", "measured_nano_usd")


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when, as the command line said."""

    since_ns: int | None
    until_ns: int | None
    timezone: str

    @classmethod
    def of(cls, since: str | None, until: str | None, at_ns: int, timezone: str) -> Period:
        """What was asked for.

        Raises:
            UsageError: When it ends before it begins.
        """
        since_ns = parse_moment_ns(since, at_ns, timezone) if since else None
        until_ns = parse_moment_ns(until, at_ns, timezone) if until else None
        if since_ns is not None and until_ns is not None and until_ns <= since_ns:
            raise UsageError(f"--until {until} is not after --since {since}: nothing lies between.")
        return cls(since_ns, until_ns, timezone)


def seldom(rows: list[dict[str, Any]], columns: list[Column]) -> list[Column]:
    """The columns without those that say nothing in any row."""
    return [
        one for one in columns
        if one.key in _ALWAYS or any(row.get(one.key) for row in rows)
    ]  # fmt: skip


def subject_of(who: str) -> str:
    """``agent:…`` for a bare name; ``team:…`` and ``run:…`` as they are."""
    kind, colon, name = who.partition(":")
    if not colon:
        return f"agent:{who}"
    if kind not in ("agent", "team", "run") or not name:
        raise typer.BadParameter(f"{who!r} is no agent, team:NAME or run:ID")
    return who


def known_subject(ledger: Ledger, who: str | None) -> str | None:
    """The account of whoever is meant; deleted agents and ended runs keep theirs.

    Raises:
        UsageError: When nothing of that name was ever there.
    """
    if who is None:
        return None
    subject = subject_of(who)
    if not reports.is_subject(ledger, subject):
        raise UsageError(f"There is no account of {who!r}: see `tollkeeper budget` and `runs`.")
    return subject


def spent(
    who: Annotated[
        str | None,
        typer.Argument(metavar="[WHO]", help="An agent and its children, team:NAME or run:ID."),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="agent, team, run, provider, model, operation, basis, outcome, state, hour, day, month.",
        ),
    ] = "model",
    since: Since = None,
    until: Until = None,
    json_: Json = False,
) -> None:
    """Show what was spent, by model, agent, day and more."""
    from tollkeeper.ledger.breakdown import AMOUNTS, DIMENSIONS, Asked, breakdown, summed

    at = state.made_home()
    names = tuple(dict.fromkeys(parse_list(by)))
    wrong = next((name for name in names if name not in DIMENSIONS), None)
    if wrong is not None or not names:
        raise typer.BadParameter(f"{wrong or by!r} is none of {', '.join(DIMENSIONS)}")
    period = Period.of(since, until, now_ns(), reports.timezone_of(at))
    with state.open_ledger(at) as ledger:
        asked = Asked(
            names,
            period.since_ns,
            period.until_ns,
            subject=known_subject(ledger, who),
            timezone=period.timezone,
        )
        with ledger.reading():
            rows = breakdown(ledger, asked)
    sums = next(iter(summed(rows)), dict.fromkeys(AMOUNTS, 0))
    if json_:
        print_json({
            "who": who, "since_ns": period.since_ns, "until_ns": period.until_ns,
            "timezone": period.timezone, "by": list(names), "total": sums, "rows": rows,
        })  # fmt: skip
        return
    columns = [Column(name, name) for name in names] + seldom(rows, _SUMS)
    if len(rows) > 1:
        rows.append({names[0]: "total", **sums})
    print_rows(rows, columns, json_=False, empty="No calls in this time.")
