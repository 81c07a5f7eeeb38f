"""What was spent, by whatever calls differ in, with the basis of every amount.

Every call counts once, in the window of its admission, so the rows of a breakdown add up to its total
and the total to what the accounts say. What counts on an account (its own calls and those of all
below it) is told by the call's reservation, which names every subject, and not by who is whose child
today.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tollkeeper.core.budget import offsets
from tollkeeper.ledger.port import Ledger

_COUNTED: Final = (
    "FROM transfers AS counted WHERE counted.id >= calls.reservation"
    " AND counted.id < calls.reservation + calls.subjects"
)
"""The pending transfers of a call, one for each subject: consecutive ids, so no index is needed."""

_PLAIN: Final = {
    "agent": "calls.agent",
    "run": "calls.run",
    "provider": "calls.provider",
    "model": "calls.model",
    "operation": "calls.operation",
    "basis": "calls.basis",
    "outcome": "calls.outcome",
    "state": "calls.state",
    "team": "coalesce(calls.team, (SELECT substr(counted.subject, 6)"
    f" {_COUNTED} AND counted.subject GLOB 'team:*' ORDER BY counted.id LIMIT 1))",
}
_FORMATS: Final = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}

DIMENSIONS: Final = (*_PLAIN, *_FORMATS)
"""What a breakdown may be by. A child's team is that of the nearest agent above that has one."""

BASES: Final = ("measured", "estimated", "reserved")

_OF_BASIS: Final = ", ".join(
    f"coalesce(sum(CASE WHEN basis = '{one}' AND billing = 'metered' THEN cost_nano_usd END), 0)"
    f" AS {one}_nano_usd"
    for one in BASES
)
SUMS: Final = f"""
    count(*) AS calls, coalesce(sum(state = 'refused'), 0) AS refused,
    coalesce(sum(state = 'forwarded' OR (state = 'settled' AND outcome != 'not_sent')), 0) AS sent,
    coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0) AS cost_nano_usd,
    coalesce(sum(CASE state WHEN 'settled' THEN notional_nano_usd END), 0) AS notional_nano_usd,
    coalesce(sum(cost_nano_usd), 0) AS booked_nano_usd, {_OF_BASIS},
    coalesce(sum(CASE WHEN cost_nano_usd > worst_nano_usd
        THEN cost_nano_usd - worst_nano_usd END), 0) AS overrun_nano_usd,
    coalesce(sum(CASE WHEN state IN ('held', 'forwarded') THEN worst_nano_usd END), 0)
        AS open_nano_usd,
    coalesce(sum(state = 'settled' AND cost_nano_usd IS NULL AND model_key != ''), 0)
        AS unknown_costs,
    coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens,
    coalesce(sum(cache_read_input_tokens), 0) AS cache_read_input_tokens
"""
"""Of some calls: the cost is measured + estimated + reserved (booked whole, because nothing better is
known); the overrun is the part of it beyond what was reserved; open is what is reserved now. What
plans pay is notional and in no other sum but in what is booked on accounts, as far as it counts."""

AMOUNTS: Final = (
    "calls", "refused", "sent", "cost_nano_usd", "notional_nano_usd", "booked_nano_usd", "measured_nano_usd", "estimated_nano_usd",
    "reserved_nano_usd", "overrun_nano_usd", "open_nano_usd", "unknown_costs", "input_tokens",
    "output_tokens", "cache_read_input_tokens",
)  # fmt: skip
"""The names of the sums, in their order."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which calls, and by what.

    Attributes:
        by: Names of ``DIMENSIONS``.
        since_ns: Admitted then or later; None from the first on.
        until_ns: Admitted before; None to the last.
        subject: Only calls that count on this account: ``agent:…``, ``team:…`` or ``run:…``.
        run: Only calls of this run, started or only grouped.
        timezone: Whose days and hours.
    """

    by: Sequence[str] = ()
    since_ns: int | None = None
    until_ns: int | None = None
    subject: str | None = None
    run: str | None = None
    timezone: str = "UTC"


def total(ledger: Ledger, asked: Asked) -> dict[str, Any]:
    """The sums over all of these calls."""
    where, params = _where(asked)
    return next(ledger.rows(f"SELECT {SUMS} FROM calls WHERE {where}", params))


