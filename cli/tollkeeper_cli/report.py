"""`report`: what happened in a time, as a page to show around or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import PolicyError, UsageError
from tollkeeper_cli import reports, state
from tollkeeper_cli.output import Row, escape, print_json, say
from tollkeeper_cli.spent import Period, Until
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from tollkeeper.home import Home
    from tollkeeper.ledger.port import Ledger
    from tollkeeper.ledger.sqlite import SqliteLedger

_DAY_NS: Final = 24 * reports.HOUR_NS
_HOURLY_DAYS: Final = 3
_DAILY_DAYS: Final = 400
MOST_ROWS: Final = 25
"""Of each table; what is beyond is one row, so that a page stays one."""


def report(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From then on: 24h, 30d, 2026-11-01 or ISO-8601.")
    ] = "30d",
    until: Until = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write one HTML page that needs nothing."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Report what happened, as an HTML page or here."""
    at, at_ns = state.made_home(), now_ns()
    period = Period.of(since, until, at_ns, reports.timezone_of(at))
    with state.open_ledger(at) as ledger:
        figures = collect(ledger, at, period, at_ns)
    if json_:
        print_json(figures)
    elif output is None:
        from tollkeeper_cli.report_text import print_report

        print_report(figures)
    else:
        _write(figures, output)


def _write(figures: dict[str, Any], output: Path) -> None:
    from tollkeeper_cli.report_page import page

    try:
        output.write_text(page(figures), encoding="utf-8")
    except OSError as e:
        raise UsageError(f"{output} cannot be written: {e.strerror}.") from e
    say(f"The report is in {escape(output)}.")


def collect(ledger: SqliteLedger, at: Home, period: Period, at_ns: int) -> dict[str, Any]:
    """All figures of a report, raw: as one moment had them, but for the balances of budgets."""
    from tollkeeper.ledger import overview
    from tollkeeper.ledger.breakdown import AMOUNTS, Asked, breakdown, summed

    times = (period.since_ns, period.until_ns)
    with ledger.reading():
        found = overview.span_of(ledger, *times)
        unit = unit_of(found, period, at_ns)

        def by(*names: str) -> list[dict[str, Any]]:
            return breakdown(ledger, Asked(names, *times, timezone=period.timezone))

        cube = by(unit, "provider", "model")
        figures: dict[str, Any] = {
            "made_ns": at_ns, "since_ns": period.since_ns, "until_ns": period.until_ns,
            "timezone": period.timezone,
            "total": next(iter(summed(cube)), dict.fromkeys(AMOUNTS, 0)),
            "unit": unit, "times": steps(found, unit, period.timezone),
            "over_time": [
                {"time": row.pop(unit), **row} for row in summed(cube, (unit, "model"))
            ],
            "models": summed(cube, ("provider", "model")), "agents": by("agent"),
            "teams": by("team"), "runs": by("run")[:MOST_ROWS],
            "refusals": overview.refusals(ledger, *times),
            "holds": overview.holds(ledger, *times),
            "latencies": overview.latencies(ledger, *times),
        }  # fmt: skip
    return {**figures, **_budgets(ledger, at, at_ns)}


def _budgets(ledger: Ledger, at: Home, at_ns: int) -> dict[str, Any]:
    """Balances now; a policy that is not there or does not load takes nothing else from the report."""
    from tollkeeper_cli.budget import balances_now

    try:
        policy = state.load_policy(at)
    except (PolicyError, UsageError) as e:
        return {"budgets": [], "budgets_unknown": str(e).splitlines()[0]}
    return {"budgets": balances_now(ledger, policy, at_ns), "budgets_unknown": None}


def unit_of(found: tuple[int, int] | None, period: Period, at_ns: int) -> str:
    """Hours for a few days, days for a year, months beyond."""
    first, last = found or (at_ns, at_ns)
    if period.since_ns is not None:
        first = min(max(first, period.since_ns), last)
    days = (last - first) // _DAY_NS
    return "hour" if days < _HOURLY_DAYS else "day" if days < _DAILY_DAYS else "month"


def steps(found: tuple[int, int] | None, unit: str, timezone: str) -> list[str]:
    """Every hour, day or month from the first call to the last, those without calls too."""
    if found is None:
        return []
    zone, pattern = (
        ZoneInfo(timezone),
        {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"},
    )
    first, last = (datetime.fromtimestamp(ns // NS_PER_SECOND, UTC) for ns in found)
    step = timedelta(hours=1) if unit == "hour" else timedelta(hours=12)
    names: dict[str, None] = {}
    moment = first
    while moment < last:
        names[f"{moment.astimezone(zone):{pattern[unit]}}"] = None
        moment += step
    names[f"{last.astimezone(zone):{pattern[unit]}}"] = None
    return list(names)


def rolls_up(rows: Sequence[Row]) -> bool:
    """Whether any agent's account holds what its children spent."""
    return any(
        row.get("with_children_nano_usd", 0) != row["cost_nano_usd"] for row in rows
    ) and all("with_children_nano_usd" in row for row in rows)


def budgets_by_use(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """All that have a limit, and those of them with anything on them, the fullest first."""
    limited = [row for row in rows if row["limit_nano_usd"] is not None]
    used = [row for row in limited if row["spent_nano_usd"] or row["reserved_nano_usd"]]
    used.sort(key=lambda row: -sum(account_of(row)[:2]) / max(1, account_of(row)[2]))
    return limited, used


def account_of(row: Row) -> tuple[int, int, int]:
    """Spent, reserved, and the limit with its credit."""
    limit = row["limit_nano_usd"] + row["credit_nano_usd"]
    return row["spent_nano_usd"], row["reserved_nano_usd"], limit
