"""Questions to the ledger that only reports ask; those about the record are in ``records.py``.

The tables are documented in ``tollkeeper/ledger/migrations.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.home import Home
from tollkeeper.ledger.breakdown import SUMS

if TYPE_CHECKING:
    from tollkeeper.domain import Account
    from tollkeeper.ledger.port import Ledger

_TIMEZONE: Final = re.compile(
    r"""^timezone:\s*["']?([A-Za-z0-9_+/-]+)["']?\s*(?:#.*)?$""", re.MULTILINE
)
HOUR_NS: Final = 3600 * NS_PER_SECOND

_OF_A_RUN: Final = f"""
    SELECT run AS id, min(agent) AS agent, count(DISTINCT agent) AS agents,
           count(DISTINCT approval) AS holds, {SUMS},
           sum(state IN ('held', 'forwarded')) AS open,
           min(at_ns) AS first_ns, max(coalesce(settled_ns, at_ns)) AS last_ns
    FROM calls
"""

_AMOUNTS_OF_A_RUN: Final = (
    "calls", "cost_nano_usd", "notional_nano_usd", "booked_nano_usd", "measured_nano_usd", "estimated_nano_usd", "reserved_nano_usd",
    "overrun_nano_usd", "open_nano_usd", "unknown_costs", "refused", "holds", "open", "agents",
    "input_tokens", "output_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What one run came to.

    Attributes:
        calls: Those in the books, refused ones among them.
        notional_nano_usd: What plans paid; it is in no other sum.
        refused: How many of them, by code.
        unread: How many more were refused before they were read, by code; they are in the record alone.
        open_nano_usd: Still reserved by calls that are not settled, as those of a proxy that died.
    """

    calls: int
    not_sent: int
    cost_nano_usd: int
    notional_nano_usd: int
    unknown_costs: int
    refused: dict[str, int]
    unread: dict[str, int]
    holds: int
    open_nano_usd: int


def timezone_of(at: Home) -> str:
    """The policy's, whose calendar windows are; UTC when it names none.

    Read from the text alone, because loading a policy takes longer than all else.
    """
    from tollkeeper_cli.state import policy_path

    path = policy_path(at)
    files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
    for file in files:
        try:
            found = _TIMEZONE.search(file.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        if found and _is_timezone(found[1]):
            return found[1]
    return "UTC"


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    return True


def start_of_day(at: Home, now_ns: int) -> int:
    """When the policy's calendar day began."""
    from tollkeeper.core.budget import window_bounds
    from tollkeeper.domain import Window

    return window_bounds(Window.DAY, now_ns, timezone_of(at))[0]


def _one(ledger: Ledger, sql: str, params: tuple[Any, ...] = ()) -> dict[str, Any]:
    return next(iter(ledger.rows(sql, params)))


def spent_since(ledger: Ledger, since_ns: int) -> int:
    """Nano-USD booked to calls admitted since then; what plans paid is not in it."""
    row = _one(
        ledger,
        "SELECT coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0) AS spent"
        " FROM calls"
        " WHERE booked_ns >= ? AND state = 'settled'",
        (since_ns,),
    )
    return int(row["spent"])


def burn_nano_usd(ledger: Ledger, subject: str, since_ns: int) -> int:
    """Nano-USD that a subject was booked since then."""
    row = _one(
        ledger,
        "SELECT coalesce(sum(amount_nano_usd), 0) AS burnt FROM transfers"
        " WHERE id >= (SELECT min(first) FROM transfer_hours WHERE hour >= ?)"
        " AND subject = ? AND booked_ns >= ? AND kind IN ('post', 'overrun')",
        (since_ns // HOUR_NS, subject, since_ns),
    )
    return int(row["burnt"])


def notional_spent(ledger: Ledger, account: Account) -> int:
    """How much of what an account has spent is notional: plans paid for it, and it counts."""
    row = _one(
        ledger,
        "SELECT coalesce(sum(amount_nano_usd), 0) AS notional FROM transfers"
        " JOIN calls ON calls.id = transfers.call WHERE subject = ?1 AND billing = 'flat_counted'"
        " AND kind IN ('post', 'overrun') AND transfers.booked_ns >= ?2"
        " AND (?3 IS NULL OR transfers.booked_ns < ?3)",
        (account.subject, account.starts_ns, account.resets_ns),
    )
    return int(row["notional"])


def has_notional(ledger: Ledger) -> bool:
    """Whether any plan ever paid for a call."""
    rows = ledger.rows("SELECT 1 FROM calls WHERE billing != 'metered' LIMIT 1")
    return next(iter(rows), None) is not None


def runs(ledger: Ledger, *, agent: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Runs with calls and runs that were started, newest first; those of children among the calls.

    Args:
        agent: Only runs that this agent started or made calls in.
    """
    of_agent = "(SELECT id FROM runs WHERE agent = ? UNION SELECT run FROM calls WHERE agent = ?)"
    made_by, in_run = "", ""
    params: tuple[str, ...] = ()
    if agent:
        made_by, in_run, params = (
            f"WHERE id IN {of_agent}",
            f"WHERE run IN {of_agent}",
            (agent,) * 4,
        )
    amounts = ", ".join(f"coalesce(used.{name}, 0) AS {name}" for name in _AMOUNTS_OF_A_RUN)
    sql = f"""
        WITH made AS (SELECT * FROM runs {made_by}), used AS ({_OF_A_RUN} {in_run} GROUP BY run)
        SELECT every.id AS id, coalesce(made.agent, used.agent) AS agent,
               CASE WHEN made.id IS NULL THEN 'grouped' WHEN made.state != 'active' THEN made.state
                    WHEN made.ended_ns IS NOT NULL THEN 'ended' ELSE made.state END AS state,
               {amounts},
               coalesce(made.created_ns, first_ns) AS started_ns,
               coalesce(made.ended_ns, last_ns) AS last_ns
        FROM (SELECT id FROM made UNION SELECT id FROM used) AS every
        LEFT JOIN made ON made.id = every.id LEFT JOIN used ON used.id = every.id
        ORDER BY started_ns DESC LIMIT ?
    """
    return list(ledger.rows(sql, (*params, limit)))


def run_ids(ledger: Ledger, prefix: str) -> list[str]:
    """Runs whose id begins so, at most nine; the one of exactly this id alone where there is one."""
    rows = ledger.rows(
        "SELECT id FROM runs WHERE substr(id, 1, ?) = ? UNION"
        " SELECT DISTINCT run FROM calls WHERE substr(run, 1, ?) = ? ORDER BY 1 LIMIT 9",
        (len(prefix), prefix, len(prefix), prefix),
    )
    found = [str(row["id"]) for row in rows]
    return [prefix] if prefix in found else found


def is_subject(ledger: Ledger, subject: str) -> bool:
    """Whether there is an agent or a run of this name, or money was ever counted on it."""
    kind, _, name = subject.partition(":")
    of_kind = {
        "agent": "SELECT 1 FROM agents WHERE name = ?2",
        "run": "SELECT 1 FROM runs WHERE id = ?2",
    }
    known = of_kind.get(kind, "SELECT 1 WHERE ?2 IS NULL")
    row = _one(
        ledger,
        f"SELECT EXISTS (SELECT 1 FROM balances WHERE subject = ?1) OR EXISTS ({known}) AS known",
        (subject, name),
    )
    return bool(row["known"])


def run_record(ledger: Ledger, run: str) -> dict[str, Any] | None:
    """The row of a run that somebody started; None for one that only groups."""
    return next(iter(ledger.rows("SELECT * FROM runs WHERE id = ?", (run,))), None)


def calls_of_run(ledger: Ledger, run: str, limit: int = 1000) -> list[dict[str, Any]]:
    """The run's calls, oldest first."""
    sql = """
        SELECT id, at_ns, agent, provider, model, operation, state, effect, codes, outcome, status,
               input_tokens, output_tokens, worst_nano_usd,
               CASE billing WHEN 'metered' THEN cost_nano_usd END AS cost_nano_usd,
               CASE state WHEN 'settled' THEN notional_nano_usd END AS notional_nano_usd,
               billing, basis, approval,
               CASE WHEN settled_ns IS NULL THEN NULL ELSE (settled_ns - at_ns) / 1000000 END
                   AS took_ms
        FROM calls WHERE run = ? ORDER BY at_ns, id LIMIT ?
    """
    return list(ledger.rows(sql, (run, limit)))


def is_under_way(ledger: Ledger, run: str) -> bool:
    """Whether a call of the run is at its provider, or not settled yet."""
    open_calls = "state IN ('held', 'forwarded')"  # as the index of open calls says it
    sql = f"SELECT 1 FROM calls WHERE {open_calls} AND state = 'forwarded' AND run = ? LIMIT 1"
    return next(ledger.rows(sql, (run,)), None) is not None


def summary_of_run(ledger: Ledger, run: str) -> RunSummary:
    """What the books and the record say of one run."""
    row = _one(
        ledger,
        "SELECT count(*) AS calls, sum(state = 'settled' AND outcome = 'not_sent') AS not_sent,"
        " coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0) AS cost,"
        " coalesce(sum(CASE state WHEN 'settled' THEN notional_nano_usd END), 0) AS notional,"
        " coalesce(sum(CASE state WHEN 'forwarded' THEN worst_nano_usd END), 0) AS open,"
        " (SELECT count(*) FROM approvals WHERE run = ?) AS holds,"
        " sum(state = 'settled' AND cost_nano_usd IS NULL AND model_key != '') AS unknown"
        " FROM calls WHERE run = ?",
        (run, run),
    )
    refused = _by_code(
        ledger,
        "SELECT json_extract(codes, '$[0]') AS code FROM calls WHERE run = ? AND state = 'refused'",
        (run,),
    )
    # Nothing finds a run in the record quickly: from the first record on that the run can have.
    unread = _by_code(
        ledger,
        "SELECT json_extract(data, '$.code') AS code FROM audit WHERE kind = 'refused' AND call IS NULL"
        " AND at_ns >= coalesce((SELECT created_ns FROM runs WHERE id = ?), 0)"
        " AND json_valid(data) AND json_extract(data, '$.run') = ?",
        (run, run),
    )
    return RunSummary(
        row["calls"], row["not_sent"] or 0, row["cost"], row["notional"],
        row["unknown"] or 0, refused, unread, row["holds"], row["open"],
    )  # fmt: skip


def _by_code(ledger: Ledger, codes: str, params: Sequence[str]) -> dict[str, int]:
    sql = f"SELECT code, count(*) AS count FROM ({codes}) GROUP BY code ORDER BY count DESC, code"
    return {str(row["code"]): int(row["count"]) for row in ledger.rows(sql, params)}


def calls_by_agent(ledger: Ledger, *, since_ns: int = 0) -> dict[str, dict[str, Any]]:
    """Calls, cost and last call of each agent, the dearest first; booked since then.

    ``booked_nano_usd`` is what counts on budgets: the cost, and what of notional costs counts.
    """
    sql = """
        SELECT agent, count(*) AS calls,
               coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0) AS cost_nano_usd,
               coalesce(sum(CASE state WHEN 'settled' THEN notional_nano_usd END), 0)
                   AS notional_nano_usd,
               coalesce(sum(cost_nano_usd), 0) AS booked_nano_usd,
               max(at_ns) AS last_ns FROM calls WHERE booked_ns >= ?
        GROUP BY agent ORDER BY cost_nano_usd DESC, notional_nano_usd DESC, agent
    """
    return {row["agent"]: row for row in ledger.rows(sql, (since_ns,))}


def made_by_agents(ledger: Ledger) -> frozenset[str]:
    """Agents that other agents made."""
    rows = ledger.rows("SELECT DISTINCT agent FROM tokens WHERE minted_by IS NOT NULL")
    return frozenset(str(row["agent"]) for row in rows)


# ----------------------------------------------------------------------------------- figures


def totals(ledger: Ledger, since_ns: int) -> dict[str, Any]:
    """Sums over calls asked for since then."""
    return _one(
        ledger,
        """
        SELECT count(*) AS calls,
               coalesce(sum(state = 'settled'), 0) AS settled,
               coalesce(sum(state = 'refused'), 0) AS refused,
               coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0)
                   AS spent_nano_usd,
               coalesce(sum(CASE state WHEN 'settled' THEN notional_nano_usd END), 0)
                   AS notional_nano_usd,
               coalesce(sum(input_tokens), 0) AS input_tokens,
               coalesce(sum(output_tokens), 0) AS output_tokens,
               coalesce(sum(cache_read_input_tokens), 0) AS cache_read_input_tokens,
               coalesce(sum(state = 'settled' AND cost_nano_usd IS NULL AND model_key != ''), 0)
                   AS unknown_costs
        FROM calls WHERE at_ns >= ?
        """,
        (since_ns,),
    )


def now(ledger: Ledger) -> dict[str, Any]:
    """What is open at this moment."""
    return _one(
        ledger,
        """
        SELECT coalesce(sum(state = 'forwarded'), 0) AS in_flight,
               coalesce(sum(state = 'held'), 0) AS waiting,
               coalesce(sum(worst_nano_usd), 0) AS reserved_nano_usd
        FROM calls WHERE state IN ('held', 'forwarded')
        """,
    )


def denials(ledger: Ledger, since_ns: int) -> list[dict[str, Any]]:
    """Refusals by their first code."""
    sql = """
        SELECT json_extract(codes, '$[0]') AS code, count(*) AS count FROM calls
        WHERE state = 'refused' AND at_ns >= ? GROUP BY code ORDER BY count DESC, code
    """
    return list(ledger.rows(sql, (since_ns,)))


def top_models(ledger: Ledger, since_ns: int, limit: int) -> list[dict[str, Any]]:
    """The dearest models."""
    sql = """
        SELECT provider, model, count(*) AS calls,
               coalesce(sum(input_tokens), 0) AS input_tokens,
               coalesce(sum(output_tokens), 0) AS output_tokens,
               coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0)
                   AS cost_nano_usd,
               coalesce(sum(CASE state WHEN 'settled' THEN notional_nano_usd END), 0)
                   AS notional_nano_usd
        FROM calls WHERE at_ns >= ? AND state = 'settled' AND model IS NOT NULL
        GROUP BY provider, model ORDER BY cost_nano_usd DESC, calls DESC LIMIT ?
    """
    return list(ledger.rows(sql, (since_ns, limit)))


def by_hour(ledger: Ledger, now_ns: int, hours: int = 24) -> list[dict[str, Any]]:
    """Calls and cost of each of the last hours, oldest first, empty ones too."""
    first = now_ns // HOUR_NS - hours + 1
    found = {
        int(row["hour"]): row
        for row in ledger.rows(
            "SELECT at_ns / ? AS hour, count(*) AS calls, sum(state = 'refused') AS refused,"
            " coalesce(sum(CASE billing WHEN 'metered' THEN cost_nano_usd END), 0)"
            " AS cost_nano_usd FROM calls WHERE at_ns >= ? GROUP BY hour",
            (HOUR_NS, first * HOUR_NS),
        )
    }
    empty = {"calls": 0, "refused": 0, "cost_nano_usd": 0}
    return [
        {"hour_ns": hour * HOUR_NS, **{key: found.get(hour, empty)[key] for key in empty}}
        for hour in range(first, first + hours)
    ]
