"""Agents, their tokens and their runs; who stands where at this moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tollkeeper.core.delegation import MOST_GENERATIONS
from tollkeeper.core.snapshot import AgentRecord, RunRecord, Standing, TokenRecord
from tollkeeper.domain import Limits, Principal
from tollkeeper.errors import UsageError
from tollkeeper.ledger.chain import canonical
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.journal import Journal, append
from tollkeeper.ledger.records import (
    AGENT_COLUMNS,
    RUN_COLUMNS,
    TOKEN_COLUMNS,
    agent_from_row,
    limits_to_json,
    limits_to_plain,
    run_from_row,
    token_from_row,
)

_DEEPEST = 32  # ends the walk to the root should a parent ever be its own descendant

_LINEAGE = f"""
    WITH RECURSIVE lineage(depth, {AGENT_COLUMNS}) AS (
        SELECT 1, {AGENT_COLUMNS} FROM agents WHERE name = ?
        UNION ALL
        SELECT depth + 1, a.name, a.state, a.parent, a.limits, a.created_ns
        FROM agents AS a JOIN lineage ON a.name = lineage.parent WHERE depth < {_DEEPEST}
    )
    SELECT {AGENT_COLUMNS} FROM lineage ORDER BY depth
"""

_DESCENDANTS = """
    WITH RECURSIVE family(name) AS (
        VALUES (?) UNION SELECT a.name FROM agents AS a JOIN family ON a.parent = family.name
    )
    SELECT name FROM family
"""


class Identities(Journal):
    """The part of the ledger that knows who is who."""

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction after which nobody's standing is known any more."""
        with self.transaction() as connection:
            try:
                yield connection
            finally:
                connection.known.clear()

    @staticmethod
    def _standing_now(connection: Connection, principal: Principal) -> Standing:
        """The standing in the open write transaction; what changes one goes through ``_changing``."""
        known: Standing | None = connection.known.get(principal)
        return known or connection.keep(principal, standing(connection, principal))

    def identify(self, agent: str, token_sha256: str) -> TokenRecord | None:
        """The token with this hash if it is this agent's, whatever its state."""
        rows = self._read(
            f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE sha256 = ? AND agent = ?",
            (token_sha256, agent),
        )
        return token_from_row(rows[0]) if rows else None

    def standing(self, principal: Principal) -> Standing:
        """The caller's lineage, token and minted run as they are now."""
        with self._lock, self._translated():
            return standing(self._connection, principal)

    def create_agent(self, record: AgentRecord, by: str) -> None:
        """Add an agent; the name of a deleted one may be used again and keeps its accounts.

        Raises:
            UsageError: When there is one of this name, no such parent, or no deeper child allowed.
        """
        with self._changing() as connection:
            known = agent_state(connection, record.name)
            if known not in (None, "deleted"):
                raise UsageError(f"There is an agent {record.name!r} already.")
            if record.parent is not None:
                if agent_state(connection, record.parent) in (None, "deleted"):
                    raise UsageError(f"There is no agent {record.parent!r} to be the parent.")
                if record.parent in _family(connection, record.name):
                    raise UsageError(f"{record.parent!r} descends from {record.name!r}.")
                above = connection.execute(_LINEAGE, (record.parent,)).fetchall()
                if len(above) >= MOST_GENERATIONS:
                    raise UsageError(
                        f"{record.parent!r} is the last of {MOST_GENERATIONS} generations: a lineage"
                        " goes no deeper."
                    )
            insert_agent(connection, record)
            data = {
                "agent": record.name,
                "parent": record.parent,
                "limits": limits_to_plain(record.limits),
            }
            append(connection, "agent_created", by, None, data, record.created_ns)

    def set_agent_state(self, name: str, state: str, now_ns: int, by: str) -> None:
        """Set ``active``, ``paused`` or ``deleted``; deletion takes descendants and tokens along.

        Raises:
            UsageError: When there is no such agent or state.
        """
        if state not in ("active", "paused", "deleted"):
            raise UsageError(f"An agent is active, paused or deleted, not {state!r}.")
        with self._changing() as connection:
            _demand_agent(connection, name)
            names = _family(connection, name) if state == "deleted" else [name]
            for member in names:
                connection.execute("UPDATE agents SET state = ? WHERE name = ?", (state, member))
                if state == "deleted":
                    revoke(connection, "agent = ?", (member,), now_ns)
            data = {"agent": name, "state": state, "with": [n for n in names if n != name]}
            append(connection, "agent_state", by, None, data, now_ns)

    def set_agent_limits(self, name: str, limits: Limits, now_ns: int, by: str) -> None:
        """Put these limits in the place of those that the agent was created with.

        Raises:
            UsageError: When there is no such agent.
        """
        with self._changing() as connection:
            _demand_agent(connection, name)
            connection.execute(
                "UPDATE agents SET limits = ? WHERE name = ?", (limits_to_json(limits), name)
            )
            data = {"agent": name, "limits": limits_to_plain(limits)}
            append(connection, "agent_limits", by, None, data, now_ns)

    def agents(self) -> list[AgentRecord]:
        """All, by name, the deleted ones too."""
        rows = self._read(f"SELECT {AGENT_COLUMNS} FROM agents ORDER BY name")
        return [agent_from_row(row) for row in rows]

    def add_token(self, token: TokenRecord, sha256: str, by: str) -> None:
        """Add a token by the hash of its text.

        Raises:
            UsageError: When there is no such agent or run, or the token is there already.
        """
        with self._changing() as connection:
            _demand_agent(connection, token.agent)
            if token.run is not None:
                _demand_run(connection, token.run)
            try:
                insert_token(connection, token, sha256)
            except sqlite3.IntegrityError as e:
                raise UsageError(f"There is a token {token.id!r} already.") from e
            data = {"agent": token.agent, "token": token.id, "run": token.run,
                    "expires_ns": token.expires_ns}  # fmt: skip
            append(connection, "token_added", by, None, data, token.created_ns)

    def revoke_tokens(self, agent: str, now_ns: int, by: str, *, keep: str | None = None) -> int:
        """Revoke the agent's tokens but the one named, and what they minted; see the port."""
        with self._changing() as connection:
            revoked = revoke(connection, "agent = ? AND id IS NOT ?", (agent, keep), now_ns)
            if revoked:
                data = {"agent": agent, "tokens": revoked}
                append(connection, "tokens_revoked", by, None, data, now_ns)
            return len(revoked)

    def tokens(self, agent: str) -> list[TokenRecord]:
        """The agent's tokens, oldest first, whatever their state."""
        rows = self._read(
            f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE agent = ? ORDER BY created_ns, id", (agent,)
        )
        return [token_from_row(row) for row in rows]

    def add_run(self, record: RunRecord, by: str) -> None:
        """Add a run that somebody starts.

        Raises:
            UsageError: When there is no such agent, or a run of this id.
        """
        with self._changing() as connection:
            _demand_agent(connection, record.agent)
            try:
                connection.execute(
                    f"INSERT INTO runs ({RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (record.id, record.agent, record.state, limits_to_json(record.limits),
                     canonical(dict(record.about)), record.created_ns, record.ended_ns),
                )  # fmt: skip
            except sqlite3.IntegrityError as e:
                raise UsageError(f"There is a run {record.id!r} already.") from e
            data = {"run": record.id, "agent": record.agent, "about": dict(record.about),
                    "limits": limits_to_plain(record.limits)}  # fmt: skip
            append(connection, "run_added", by, None, data, record.created_ns)

    def set_run_state(self, run: str, state: str, now_ns: int, by: str) -> None:
        """Set ``active``, ``paused`` or ``stopped``.

        Raises:
            UsageError: When there is no such run or state.
        """
        if state not in ("active", "paused", "stopped"):
            raise UsageError(f"A run is active, paused or stopped, not {state!r}.")
        with self._changing() as connection:
            _demand_run(connection, run)
            connection.execute("UPDATE runs SET state = ? WHERE id = ?", (state, run))
            append(connection, "run_state", by, None, {"run": run, "state": state}, now_ns)

    def end_run(self, run: str, now_ns: int, by: str) -> None:
        """Mark it ended, revoke its tokens and what they minted; the second time nothing happens.

        Raises:
            UsageError: When there is no such run.
        """
        with self._changing() as connection:
            _demand_run(connection, run)
            ended = connection.execute(
                "UPDATE runs SET ended_ns = ? WHERE id = ? AND ended_ns IS NULL", (now_ns, run)
            )
            revoked = revoke(connection, "run = ?", (run,), now_ns)
            if ended.rowcount or revoked:
                data = {"run": run, "tokens": revoked}
                append(connection, "run_ended", by, None, data, now_ns)


