"""What every ledger engine promises; the contract tests quote these sentences.

One write transaction per verb. ``admit`` opens it, loads a snapshot, lets the pure ``Case`` judge it,
and writes what the decision says, the audit record included. Nothing is checked outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tollkeeper.core.delegation import Birth, DelegationCase
from tollkeeper.core.snapshot import AgentRecord, RunRecord, Snapshot, Standing, TokenRecord
from tollkeeper.domain import (
    Account,
    Admission,
    Approval,
    Balance,
    Call,
    Decision,
    Kept,
    Limits,
    Principal,
    Reason,
    Settlement,
    Verdict,
)


class Case(Protocol):
    """One call before the judge: pure, made anew for each admission (``core/decide.py``)."""

    @property
    def approval_digest(self) -> str:
        """What an approval of this call is bound to."""

    @property
    def prefixes(self) -> Sequence[str]:
        """Digests of the conversation's prefixes, longest first, at most 16."""

    @property
    def model_key(self) -> str:
        """``provider/model``: what history is kept under; empty for free calls."""

    @property
    def objects(self) -> tuple[str, Sequence[str]]:
        """The provider that it goes to, and the ids of what that provider keeps which it names."""

    def accounts(self, standing: Standing) -> Sequence[Account]:
        """The accounts whose balances the decision needs."""

    def decide(self, snapshot: Snapshot) -> Decision:
        """Judge. Never raises for anything that a client can send."""

    def record(self) -> Mapping[str, Any]:
        """The facts of the call for the record: plain JSON values, no bodies, no secrets.

        ``team``, ``provider``, ``model``, ``operation`` and ``stream`` also become columns of the
        call's row.
        """


