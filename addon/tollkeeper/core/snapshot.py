"""What a decision may know: the caller's standing, balances, rates, approvals, as one moment has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tollkeeper.domain import Account, Approval, Balance, Limits


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An identity as the ledger keeps it.

    Attributes:
        state: ``active``, ``paused`` or ``deleted``.
        limits: What ``agent create`` was given; one more layer under stricter-wins.
        expires_ns: When the agent's last token ends, None for never.
    """

    name: str
    state: str
    parent: str | None = None
    limits: Limits = Limits()
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as the ledger keeps it: its SHA-256 and what it is bound to, never its text.

    Attributes:
        minted_by: The token that minted it, whose end is its end; None when the operator did.
    """

    id: str
    agent: str
    created_ns: int
    expires_ns: int | None = None
    revoked_ns: int | None = None
    run: str | None = None
    minted_by: str | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run made by ``run`` or the operator; label runs have no record.

    Attributes:
        state: ``active``, ``paused`` or ``stopped``.
        limits: Minted with the run; a layer on the subject ``run:ID``.
        about: goal, project, priority, sla, workspace, command: what the starter said of it.
    """

    id: str
    agent: str
    state: str = "active"
    limits: Limits = Limits()
    about: Mapping[str, str] = field(default_factory=dict)
    created_ns: int = 0
    ended_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The caller's lineage as it is at this moment.

    Attributes:
        agents: The caller first, then its parent, and so on to the root; empty when unknown.
        token: None when the token is not in the ledger.
        run: None for label runs and day runs.
    """

    agents: tuple[AgentRecord, ...]
    token: TokenRecord | None
    run: RunRecord | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What this agent's earlier calls to this model came to; the basis of ``expected_cost_usd``.

    Attributes:
        output_tokens: Moving average, weight of the newest 1/8.
        input_share_ppm: Moving average of billed input over bound input, in millionths.
    """

    calls: int
    output_tokens: int
    input_share_ppm: int


class RateLog(Protocol):
    """The admissions of the last 60 seconds, read inside the transaction."""

    def nth_newest_ns(self, subject: str, n: int) -> int | None:
        """When the n-th newest admission (1 is the newest) was, or None. O(log n).

        None also when it was a minute ago or more.
        """

    def tokens_since(self, subject: str, after_ns: int) -> int:
        """Sum of tokens of admissions later than ``after_ns``."""

    def most_tokens_since(self, subject: str, after_ns: int) -> int:
        """No less than ``tokens_since``, and quickly known: most calls are far from their limit."""

    def events_since(self, subject: str, after_ns: int) -> Sequence[tuple[int, int]]:
        """``(at_ns, tokens)`` of admissions later than ``after_ns``, oldest first; only for denials."""

    def in_flight(self, subject: str) -> int:
        """How many admitted calls of this subject are not settled yet."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a decision may know of the ledger.

    Attributes:
        balances: For every account that ``Case.accounts`` named. What this same call reserved
            before (a hold) is already taken out.
        approval: The newest approval with the case's digest that is not used up, or None.
        open_holds: How many of this agent's calls wait for a person, besides this one; a question
            that nobody waits for counts as one. For a child those of its whole family, so that
            more children are not more questions.
        own_objects: Those of ``Case.objects`` that calls of this agent or its descendants have made.
        billed_prefix: ``(digest, input_tokens)`` of the longest billed prefix known, or None.
    """

    standing: Standing
    balances: Mapping[Account, Balance]
    rates: RateLog
    approval: Approval | None = None
    billed_prefix: tuple[str, int] | None = None
    history: History | None = None
    open_holds: int = 0
    own_objects: frozenset[str] = frozenset()