def breakdown(ledger: Ledger, asked: Asked) -> list[dict[str, Any]]:
    """A row for each combination that has calls: its dimensions, then the sums; the dearest first.

    By time, rows are in the order of time. By agent, and where some agent has a parent, rows say
    ``with_children_nano_usd`` too: what counts on the agent's account, its own and that of all below.
    """
    where, params = _where(asked)
    columns = _columns(ledger, asked)
    names = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    places = ", ".join(str(n + 1) for n in range(len(columns)))
    times = [str(n + 1) for n, name in enumerate(columns) if name in _FORMATS]
    order = ", ".join([*times, "cost_nano_usd DESC", "calls DESC", places])
    sql = f"SELECT {names}, {SUMS} FROM calls WHERE {where} GROUP BY {places} ORDER BY {order}"
    rows = list(ledger.rows(sql, params))
    if "agent" in columns and _has_children(ledger):
        return _rolled_up(ledger, asked, columns, rows)
    return rows


def summed(rows: Iterable[Mapping[str, Any]], by: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a breakdown by fewer dimensions, the dearest first: as asking again, without the wait."""
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        key = tuple(row[name] for name in by)
        found.setdefault(key, Counter()).update({name: row[name] for name in AMOUNTS})
    made = [{**dict(zip(by, key, strict=True)), **sums} for key, sums in found.items()]
    return sorted(made, key=lambda row: (-row["cost_nano_usd"], -row["calls"]))


def _rolled_up(
    ledger: Ledger, asked: Asked, columns: dict[str, str], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows, and what stands on the accounts of their agents; parents without own calls too."""
    where, params = _where(asked)
    account = columns | {"agent": "substr(owner.subject, 7)"}
    names = ", ".join(f"{sql} AS {name}" for name, sql in account.items())
    places = ", ".join(str(n + 1) for n in range(len(account)))
    sql = (
        f"SELECT {names}, coalesce(sum(cost_nano_usd), 0) AS with_children_nano_usd FROM calls"
        " JOIN transfers AS owner ON owner.id >= calls.reservation"
        " AND owner.id < calls.reservation + calls.subjects AND owner.subject GLOB 'agent:*'"
        f" WHERE {where} GROUP BY {places}"
    )
    by_key = {tuple(row[name] for name in columns): row for row in rows}
    nothing = dict.fromkeys(AMOUNTS, 0)
    for counted in ledger.rows(sql, params):
        key = tuple(counted[name] for name in columns)
        if key not in by_key:
            by_key[key] = {**dict(zip(columns, key, strict=True)), **nothing}
        by_key[key]["with_children_nano_usd"] = counted["with_children_nano_usd"]
    times = [name for name in columns if name in _FORMATS]
    for row in by_key.values():
        row.setdefault("with_children_nano_usd", row["booked_nano_usd"])
    return sorted(
        by_key.values(),
        key=lambda row: ([row[name] for name in times], -row["with_children_nano_usd"]),
    )


def _has_children(ledger: Ledger) -> bool:
    rows = ledger.rows("SELECT EXISTS (SELECT 1 FROM agents WHERE parent IS NOT NULL) AS some")
    return bool(next(rows)["some"])


def _where(asked: Asked) -> tuple[str, list[Any]]:
    conditions = {
        "calls.booked_ns >= ?": asked.since_ns,
        "calls.booked_ns < ?": asked.until_ns,
        "calls.run = ?": asked.run,
        f"EXISTS (SELECT 1 {_COUNTED} AND counted.subject = ?)": asked.subject,
    }
    known = {sql: value for sql, value in conditions.items() if value is not None}
    return " AND ".join(known) or "true", list(known.values())


def _columns(ledger: Ledger, asked: Asked) -> dict[str, str]:
    """The SQL of each dimension that is asked for."""
    found = {}
    for name in asked.by:
        if name in _FORMATS:
            seconds = f"{local_time(ledger, asked.timezone)} / 1000000000"
            found[name] = f"strftime('{_FORMATS[name]}', {seconds}, 'unixepoch')"
        else:
            found[name] = _PLAIN[name]
    return found


def local_time(ledger: Ledger, timezone: str) -> str:
    """SQL of when a call was admitted, in nanoseconds of the zone's own clocks.

    SQLite knows no zones; each change of the clocks between the first call and the last is a branch.
    """
    row = next(ledger.rows("SELECT min(booked_ns) AS first, max(booked_ns) AS last FROM calls"))
    if timezone == "UTC" or row["first"] is None:
        return "calls.booked_ns"
    (_, first), *changes = offsets(timezone, row["first"], row["last"])
    branches = "".join(
        f" WHEN calls.booked_ns >= {since_ns} THEN {offset}"
        for since_ns, offset in reversed(changes)
    )
    offset = f"CASE{branches} ELSE {first} END" if branches else str(first)
    return f"(calls.booked_ns + {offset})"
