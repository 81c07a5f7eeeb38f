"""Books on paper: balances and rates in memory, for examples, ``explain`` and ``what_if``.

They keep what a ledger keeps of admitted calls, settled at once, so that the same pure decision can
be asked without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tollkeeper.core.budget import account_for
from tollkeeper.core.decide import CallCase
from tollkeeper.core.snapshot import AgentRecord, Snapshot, Standing, TokenRecord
from tollkeeper.domain import NS_PER_SECOND, Account, Balance, Decision, Effect, Principal, Window

MINUTE_NS = 60 * NS_PER_SECOND
TOKEN = "paper"  # noqa: S105 - the id of a token that exists on paper only


@dataclass(slots=True)
class PaperRates:
    """The admissions of the last minute; implements ``core.snapshot.RateLog``."""

    admitted: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def nth_newest_ns(self, subject: str, n: int) -> int | None:
        """When the n-th newest admission was, or None."""
        events = self.admitted.get(subject, [])
        return events[-n][0] if 0 < n <= len(events) else None

    def tokens_since(self, subject: str, after_ns: int) -> int:
        """Sum of tokens of admissions later than ``after_ns``."""
        return sum(tokens for _, tokens in self.events_since(subject, after_ns))

    def most_tokens_since(self, subject: str, after_ns: int) -> int:
        """The same: on paper nothing is quicker."""
        return self.tokens_since(subject, after_ns)

    def events_since(self, subject: str, after_ns: int) -> Sequence[tuple[int, int]]:
        """Admissions later than ``after_ns``, oldest first."""
        return [event for event in self.admitted.get(subject, []) if event[0] > after_ns]

    def in_flight(self, subject: str) -> int:
        """None: on paper a call is over when it is admitted."""
        del subject
        return 0

    def add(self, subject: str, at_ns: int, tokens: int) -> None:
        """One more admission; what is older than a minute is forgotten."""
        events = self.events_since(subject, at_ns - MINUTE_NS)
        self.admitted[subject] = [*events, (at_ns, tokens)]


@dataclass(slots=True)
class PaperBooks:
    """Balances by account, from zero or from what is said to be there.

    Attributes:
        opening: The balance of an account that nothing was booked on.
    """

    timezone: str
    opening: Callable[[Account], Balance] = lambda _: Balance()
    rates: PaperRates = field(default_factory=PaperRates)
    balances: dict[Account, Balance] = field(default_factory=dict)

    def judge(self, case: CallCase) -> Decision:
        """What would be decided now."""
        standing = standing_of(case.principal)
        balances = {one: self._balance(one) for one in case.accounts(standing)}
        return case.decide(Snapshot(standing=standing, balances=balances, rates=self.rates))

    def book(self, case: CallCase, decision: Decision, cost_nano_usd: int) -> None:
        """Take an admitted call in as settled at this cost; anything else leaves no trace."""
        if decision.effect is not Effect.ALLOW or not case.call.metered:
            return
        tokens = decision.bound_input_tokens + decision.bound_output_tokens
        for subject in decision.subjects:
            self.rates.add(subject, case.now_ns, tokens)
            for window in Window:
                account = account_for(subject, window, case.now_ns, self.timezone)
                before = self._balance(account)
                self.balances[account] = replace(
                    before,
                    spent_nano_usd=before.spent_nano_usd + cost_nano_usd,
                    calls=before.calls + 1,
                )

    def _balance(self, account: Account) -> Balance:
        return self.balances.get(account) or self.opening(account)


def standing_of(principal: Principal) -> Standing:
    """An agent in good standing, without parents or limits of its own."""
    token = TokenRecord(id=principal.token_id, agent=principal.agent, created_ns=0)
    return Standing(agents=(AgentRecord(principal.agent, "active"),), token=token)
