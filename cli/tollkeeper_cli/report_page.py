"""The HTML page of a report: one file, no script, nothing from elsewhere.

Every drawing stands beside a table of the same figures. Nothing on the page can load or run anything:
its own content policy forbids it, whatever a name might try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from tollkeeper.ledger.overview import CALL_SECONDS, HOLD_SECONDS
from tollkeeper_cli.charts import SERIES, Series, bar, columns
from tollkeeper_cli.markup import Markup, Part, join, tag
from tollkeeper_cli.output import amounts
from tollkeeper_cli.report import MOST_ROWS, account_of, budgets_by_use, rolls_up
from tollkeeper_cli.report_style import STYLE
from tollkeeper_cli.units import dollars, iso, span

type Row = Mapping[str, Any]

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_BASES: Final = {
    "measured": "measured by the provider's own usage",
    "estimated": "estimated from what was seen of answers that broke off",
    "reserved": "booked at the whole reservation, nothing better being known",
}
_SUMMED: Final = ("cost_nano_usd", "estimated_nano_usd", "reserved_nano_usd", "calls")
_HELD: Final = {"approved": 1, "rejected": 2}


def page(figures: Row) -> str:
    """The whole document."""
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"Tollkeeper report, {_period(figures)}"),
        tag("style", Markup(STYLE)),
    )
    sections = [
        _section("time", "Spending over time", *_over_time(figures)),
        _section("models", "By model", _spending(figures["models"], "model")),
        _section("agents", "By agent", _spending(figures["agents"], "agent")),
        _section("budgets", "Budgets", *_budgets(figures)),
        _section("refusals", "Refusals by cause", _refusals(figures["refusals"])),
        _section("holds", "Answers of people", *_holds(figures["holds"])),
        _section("latency", "How long calls took", *_latency(figures["latencies"])),
        _section("teams", "By team", _spending(figures["teams"], "team")),
        _section("runs", "By run", _spending(figures["runs"], "run")),
    ]
    body = join(
        tag("header", tag("p", "Tollkeeper", class_="brand"), tag("h1", "Spending report"),
            tag("p", f"{_period(figures)} ({figures['timezone']})", class_="period")),
        tag("main", _tiles(figures), _basis(figures["total"]), *sections),
        tag("footer", tag("p", f"Made {iso(figures['made_ns'])} from the ledger. Amounts are exact, to the"
                               " nano-dollar; a call counts once, when it was admitted.")),
    )  # fmt: skip
    html = tag("html", tag("head", head), tag("body", body), lang="en")
    return f"<!doctype html>\n{html}\n"


def _period(figures: Row) -> str:
    times = figures["times"]
    if not times:
        return "no calls in this time"
    first, last = times[0][:10], times[-1][:10]
    return first if first == last else f"{first} to {last}"


def _section(anchor: str, title: str, *parts: Part) -> Markup:
    heading = tag("h2", title, id=f"{anchor}-title")
    return tag("section", heading, *parts, id=anchor, aria_labelledby=f"{anchor}-title")


def _nothing(what: str) -> Markup:
    return tag("p", what, class_="nothing")


# ------------------------------------------------------------------------------ at a glance


def _tiles(figures: Row) -> Markup:
    total = figures["total"]
    refused = sum(row["calls"] for row in figures["refusals"])
    held = sum(row["holds"] for row in figures["holds"])
    read = total["cache_read_input_tokens"]
    tiles = [
        ("Spent", rounded(total["cost_nano_usd"]), f"exactly {dollars(total['cost_nano_usd'])}"),
        ("Calls", _count(total["sent"]), "that went out to a provider"),
        ("Tokens", _short(total["input_tokens"] + total["output_tokens"]),
         f"{_short(total['input_tokens'])} in ({_short(read)} from caches), {_short(total['output_tokens'])} out"),
        ("Refused", _count(refused), "before a byte left"),
        ("Held", _count(held), "for a person"),
        ("Reserved now", rounded(total["open_nano_usd"]), "for calls that are open"),
    ]  # fmt: skip
    made = (
        tag("div", tag("dt", name), tag("dd", tag("strong", value), tag("span", note)))
        for name, value, note in tiles
    )
    return tag("dl", *made, class_="tiles")


def _basis(total: Row) -> Markup:
    """How surely the amount is known."""
    whole = total["cost_nano_usd"]
    if not whole:
        return Markup("")
    parts = [(total[f"{name}_nano_usd"], name) for name in _BASES]
    told = [
        tag("li", tag("span", class_=f"key k{name}", aria_hidden="true"), tag("b", dollars(amount)),
            f" {_BASES[name]}")
        for amount, name in parts if amount
    ]  # fmt: skip
    if total["overrun_nano_usd"]:
        over = dollars(total["overrun_nano_usd"])
        told.append(tag("li", tag("b", over), " of it beyond what was reserved (overruns)"))
    if total["unknown_costs"]:
        told.append(
            tag("li", tag("b", _count(total["unknown_costs"])), " calls whose cost is unknown")
        )
    return tag("div", bar(parts, whole), tag("ul", *told, class_="basis"), class_="card slim")


# ----------------------------------------------------------------------------------- charts


def _over_time(figures: Row) -> list[Markup]:
    times, rows = figures["times"], figures["over_time"]
    if not any(row["cost_nano_usd"] for row in rows):
        return [_nothing("Nothing was spent in this time.")]
    of_model: dict[str, int] = {}
    for row in rows:
        of_model[row["model"] or "-"] = of_model.get(row["model"] or "-", 0) + row["cost_nano_usd"]
    named = sorted((m for m in of_model if of_model[m]), key=lambda m: (-of_model[m], m))
    shown = named if len(named) <= SERIES else named[: SERIES - 1]
    others = "" if shown == named else f"{len(named) - len(shown)} others"
    place = {time: n for n, time in enumerate(times)}
    names = [*shown, others] if others else shown
    values = {name: [0] * len(times) for name in names}
    calls, spent = [0] * len(times), [0] * len(times)
    for row in rows:
        at, model = place[row["time"]], row["model"] or "-"
        calls[at] += row["calls"]
        spent[at] += row["cost_nano_usd"]
        if model in shown or row["cost_nano_usd"]:
            values[model if model in shown else others][at] += row["cost_nano_usd"]
    most = max(range(len(times)), key=lambda n: spent[n])
    unit = figures["unit"]
    series = [
        Series(name, values[name], SERIES if name == others else n + 1)
        for n, name in enumerate(names)
    ]
    labels = [time[5:] if unit == "hour" else time for time in times]
    chart = columns(
        labels, series, lambda nano: rounded(round(nano)), title=f"Spending by {unit} and model",
        described=f"{len(times)} columns, at most {dollars(spent[most])} on {times[most]}.",
    )  # fmt: skip
    body = [
        (times[n], _count(calls[n]), amount)
        for n, amount in reversed(list(enumerate(amounts(spent))))
        if calls[n]
    ]
    table = _table([unit, "#calls", "#spent"], body, f"Spending by {unit}", tall=True)
    return [_beside(chart, table)]


def _spending(rows: Sequence[Row], name: str) -> Markup:
    rows = [row for row in rows if row["calls"] or row.get("with_children_nano_usd")]
    if not rows:
        return _nothing("No calls in this time.")
    rolled = rolls_up(rows)
    amount = "with_children_nano_usd" if rolled else "cost_nano_usd"
    largest = max(row[amount] for row in rows)
    shown, rest = rows[:MOST_ROWS], rows[MOST_ROWS:]
    bars = [
        bar([(row["cost_nano_usd"], 1), (row[amount] - row["cost_nano_usd"], "children")], largest)
        for row in shown
    ]
    names: list[Part] = [_name(row, name) for row in shown]
    if rest:
        names.append(f"{len(rest)} more")
        bars.append(Markup(""))
        shown = [*shown, {key: sum(row[key] for row in rest) for key in (*_SUMMED, amount)}]
    unsure = [row["estimated_nano_usd"] + row["reserved_nano_usd"] for row in shown]
    columns_: list[tuple[str, Sequence[Part]]] = [
        (name, names), ("", bars), ("#spent", amounts([row["cost_nano_usd"] for row in shown])),
        ("#with children", amounts([row[amount] for row in shown])),
        ("#not measured", amounts(unsure)), ("#calls", [_count(row["calls"]) for row in shown]),
    ]  # fmt: skip
    kept = [
        (head, cells) for head, cells in columns_
        if (rolled or head != "#with children") and (any(unsure) or head != "#not measured")
    ]  # fmt: skip
    heads, cells = zip(*kept, strict=True)
    keys = _keys(((1, "its own"), ("children", "of its children"))) if rolled else Markup("")
    table = _table(heads, zip(*cells, strict=True), f"Spending by {name}")
    return tag("div", keys, table, class_="card")


def _name(row: Row, name: str) -> Markup:
    under = row.get("provider") if name == "model" else None
    shown = tag("span", row[name] or "-", class_="name")
    return join(shown, tag("small", under)) if under else shown


def _budgets(figures: Row) -> list[Markup]:
    if figures["budgets_unknown"]:
        return [_nothing(f"Unknown: {figures['budgets_unknown']}")]
    limited, used = budgets_by_use(figures["budgets"])
    if not limited:
        return [_nothing("No budget limits anybody.")]
    said = "As they stand now, whatever the period of this report."
    if len(used) < len(limited):
        said += f" {len(limited) - len(used)} of {len(limited)} budgets are untouched."
    note = tag("p", said, class_="note")
    if not used:
        return [tag("div", note, class_="card")]
    shown = used[: 2 * MOST_ROWS]
    bars = []
    for row in shown:
        spent, reserved, limit = account_of(row)
        kind = "over" if spent > limit else "spent"
        lengths = [(spent, kind), (reserved, "held"), (max(0, limit - spent - reserved), "left")]
        bars.append(bar(lengths, max(limit, spent + reserved)))
    whose = [
        join(tag("span", row["subject"], class_="name"), tag("small", row["window"]))
        for row in shown
    ]
    resets = [
        iso(row["resets_ns"])[:16].replace("T", " ") if row["resets_ns"] else "never"
        for row in shown
    ]
    cells = (
        whose, bars, amounts([account_of(row)[2] for row in shown]),
        amounts([row["spent_nano_usd"] for row in shown]),
        amounts([row["reserved_nano_usd"] for row in shown]),
        amounts([row["left_nano_usd"] for row in shown]), resets,
    )  # fmt: skip
    heads = ["whose", "", "#limit", "#spent", "#reserved", "#left", "resets (UTC)"]
    table = _table(heads, zip(*cells, strict=True), "Budgets")
    keys = _keys((("spent", "spent"), ("held", "reserved"), ("left", "left")))
    return [tag("div", note, keys, table, class_="card")]


def _keys(keys: Iterable[tuple[int | str, str]]) -> Markup:
    """What the colours of bars mean."""
    items = (
        tag("li", tag("span", class_=f"key k{key}", aria_hidden="true"), told) for key, told in keys
    )
    return tag("ul", *items, class_="legend")


def _refusals(rows: Sequence[Row]) -> Markup:
    if not rows:
        return _nothing("Nothing was refused.")
    largest = max(row["calls"] for row in rows)
    body = [
        (tag("code", row["code"]), bar([(row["calls"], 2)], largest), _count(row["calls"]))
        for row in rows[:MOST_ROWS]
    ]
    return tag("div", _table(["code", "", "#calls"], body, "Refusals by cause"), class_="card")


def _holds(rows: Sequence[Row]) -> list[Markup]:
    if not rows:
        return [_nothing("No call was held.")]
    body = [
        (row["became"], _count(row["holds"]),
         "-" if row["mean_ms"] is None else span(row["mean_ms"] * 1_000_000))
        for row in rows
    ]  # fmt: skip
    table = _table(["answer", "#held calls", "#on average after"], body, "Held calls by answer")
    answered = [row for row in rows if row["waits"]]
    if not answered:
        return [tag("div", table, class_="card")]
    labels = [f"≤ {_seconds(bound)}" for bound in HOLD_SECONDS] + ["more"]
    used = _used([row["waits"] for row in answered])
    series = [
        Series(row["became"], row["waits"][used], _HELD.get(row["became"], 3)) for row in answered
    ]
    chart = columns(
        labels[used], series, lambda n: _count(round(n)), whole=True,
        title="Held calls by how long the answer took",
        described=f"{sum(row['holds'] for row in answered)} answers.",
    )  # fmt: skip
    return [_beside(chart, table)]


def _latency(rows: Sequence[Row]) -> list[Markup]:
    if not rows:
        return [_nothing("No call was answered whole.")]
    counts = [sum(row["took"][n] for row in rows) for n in range(len(CALL_SECONDS) + 1)]
    labels = [f"≤ {_seconds(bound)}" for bound in CALL_SECONDS] + ["more"]
    used = _used([counts])
    chart = columns(
        labels[used], [Series("calls", counts[used], 1)], lambda n: _count(round(n)), whole=True,
        title="Calls by how long the whole answer took", described=f"{_count(sum(counts))} calls.",
    )  # fmt: skip
    body = [
        (_name(row, "model"), _count(row["calls"]), _at_most(row["half_within_s"]),
         _at_most(row["most_within_s"]))
        for row in rows[:MOST_ROWS]
    ]  # fmt: skip
    heads = ["model", "#calls", "#half within", "#95 % within"]
    return [_beside(chart, _table(heads, body, "How long calls took, by model", tall=True))]


# ----------------------------------------------------------------------------------- pieces


def _used(rows: Sequence[Sequence[int]]) -> slice:
    """From the first place with anything in it to the last."""
    places = [n for row in rows for n, count in enumerate(row) if count]
    return slice(min(places), max(places) + 1)


def _beside(chart: Markup, table: Markup) -> Markup:
    return tag("div", tag("figure", chart), table, class_="card beside")


def _table(
    heads: Sequence[str], body: Iterable[Sequence[Part]], caption: str, *, tall: bool = False
) -> Markup:
    """A table that can be scrolled with the keyboard; ``#`` before a heading aligns to the right."""
    rights = [head.startswith("#") for head in heads]
    titles = (
        tag("th", head.lstrip("#") or tag("span", "bar", class_="unseen"), scope="col",
            class_="right" if right else None)
        for head, right in zip(heads, rights, strict=True)
    )  # fmt: skip
    rows = [
        tag("tr", *(
            tag("th" if n == 0 else "td", cell, scope="row" if n == 0 else None,
                class_="right" if right else "bars" if heads[n] == "" else None)
            for n, (cell, right) in enumerate(zip(cells, rights, strict=True))
        ))
        for cells in body
    ]  # fmt: skip
    table = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", *titles)), tag("tbody", *rows)
    )
    kind = "scroll tall" if tall else "scroll"
    return tag("div", table, class_=kind, tabindex="0", role="region", aria_label=caption)


def rounded(nano: int) -> str:
    """For a glance: cents, or two significant digits of what is less than a cent."""
    decimals = 2 if abs(nano) >= 10_000_000 or nano == 0 else 11 - len(str(abs(nano)))
    amount = Decimal(nano).scaleb(-9).quantize(Decimal(1).scaleb(-min(decimals, 9)), ROUND_HALF_UP)
    whole, _, rest = f"{amount:,f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def _count(number: int) -> str:
    return f"{number:,}"


def _short(number: int) -> str:
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def _seconds(bound: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if bound >= size:
            return f"{bound / size:g} {unit}"
    return f"{bound:g} s"


def _at_most(bound: float | None) -> str:
    return f"over {_seconds(CALL_SECONDS[-1])}" if bound is None else _seconds(bound)
