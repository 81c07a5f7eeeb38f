"""A report in the terminal: the same figures in tables, bars and one line over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tollkeeper_cli.output import Column, paint, print_facts, print_rows, say
from tollkeeper_cli.report import account_of, budgets_by_use, rolls_up
from tollkeeper_cli.spent import BASIS, seldom
from tollkeeper_cli.units import dollars

type Row = Mapping[str, Any]

_STEPS: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_BAR: Final = 16
_MOST_COLUMNS: Final = 60
_MOST_ROWS: Final = 10


def print_report(figures: Row) -> None:
    """All of it, on standard output."""
    total, times = figures["total"], figures["times"]
    refused, held = (sum(row[key] for row in figures[name])
                     for name, key in (("refusals", "calls"), ("holds", "holds")))  # fmt: skip
    if not times and not refused and not held:
        say("No calls in this time.")
    else:
        facts = {
            **_period(figures),
            "spent": dollars(total["cost_nano_usd"]), **_unsure(total),
            "calls": f"{total['sent']} sent, {refused} refused, {held} held",
            "tokens": f"{total['input_tokens']} in, {total['output_tokens']} out",
        }  # fmt: skip
        print_facts(facts, json_=False)
        _over_time(figures)
        for title, name in (
            ("models", "model"),
            ("agents", "agent"),
            ("teams", "team"),
            ("runs", "run"),
        ):
            _spending(figures[title], name)
    _counts("refused", figures["refusals"], "code", "calls")
    _counts("held calls", figures["holds"], "became", "holds")
    _latency(figures["latencies"])
    _budgets(figures)


def _period(figures: Row) -> dict[str, str]:
    """From the first hour or day with calls to the last."""
    times = figures["times"]
    if len(times) == 1:
        return {figures["unit"]: times[0]}
    return {"from": times[0], "to": times[-1]} if times else {}


def _unsure(total: Row) -> dict[str, str]:
    parts = [(column.title, total[column.key]) for column in BASIS]
    told = {title: dollars(amount) for title, amount in parts if amount}
    told = {} if list(told) == ["measured"] else told
    if total["unknown_costs"]:
        told["cost unknown"] = f"{total['unknown_costs']} calls"
    return told


def _heading(title: str) -> None:
    print(f"\n{paint(title, '1')}")


def sparkline(values: Sequence[float]) -> str:
    """A line of blocks, each as high as its value; what is not 0 is seen."""
    most = max(values, default=0)
    return "".join(
        _STEPS[-int(-value * (len(_STEPS) - 1) // most)] if most else _STEPS[0] for value in values
    )


def gauge(value: float, most: float, width: int = _BAR) -> str:
    """A bar in eighths of a character; what is not 0 is seen."""
    eighths = -int(-value * width * 8 // most) if most > 0 else 0
    eighths = min(eighths, width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip() or " "


def _over_time(figures: Row) -> None:
    spent = dict.fromkeys(figures["times"], 0)
    for row in figures["over_time"]:
        spent[row["time"]] += row["cost_nano_usd"]
    values = list(spent.values())
    wide = -(-len(values) // _MOST_COLUMNS)
    sums = [sum(values[n : n + wide]) for n in range(0, len(values), wide)] if wide else []
    if len(sums) < 2:
        return
    unit = figures["unit"] if wide == 1 else f"{wide} {figures['unit']}s"
    _heading(f"spent, each {unit}, at most {dollars(max(sums))}")
    print(f"  {sparkline(sums)}")
    first, last = figures["times"][0], figures["times"][-1]
    print(f"  {first}{last.rjust(max(len(sums) - len(first), len(last) + 1))}")


def _spending(rows: Sequence[Row], name: str) -> None:
    rows = [row for row in rows if row["calls"] or row.get("with_children_nano_usd")]
    if not rows or (len(rows) == 1 and rows[0][name] is None):
        return
    rolled = rolls_up(rows)
    amount = "with_children_nano_usd" if rolled else "cost_nano_usd"
    most = max(row[amount] for row in rows)
    shown = [{**row, "bar": gauge(row[amount], most)} for row in rows[:_MOST_ROWS]]
    sums = [
        Column("cost_nano_usd", "spent"),
        *([Column("with_children_nano_usd", "with children")] if rolled else []), *BASIS[1:], Column("calls", "calls"),
    ]  # fmt: skip
    print()
    print_rows(shown, [Column(name, name), Column("bar", ""), *seldom(shown, sums)], json_=False)
    if len(rows) > len(shown):
        print(f"and {len(rows) - len(shown)} more")


def _counts(title: str, rows: Sequence[Row], name: str, count: str) -> None:
    if not rows:
        return
    most = max(row[count] for row in rows)
    shown = [{**row, "bar": gauge(row[count], most)} for row in rows[:_MOST_ROWS]]
    print()
    print_rows(shown, [Column(name, title), Column("bar", ""), Column(count, "calls")], json_=False)


def _latency(rows: Sequence[Row]) -> None:
    if not rows:
        return
    shown = [
        {"model": row["model"], "calls": row["calls"], "half": _within(row["half_within_s"]),
         "most": _within(row["most_within_s"])}
        for row in rows[:_MOST_ROWS]
    ]  # fmt: skip
    print()
    heads = [Column("model", "how long"), Column("calls", "calls"),
             Column("half", "half within", right=True), Column("most", "95 % within", right=True)]  # fmt: skip
    print_rows(shown, heads, json_=False)


def _within(bound: float | None) -> str:
    return "longer" if bound is None else f"{bound:g} s"


def _budgets(figures: Row) -> None:
    if figures["budgets_unknown"]:
        say(f"Budgets are unknown: {figures['budgets_unknown']}")
    limited, used = budgets_by_use(figures["budgets"])
    if used:
        shown = []
        for row in used:
            spent, reserved, limit = account_of(row)
            shown.append({**row, "allowed_nano_usd": limit, "bar": gauge(spent + reserved, limit)})
        heads = [
            Column("subject", "budget"), Column("window", "window"), Column("bar", ""),
            Column("allowed_nano_usd", "limit"), Column("spent_nano_usd", "spent"),
            Column("reserved_nano_usd", "reserved"), Column("left_nano_usd", "left"),
        ]  # fmt: skip
        print()
        print_rows(shown, heads, json_=False)
    if len(used) < len(limited):
        print(f"\n{len(limited) - len(used)} of {len(limited)} budgets are untouched.")
