"""What the core's tests are made of: a rate log in memory, and a case with everything by default."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tollkeeper.core.decide import CallCase, resolve
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.sheet import STANDARD, PriceSheet, Rates
from tollkeeper.core.snapshot import AgentRecord, Snapshot, Standing, TokenRecord
from tollkeeper.domain import (
    NANO_PER_USD,
    NS_PER_SECOND,
    Account,
    Balance,
    Call,
    Code,
    Decision,
    Dialect,
    Effect,
    Limits,
    Mode,
    Policy,
    Price,
    Principal,
    Provider,
    Rule,
    Turn,
    Window,
)

USD = NANO_PER_USD
SECOND = NS_PER_SECOND
NOW = 1_795_244_400 * SECOND + 123
"""2026-11-21T07:00:00Z, a Saturday, and a few nanoseconds."""


class MemoryRateLog:
    """``RateLog`` over lists: exact, and simple enough to be believed."""

    def __init__(self) -> None:
        self.events: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.running: Counter[str] = Counter()

    def add(self, subject: str, at_ns: int, tokens: int = 0) -> None:
        insort(self.events[subject], (at_ns, tokens))

    def nth_newest_ns(self, subject: str, n: int) -> int | None:
        events = self.events[subject]
        return events[-n][0] if n <= len(events) else None

    def tokens_since(self, subject: str, after_ns: int) -> int:
        return sum(tokens for _, tokens in self.events_since(subject, after_ns))

    def most_tokens_since(self, subject: str, after_ns: int) -> int:
        return self.tokens_since(subject, after_ns)

    def events_since(self, subject: str, after_ns: int) -> Sequence[tuple[int, int]]:
        events = self.events[subject]
        return events[bisect_right(events, after_ns, key=lambda event: event[0]) :]

    def in_flight(self, subject: str) -> int:
        return self.running[subject]


PROVIDERS = {
    "openai": Provider("openai", ("api.openai.com",), "openai", catalogue="openai"),
    "anthropic": Provider("anthropic", ("api.anthropic.com",), "anthropic", catalogue="anthropic"),
    "corp": Provider(
        "corp",
        ("llm.corp.example",),
        "openai",
        prices={"*": (Price({"input": 1 * USD, "output": 4 * USD}),)},
    ),
}


def make_policy(**changes: Any) -> Policy:
    """A policy without any limit, for three providers."""
    standard: dict[str, Any] = {
        "digest": "d",
        "mode": Mode.ENFORCE,
        "timezone": "UTC",
        "providers": PROVIDERS,
    }
    return Policy(**(standard | changes))


def make_call(**changes: Any) -> Call:
    """A chat call of 1,000 tokens that names a limit of 500 for its output."""
    standard: dict[str, Any] = {
        "provider": "corp",
        "dialect": Dialect.OPENAI_CHAT,
        "operation": "chat",
        "metered": True,
        "model": "corp-large",
        "head_bound_tokens": 100,
        "turns": (Turn("t1", 900),),
        "max_output_tokens": 500,
        "approval_digest": "abc",
    }
    return Call(**(standard | changes))


WORST_OF_CALL = 1_000 * 1000 + 500 * 4000
"""What ``make_call`` costs at most on ``corp``: nano-USD."""

EXPECTED_ACCOUNT_DAY = (1_795_219_200 * SECOND, 1_795_305_600 * SECOND)


def make_standing(*names: str, limits: Mapping[str, Limits] | None = None) -> Standing:
    """A lineage of active agents, the caller first, with a good token."""
    names = names or ("atlas",)
    records = tuple(
        AgentRecord(name, "active", parent, (limits or {}).get(name, Limits()))
        for name, parent in zip(names, (*names[1:], None), strict=True)
    )
    return Standing(records, TokenRecord("tok", names[0], 0))


def make_snapshot(
    case: CallCase,
    standing: Standing | None = None,
    balances: Mapping[tuple[str, str], Balance] | None = None,
    rates: MemoryRateLog | None = None,
    **more: Any,
) -> Snapshot:
    """A snapshot; balances are given by subject and window."""
    standing = standing or make_standing()
    given = balances or {}
    return Snapshot(
        standing=standing,
        balances={
            account: given.get((account.subject, account.window), Balance())
            for account in case.accounts(standing)
        },
        rates=rates or MemoryRateLog(),
        **more,
    )


def make_case(
    call: Call | None = None,
    policy: Policy | None = None,
    principal: Principal | None = None,
    now_ns: int = NOW,
    said: Mapping[str, str] | None = None,
) -> CallCase:
    """A case with the price that the policy's book has."""
    call, policy = call or make_call(), policy or make_policy()
    provider, model = resolve(policy, call)
    sheet = PriceBook(policy).sheet(provider, model, now_ns, call.service_tier) if model else None
    principal = principal or Principal("atlas", "tok", "atlas:2026-11-21")
    return CallCase(call, principal, policy, sheet, now_ns, said)


def judge(
    call: Call | None = None,
    policy: Policy | None = None,
    principal: Principal | None = None,
    now_ns: int = NOW,
    said: Mapping[str, str] | None = None,
    **snapshot: Any,
) -> Decision:
    """Decide one case."""
    case = make_case(call, policy, principal, now_ns, said)
    return case.decide(make_snapshot(case, **snapshot))


def policy_for(limits: Limits, **changes: Any) -> Policy:
    """A policy that limits the agent atlas."""
    return make_policy(agents={"atlas": limits}, **changes)


def make_rule(name: str, effect: Effect, *fields: str, **changes: Any) -> Rule:
    """A rule that matches when all the named facts are known; without any, always."""
    rule = Rule(
        name,
        effect,
        lambda facts: all(facts.get(field) is not None for field in fields),
        frozenset(fields),
    )
    return replace(rule, **changes)


def account_named(case: CallCase, subject: str) -> Account:
    """The first account of a subject."""
    return next(one for one in case.accounts(make_standing()) if one.subject == subject)


def flat_sheet(**rates: int) -> PriceSheet:
    """A sheet of one row; rates left out are 0."""
    row = Rates(*(0,) * 10)._replace(**rates)
    return PriceSheet("test", None, None, {STANDARD: ((0, row),)})


DAY = Window.DAY
PURSE = Limits(budget_nano_usd={DAY: 10_000_000})
"""A cent a day."""


def codes(decision: Decision) -> list[Code]:
    """Of all its reasons, in order."""
    return [reason.code for reason in decision.reasons]


def first(decision: Decision) -> str:
    """What the client is told."""
    return decision.reasons[0].message


def spent(nano_usd: int) -> dict[tuple[str, str], Balance]:
    """What atlas spent today."""
    return {("agent:atlas", DAY): Balance(spent_nano_usd=nano_usd)}