class Ledger(Protocol):
    """The books. Every method may raise ``LedgerError``; with a busy timeout of 0, ``LedgerBusy``."""

    # ---- the way of a call

    def admit(
        self,
        case: Case,
        principal: Principal,
        now_ns: int,
        *,
        again: str | None = None,
        body: bytes = b"",
    ) -> Admission:
        """Judge and write, in one transaction.

        ALLOW: the reservation stands, rates are charged (``Decision.rated``), a slot is taken, an approval it consumes is
        used up: each verdict releases one forward. HOLD: the reservation stands, nothing is charged
        to rates; the approval with this digest is joined or a new one opened. DENY: nothing stands.

        Args:
            again: The id of a held call that is admitted a second time; its own reservation is
                taken out first, and the same id goes on.
            body: What the person will be shown; kept with a new approval.
        """

    def settle(self, call: str, settlement: Settlement, now_ns: int) -> bool:
        """Resolve the reservation; the second time nothing happens and False is returned.

        A cost above the reservation is booked in full, the excess as ``overrun``. ``NOT_SENT`` voids:
        money, quota and rate are given back. The booking goes to the windows of the admission.
        The slot is freed, tpm is corrected at its own time, history and billed prefix are learnt.
        """

    def leave(self, call: str, now_ns: int) -> None:
        """The client of a held call is gone or answered: void its reservation; the approval stays."""

    # ---- approvals

    def verdicts(self, approvals: Sequence[str]) -> Mapping[str, Approval]:
        """Those of the given approvals that are no longer open."""

    def approvals(self, *, open_only: bool = True) -> list[Approval]: ...

    def approval(self, prefix: str) -> Approval:
        """By a unique prefix of its id; ``ApprovalError`` when none or several match."""

    def approval_body(self, approval: str) -> bytes: ...

    def give_verdict(self, verdict: Verdict) -> Approval:
        """The first verdict wins; ``ApprovalError`` tells the second who was first and when."""

    def changed(self) -> bool:
        """Whether another connection committed since the last call; costs microseconds."""

    # ---- identities

    def identify(self, agent: str, token_sha256: str) -> TokenRecord | None:
        """The token with this hash if it is this agent's, whatever its state."""

    def standing(self, principal: Principal) -> Standing: ...

    def create_agent(self, record: AgentRecord, by: str) -> None: ...

    def set_agent_state(self, name: str, state: str, now_ns: int, by: str) -> None:
        """``active``, ``paused`` or ``deleted``; deletion takes descendants and all tokens along.

        A pause is the agent's own: what is below it is refused by its standing, and goes on again
        with it.
        """

    def set_agent_limits(self, name: str, limits: Limits, now_ns: int, by: str) -> None: ...

    def agents(self) -> list[AgentRecord]: ...

    def add_token(self, token: TokenRecord, sha256: str, by: str) -> None: ...

    def revoke_tokens(self, agent: str, now_ns: int, by: str, *, keep: str | None = None) -> int:
        """Revoke the agent's tokens but the one named; how many that were not revoked before.

        With a token goes every token that it minted, and what these minted; so too when a run ends
        or an agent is deleted.
        """

    def delegate(self, case: DelegationCase, sha256: str, now_ns: int) -> Birth | Reason:
        """Judge an agent's wish for a child and write child, token and record, in one transaction.

        The token is bound to the run of the one that mints it and ends no later. Of a refusal
        nothing is written.
        """

    def end_child(self, name: str, principal: Principal, now_ns: int) -> Reason | None:
        """Revoke the tokens of a child that the caller made, and all that these minted.

        A refusal when the caller does not stand, or made no such child. A second time is no error.
        """

    def tokens(self, agent: str) -> list[TokenRecord]: ...

    def add_run(self, record: RunRecord, by: str) -> None: ...

    def set_run_state(self, run: str, state: str, now_ns: int, by: str) -> None: ...

    def end_run(self, run: str, now_ns: int, by: str) -> None:
        """Mark it ended and revoke the tokens bound to it, and what they minted."""

    def credit(self, account: Account, amount_nano_usd: int, now_ns: int, by: str) -> None: ...

    # ---- reading

    def balance(self, account: Account) -> Balance: ...

    def record(self, kind: str, actor: str, data: Mapping[str, Any], now_ns: int) -> None:
        """One audit record of its own (policy loads, refusals before a principal …)."""

    def record_once(
        self, line: str, kind: str, actor: str, data: Mapping[str, Any], now_ns: int
    ) -> bool:
        """As ``record``; nothing and False when the spool's line of this id was taken before."""

    def audit(self, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]: ...

    def rows(self, sql: str, params: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """Read-only queries for reports; the tables are documented in the engine's migrations."""

    def reading(self) -> AbstractContextManager[None]:
        """Within this, ``rows`` sees the ledger as one moment had it, however long it takes."""

    # ---- what providers keep

    def remember(self, agent: str, provider: str, ids: Iterable[str], now_ns: int) -> None:
        """These were made by calls of this agent. What another agent's calls made stays theirs."""

    def remember_cache(self, provider: str, kept: Kept) -> None:
        """What a provider says of a cache; the time that is booked never gets shorter."""

    def cache(self, provider: str, cache: str) -> Kept | None:
        """What is known of a cache, or None."""

    def await_answer(self, call: str, response: str, asked: Call, now_ns: int) -> None:
        """Keep the reservation of a call open that goes on behind its answer, over restarts too."""

    def give_up_awaited(self, now_ns: int) -> int:
        """Book whole what nobody has asked for in a day. How many."""

    # ---- keeping house

    def take_lease(self, owner: str, now_ns: int) -> None:
        """Say that this process lives; what it admits carries its name."""

    def recover(self, alive: Callable[[str], bool], now_ns: int) -> int:
        """Book what dead owners left: held calls void, forwarded calls in full. How many."""

    def lapse(self, now_ns: int) -> int:
        """Lapse approvals whose time is over. How many."""

    def tidy(self, now_ns: int) -> None:
        """Drop rate entries and billed prefixes that no longer matter.

        Children made by agents whose tokens have all ended, a minute ago or more, are deleted.
        """

    def checkpoint(self) -> None:
        """Do what the engine puts off while calls are judged; from a thread of its own."""

    def close(self) -> None: ...
