"""What providers keep: whose calls made it, and the answers that are still to be asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tollkeeper.domain import (
    NS_PER_SECOND,
    Basis,
    Billing,
    Call,
    Dialect,
    Kept,
    Outcome,
    Settlement,
)
from tollkeeper.ledger.calls import find
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.journal import Journal
from tollkeeper.ledger.settling import resolve

KEPT_NS = 30 * 24 * 3600 * NS_PER_SECOND
"""How long an object may be named after it was last seen: as long as OpenAI keeps a response.

Source: https://platform.openai.com/docs/guides/your-data
"""

MOST_KEPT = 10_000
"""Objects of one agent; the oldest are forgotten first."""

ENDED_NS = 24 * 3600 * NS_PER_SECOND
"""How long after its end a cache is still known, should clocks differ."""

AWAITED_NS = 24 * 3600 * NS_PER_SECOND
"""How long a background call may stay unsettled after it was last asked for. Its provider keeps the
answer for about ten minutes, and works on the longest for less than an hour.

Source: https://platform.openai.com/docs/guides/background
"""


class Awaited(NamedTuple):
    """A background call that was forwarded and whose answer has not been seen.

    Attributes:
        asked: What of it prices its answer: provider, model, service tier, features, deployment.
        worst_nano_usd: What it may cost at most, whoever pays; 0 where no price is known.
    """

    call: str
    asked: Call
    admitted_ns: int
    billing: Billing
    reserve_nano_usd: int
    worst_nano_usd: int


class Objects(Journal):
    """The part of the ledger that is about what providers keep."""

    def remember(self, agent: str, provider: str, ids: Iterable[str], now_ns: int) -> None:
        """These were made by calls of this agent. What another agent's calls made stays theirs."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO objects VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET at_ns = excluded.at_ns WHERE agent = excluded.agent",
                [(provider, one, agent, now_ns) for one in ids],
            )

    def remember_cache(self, provider: str, kept: Kept) -> None:
        """What a provider says of a cache; the time that is booked never gets shorter."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO caches VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " until_ns = max(until_ns, excluded.until_ns)",
                (provider, kept.id, kept.model, kept.tokens, kept.until_ns),
            )

    def cache(self, provider: str, cache: str) -> Kept | None:
        """What is known of a cache, or None."""
        rows = self._read(
            "SELECT id, model, tokens, until_ns FROM caches WHERE provider = ? AND id = ?",
            (provider, cache),
        )
        return next((Kept(*row) for row in rows), None)

    def await_answer(self, call: str, response: str, asked: Call, now_ns: int) -> None:
        """Keep the reservation of a call open that goes on behind its answer; again to go on longer."""
        features = " ".join(sorted(asked.features))
        known = (asked.model or "", asked.service_tier, features, asked.deployment)
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO awaited VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET until_ns = excluded.until_ns WHERE call = excluded.call",
                (call, asked.provider, response, *known, now_ns + AWAITED_NS),
            )

    def awaited(self, provider: str, response: str) -> Awaited | None:
        """The unsettled call that this response answers, or None."""
        rows = self._read(
            "SELECT calls.id, calls.operation, awaited.model, awaited.service_tier, awaited.features,"
            " awaited.deployment, calls.booked_ns, calls.billing, calls.worst_nano_usd,"
            " calls.notional_nano_usd"
            " FROM awaited JOIN calls ON calls.id = awaited.call"
            " WHERE provider_name = ? AND response = ? AND calls.state = 'forwarded'",
            (provider, response),
        )
        for call, operation, model, tier, features, deployment, admitted_ns, *money in rows:
            billing, reserve, notional = money
            asked = Call(
                provider=provider,
                dialect=Dialect.OPENAI_RESPONSES,
                operation=operation,
                metered=True,
                model=model,
                service_tier=tier,
                features=frozenset(features.split()),
                deployment=deployment,
            )
            worst = reserve if notional is None else notional
            return Awaited(call, asked, admitted_ns, Billing(billing), reserve, worst)
        return None

    def give_up_awaited(self, now_ns: int) -> int:
        """Book whole what nobody has asked for in ``AWAITED_NS``. How many."""
        with self.transaction() as connection:
            overdue = connection.execute(
                "SELECT call FROM awaited WHERE until_ns <= ?", (now_ns,)
            ).fetchall()
            given_up = 0
            for (call,) in overdue:
                found = find(connection, call)
                if found is not None and found.state == "forwarded":
                    note = "Nobody has asked for its answer in time."
                    whole = found.whole_nano_usd
                    made = Settlement(Outcome.CUT, Basis.RESERVED, whole, note=note)
                    resolve(connection, found, made, now_ns, actor="tollkeeper")
                    given_up += 1
            connection.execute(
                "DELETE FROM awaited WHERE until_ns <= ? OR call NOT IN"
                " (SELECT id FROM calls WHERE state = 'forwarded')",
                (now_ns,),
            )
        return given_up


def own_objects(
    connection: Connection, agent: str, provider: str, ids: Sequence[str]
) -> frozenset[str]:
    """Those of these that calls of the agent, or of one below it, have made."""
    if not ids:
        return frozenset()
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(
        "WITH RECURSIVE below(name) AS (SELECT ? UNION SELECT agents.name FROM agents"
        " JOIN below ON agents.parent = below.name)"
        f" SELECT id FROM objects WHERE provider = ? AND id IN ({marks})"
        " AND agent IN (SELECT name FROM below)",
        (agent, provider, *ids),
    )
    return frozenset(row[0] for row in rows)


def forget(connection: Connection, now_ns: int) -> None:
    """Drop what is too old, and of each agent the oldest beyond ``MOST_KEPT``."""
    connection.execute("DELETE FROM objects WHERE at_ns <= ?", (now_ns - KEPT_NS,))
    connection.execute("DELETE FROM caches WHERE until_ns <= ?", (now_ns - ENDED_NS,))
    connection.execute(
        "DELETE FROM caches WHERE (provider, id) IN"
        " (SELECT provider, id FROM caches ORDER BY until_ns DESC, id LIMIT -1 OFFSET ?)",
        (MOST_KEPT,),
    )
    connection.execute(
        "DELETE FROM objects WHERE (provider, id) IN (SELECT provider, id FROM (SELECT provider, id,"
        " row_number() OVER (PARTITION BY agent ORDER BY at_ns DESC, id) AS place FROM objects)"
        " WHERE place > ?)",
        (MOST_KEPT,),
    )