def standing(connection: Connection, principal: Principal) -> Standing:
    """As ``Identities.standing``, within whatever transaction is open."""
    agents = connection.execute(_LINEAGE, (principal.agent,)).fetchall()
    token = connection.execute(
        f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ? AND agent = ?",
        (principal.token_id, principal.agent),
    ).fetchone()
    run = None
    if principal.run_is_minted:
        run = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?", (principal.run,)
        ).fetchone()
    return Standing(
        tuple(agent_from_row(row) for row in agents),
        token_from_row(token) if token else None,
        run_from_row(run) if run else None,
    )


def agent_state(connection: Connection, agent: str) -> str | None:
    """The state of an agent, None when there never was one of this name."""
    row = connection.execute("SELECT state FROM agents WHERE name = ?", (agent,)).fetchone()
    return row[0] if row else None


def insert_agent(connection: Connection, record: AgentRecord) -> None:
    """Write an agent; one of its name that was deleted is written over."""
    row = (record.state, record.parent, limits_to_json(record.limits), record.created_ns)
    connection.execute(
        f"INSERT INTO agents ({AGENT_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET state = excluded.state,"
        " parent = excluded.parent, limits = excluded.limits,"
        " created_ns = excluded.created_ns",
        (record.name, *row),
    )


def insert_token(connection: Connection, token: TokenRecord, sha256: str) -> None:
    """Write a token."""
    connection.execute(
        f"INSERT INTO tokens ({TOKEN_COLUMNS}, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (token.id, token.agent, token.created_ns, token.expires_ns, token.revoked_ns, token.run,
         token.minted_by, sha256),
    )  # fmt: skip


def _demand_agent(connection: Connection, name: str) -> None:
    if agent_state(connection, name) is None:
        raise UsageError(f"There is no agent {name!r}.")


def _demand_run(connection: Connection, run: str) -> None:
    if not connection.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone():
        raise UsageError(f"There is no run {run!r}.")


def _family(connection: Connection, name: str) -> list[str]:
    """The agent and all that descend from it."""
    return [row[0] for row in connection.execute(_DESCENDANTS, (name,))]


def revoke(connection: Connection, where: str, params: tuple[Any, ...], now_ns: int) -> list[str]:
    """End some tokens and all that these minted; ids of those that were not revoked before."""
    rows = connection.execute(
        "WITH RECURSIVE ending(id) AS ("
        f" SELECT id FROM tokens WHERE {where}"
        " UNION SELECT t.id FROM tokens AS t JOIN ending ON t.minted_by = ending.id)"
        " UPDATE tokens SET revoked_ns = ?"
        " WHERE revoked_ns IS NULL AND id IN (SELECT id FROM ending) RETURNING id",
        (*params, now_ns),
    ).fetchall()
    return sorted(row[0] for row in rows)
