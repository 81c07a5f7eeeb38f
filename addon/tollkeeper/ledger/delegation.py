"""Children that agents make themselves, and their end."""

from __future__ import annotations

from tollkeeper.core.delegation import MINUTE_NS, Birth, DelegationCase, Family, denied
from tollkeeper.core.snapshot import Standing
from tollkeeper.core.standing import standing_reason
from tollkeeper.domain import Principal, Reason
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.identities import (
    Identities,
    agent_state,
    insert_agent,
    insert_token,
    revoke,
)
from tollkeeper.ledger.journal import append
from tollkeeper.ledger.records import limits_to_plain

_FAMILY = """
    WITH RECURSIVE family(name) AS (
        VALUES (?1) UNION SELECT a.name FROM agents AS a JOIN family ON a.parent = family.name
        WHERE a.state != 'deleted'
    )
    SELECT agent, parent, token.created_ns, revoked_ns IS NULL AND expires_ns > ?2
    FROM family JOIN agents USING (name) JOIN tokens AS token ON token.agent = name
    WHERE minted_by IS NOT NULL
    AND (token.created_ns > ?3 OR (revoked_ns IS NULL AND expires_ns > ?2))
    ORDER BY token.created_ns
"""

_ENDED = """
    SELECT name FROM agents WHERE state = 'active' AND parent IS NOT NULL
    AND EXISTS (SELECT 1 FROM tokens WHERE agent = name AND minted_by IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM tokens WHERE agent = name AND (created_ns > ?2
        OR (revoked_ns IS NULL AND (expires_ns IS NULL OR expires_ns > ?1))))
    AND NOT EXISTS (SELECT 1 FROM agents AS child WHERE child.parent = agents.name
        AND child.state != 'deleted')
"""


class Delegation(Identities):
    """The part of the ledger in which agents make agents."""

    def delegate(self, case: DelegationCase, sha256: str, now_ns: int) -> Birth | Reason:
        """Judge the wish and write the child with its token, in one transaction; see the port."""
        principal = case.principal
        with self.transaction() as connection:
            stands = self._standing_now(connection, principal)
            family = _family(connection, principal, stands, now_ns)
            taken = agent_state(connection, case.name) is not None
            made = case.decide(stands, family, taken=taken)
            if isinstance(made, Reason):
                return made
            insert_agent(connection, made.agent)
            insert_token(connection, made.token, sha256)
            connection.known.clear()
            data = {
                "agent": made.agent.name,
                "token": made.token.id,
                "minted_by": made.token.minted_by,
                "run": made.token.run,
                "expires_ns": made.token.expires_ns,
                "limits": limits_to_plain(made.agent.limits),
                "label": made.label,
            }
            append(connection, "delegated", principal.agent, None, data, now_ns)
            return made

    def end_child(self, name: str, principal: Principal, now_ns: int) -> Reason | None:
        """Revoke what a child of the caller holds, and all minted with it; see the port."""
        with self.transaction() as connection:
            refused = standing_reason(self._standing_now(connection, principal), now_ns)
            if refused is not None:
                return refused
            own = connection.execute(
                "SELECT 1 FROM agents WHERE name = ?1 AND parent = ?2 AND EXISTS"
                " (SELECT 1 FROM tokens WHERE agent = ?1 AND minted_by IS NOT NULL)",
                (name, principal.agent),
            ).fetchone()
            if own is None:
                return denied("This agent made no child of that name.")
            revoked = revoke(connection, "agent = ?", (name,), now_ns)
            if revoked:
                connection.known.clear()
                data = {"agent": name, "tokens": revoked}
                append(connection, "tokens_revoked", principal.agent, None, data, now_ns)
            return None


def bury_ended(connection: Connection, now_ns: int) -> None:
    """Delete children made by agents whose tokens have all ended; the caller's transaction is open.

    Youngest generations first: who has a living child stays until that has ended too.
    """
    ended = [row[0] for row in connection.execute(_ENDED, (now_ns, now_ns - MINUTE_NS))]
    if not ended:
        return
    connection.executemany(
        "UPDATE agents SET state = 'deleted' WHERE name = ?", [(name,) for name in ended]
    )
    connection.known.clear()
    append(connection, "children_ended", "tollkeeper", None, {"agents": ended}, now_ns)


def _family(connection: Connection, principal: Principal, stands: Standing, now_ns: int) -> Family:
    if not stands.agents:
        return Family()
    root, minute_ago_ns = stands.agents[-1].name, now_ns - MINUTE_NS
    rows = connection.execute(_FAMILY, (root, now_ns, minute_ago_ns)).fetchall()
    living = {agent: parent for agent, parent, _, lives in rows if lives}
    return Family(
        children=sum(parent == principal.agent for parent in living.values()),
        descendants=len(living),
        minted_ns=tuple(at_ns for _, _, at_ns, _ in rows if at_ns > minute_ago_ns),
    )
