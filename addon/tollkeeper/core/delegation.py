"""Whether an agent may make a child, and what that child is. Pure.

A child adds nothing to what its parent may do: it is under every limit, rule and pause of all its
ancestors, its spending counts on each of them, and its token ends with the token that minted it. So
all that is judged here is how many there may be, how deep, and for how long.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from tollkeeper.core.identity import MAX_NAME, valid_name
from tollkeeper.core.snapshot import AgentRecord, Standing, TokenRecord
from tollkeeper.core.standing import standing_reason
from tollkeeper.domain import NS_PER_SECOND, Code, Effect, Limits, Principal, Reason

MOST_GENERATIONS: Final = 8
"""Agents in a lineage, the root counted: a call is booked on each of them."""

MOST_CHILDREN: Final = 100
"""Living children of one agent that it made itself."""

MOST_DESCENDANTS: Final = 250
"""Living descendants of one root that agents made, whoever of them did."""

MOST_A_MINUTE: Final = 60
"""Children made below one root in any minute; each is a row that stays."""

MINUTE_NS: Final = 60 * NS_PER_SECOND
SHORTEST_TTL_NS: Final = MINUTE_NS
"""So that whoever was made in the last minute is still known when the next one is."""

USUAL_TTL_NS: Final = 3600 * NS_PER_SECOND
USUAL_NAME: Final = "child"

LONGEST_TTL_NS: Final = 24 * 3600 * NS_PER_SECOND
"""A child that nobody ends must end by itself."""

_TAIL_CHARACTERS: Final = 6
"""30 random bits: a name is used once, so a child never meets the accounts of an earlier one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an agent asks for.

    Attributes:
        name: Put into the child's name, so that people know it again.
        limits: One more layer over the child; they can only tighten.
        ttl_ns: None for ``USUAL_TTL_NS``.
        label: What the child is for, for the record.
    """

    name: str = USUAL_NAME
    limits: Limits = Limits()
    ttl_ns: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Who lives below the root of a lineage, of those that agents made.

    Attributes:
        children: Living children of the one who asks.
        descendants: Living descendants of the root.
        minted_ns: When the tokens of the last minute were minted below the root, oldest first.
    """

    children: int = 0
    descendants: int = 0
    minted_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Birth:
    """A child as it is written down."""

    agent: AgentRecord
    token: TokenRecord
    label: str | None = None


class DelegationCase:
    """One wish before the judge; made anew for each."""

    def __init__(
        self,
        wish: Wish,
        principal: Principal,
        policy_names: Collection[str],
        now_ns: int,
        random: bytes,
    ) -> None:
        """Name the child.

        Args:
            policy_names: Agents that the policy says something of; no child may be called so.
            random: At least 10 random bytes.
        """
        self.wish, self.principal, self.now_ns = wish, principal, now_ns
        self.name = f"{principal.agent}.{wish.name}-{tail(random)}"
        self._token_id = f"t_{random[4:10].hex()}"
        self._policy_names = policy_names

    def decide(self, standing: Standing, family: Family, *, taken: bool) -> Birth | Reason:
        """The child, or why there is none.

        Args:
            taken: Whether some agent is called so, or was.
        """
        refused = standing_reason(standing, self.now_ns) or self._too_many(standing, family)
        if refused is not None:
            return refused
        if not valid_name(self.name):
            return denied(
                f"The child's name would be {self.name!r}; a name has at most {MAX_NAME} letters, "
                "digits, '.', '_' and '-'. Ask for a shorter name."
            )
        if taken or self.name in self._policy_names:
            return denied("There is an agent of the child's name already. Ask again.")
        parent = standing.token
        assert parent is not None  # else it had no standing
        expires_ns = self.now_ns + (self.wish.ttl_ns or USUAL_TTL_NS)
        if parent.expires_ns is not None:
            expires_ns = min(expires_ns, parent.expires_ns)
        agent = AgentRecord(
            self.name, "active", self.principal.agent, self.wish.limits, self.now_ns
        )
        token = TokenRecord(
            self._token_id, self.name, self.now_ns, expires_ns, run=parent.run, minted_by=parent.id
        )
        return Birth(agent, token, self.wish.label)

    def _too_many(self, standing: Standing, family: Family) -> Reason | None:
        if len(standing.agents) >= MOST_GENERATIONS:
            return denied(f"A lineage is at most {MOST_GENERATIONS} agents deep, and this one is.")
        if family.children >= MOST_CHILDREN:
            return denied(f"This agent has {MOST_CHILDREN} living children already. {_END_ONE}")
        if family.descendants >= MOST_DESCENDANTS:
            return denied(
                f"This agent's family has {MOST_DESCENDANTS} living members made by agents already. "
                f"{_END_ONE}"
            )
        if len(family.minted_ns) >= MOST_A_MINUTE:
            wait_ns = family.minted_ns[-MOST_A_MINUTE] + MINUTE_NS - self.now_ns
            return Reason(
                Effect.DENY,
                Code.RATE_LIMITED,
                "delegation",
                f"At most {MOST_A_MINUTE} children are made in a minute. Ask again later.",
                retry_after_ns=max(wait_ns, 1),
            )
        return None


_END_ONE: Final = "End one (DELETE /delegate/NAME), or wait until one expires."


def denied(message: str) -> Reason:
    """A refusal of a wish."""
    return Reason(Effect.DENY, Code.POLICY_DENIED, "delegation", message)


def tail(random: bytes) -> str:
    """What makes a name one of its own: ``k7q2xa``, from at least 4 random bytes."""
    return base64.b32encode(random[:4]).decode("ascii")[:_TAIL_CHARACTERS].lower()
