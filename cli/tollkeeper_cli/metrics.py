"""`metrics`: figures now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tollkeeper_cli import reports, state
from tollkeeper_cli.output import Column, Row, escape, print_facts, print_json, table
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import clock, dollars, now_ns, parse_duration_ns

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

_BAR: Final = " ▁▂▃▄▅▆▇█"
_MODELS = [
    Column("model", "model"), Column("provider", "provider"), Column("calls", "settled"),
    Column("input_tokens", "in"), Column("output_tokens", "out"), Column("cost_nano_usd", "cost"),
]  # fmt: skip


def metrics(
    since: Annotated[str, typer.Option(metavar="24h", help="Over this time.")] = "24h",
    json_: Json = False,
) -> None:
    """Show calls, spending, refusals, models, the last day."""
    at, at_ns = state.made_home(), now_ns()
    with state.open_ledger(at) as ledger:
        figures = collect(ledger, at_ns, at_ns - parse_duration_ns(since), since)
        figures["spent_today_nano_usd"] = reports.spent_since(
            ledger, reports.start_of_day(at, at_ns)
        )
    if json_:
        print_json(figures)
    else:
        _print(figures)


def collect(ledger: Ledger, at_ns: int, since_ns: int, since: str) -> dict[str, Any]:
    """All figures, raw."""
    return {
        "over": since,
        "totals": reports.totals(ledger, since_ns),
        "ever": reports.totals(ledger, 0),
        "burn_nano_usd": reports.spent_since(ledger, at_ns - reports.HOUR_NS),
        "now": {**reports.now(ledger), "open_approvals": len(ledger.approvals())},
        "denials": reports.denials(ledger, since_ns),
        "top_models": reports.top_models(ledger, since_ns, 10),
        "hours": reports.by_hour(ledger, at_ns),
    }


def _print(figures: Row) -> None:
    totals, now = figures["totals"], figures["now"]
    facts = {
        f"calls in {figures['over']}": f"{totals['calls']} ({totals['refused']} refused)",
        "spent": f"{dollars(totals['spent_nano_usd'])} in {figures['over']}, "
                 f"{dollars(figures['spent_today_nano_usd'])} today, "
                 f"{dollars(figures['ever']['spent_nano_usd'])} ever",
        "burn rate": f"{dollars(figures['burn_nano_usd'])} in the last hour",
        "tokens": f"{totals['input_tokens']} in, {totals['output_tokens']} out, "
                  f"{totals['cache_read_input_tokens']} of them from caches",
        "in flight": f"{now['in_flight']} ({dollars(now['reserved_nano_usd'])} reserved)",
        "held": f"{now['waiting']} waiting, {now['open_approvals']} unanswered",
    }  # fmt: skip
    if figures["ever"]["notional_nano_usd"]:
        facts["notional, by plans"] = (
            f"{dollars(totals['notional_nano_usd'])} in {figures['over']}, "
            f"{dollars(figures['ever']['notional_nano_usd'])} ever"
        )
    if totals["unknown_costs"]:
        facts["cost unknown"] = f"{totals['unknown_costs']} calls"
    print_facts(facts, json_=False)
    if figures["denials"]:
        print("\nrefused")
        size = max(len(escape(row["code"])) for row in figures["denials"])
        for row in figures["denials"]:
            print(f"  {escape(row['code']):<{size}}  {row['count']}")
    if figures["top_models"]:
        print()
        print("\n".join(table(figures["top_models"], _MODELS)))
    if figures["ever"]["calls"]:
        _print_hours(figures["hours"])


def _print_hours(hours: list[dict[str, Any]]) -> None:
    most = max(hour["calls"] for hour in hours)
    bars = "".join(
        _BAR[-(-hour["calls"] * (len(_BAR) - 1) // most) if most else 0] for hour in hours
    )
    first, last = (clock(hours[i]["hour_ns"])[11:16] for i in (0, -1))
    print(f"\ncalls an hour, at most {most}\n  {bars}\n  {first:<{len(hours) - 5}}{last}")
