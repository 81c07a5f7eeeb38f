"""What a policy would have done to traffic that is over: the same decision, on books on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tollkeeper.core.decide import CallCase
from tollkeeper.core.identity import day_run
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Billing, Decision, Effect, Policy, Principal
from tollkeeper.policy.explain import ask
from tollkeeper.policy.paper import TOKEN, PaperBooks
from tollkeeper.wire.dialect import Inbound

MAX_SOURCES: Final = 1000
"""Reasons counted apart; a policy has fewer rules and limits that ever decide."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request to a provider, as it was recorded.

    Attributes:
        at_ns: When it was sent; requests are judged in the order in which they come.
        run: The run it belonged to, minted or of a label; None for the agent's run of the day.
    """

    agent: str
    inbound: Inbound
    at_ns: int
    run: str | None = None
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class WhatIf:
    """What would have become of recorded requests.

    Attributes:
        effects: How many were allowed, changed, held, denied (by ``allow``, ``change`` …); what
            observe mode would have let pass counts as allowed.
        reasons: How often each reason had a part in it: ``(effect, code, source)``.
        passed_nano_usd: Expected cost of what is allowed or changed.
        kept_back_nano_usd: Expected cost of what is held or denied.
        notional_nano_usd: What those of them would have cost that plans pay; in no other sum.
        unpriced: Requests that may cost money and have no known price.
    """

    requests: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    passed_nano_usd: int = 0
    kept_back_nano_usd: int = 0
    notional_nano_usd: int = 0
    unpriced: int = 0


def what_if(policy: Policy, requests: Iterable[Recorded]) -> WhatIf:
    """Judge recorded requests one after the other; what passes counts on the budgets after it.

    A passed request is booked at its expected cost (without history that is its worst case), so
    budgets and rates bite about where they would have. A hold is taken to be left unanswered.
    """
    book = PriceBook(policy)
    books = PaperBooks(policy.timezone)
    found = WhatIf()
    for one in requests:
        found.requests += 1
        asked = ask(policy, book, one.inbound, _principal(one, policy), one.at_ns, one.said)
        if isinstance(asked, Decision):
            _count(found, asked)
            continue
        decision = books.judge(asked)
        _count(found, decision)
        _cost(found, asked, decision, books)
    return found


def _principal(one: Recorded, policy: Policy) -> Principal:
    of_the_day = day_run(one.agent, one.at_ns, policy.timezone)
    run = one.run or of_the_day
    label = run.removeprefix(f"{one.agent}~") if run.startswith(f"{one.agent}~") else None
    minted = label is None and run != of_the_day
    return Principal(one.agent, TOKEN, run, run_is_minted=minted, label=label)


def _count(found: WhatIf, decision: Decision) -> None:
    effect = decision.effect
    if effect is Effect.ALLOW and decision.changes:
        effect = Effect.CHANGE
    found.effects[effect.name.lower()] += 1
    for reason in decision.reasons:
        key = (reason.effect.name.lower(), str(reason.code), reason.source)
        if key in found.reasons or len(found.reasons) < MAX_SOURCES:
            found.reasons[key] += 1


def _cost(found: WhatIf, case: CallCase, decision: Decision, books: PaperBooks) -> None:
    cost = decision.expected_nano_usd
    if cost is None:
        found.unpriced += case.call.metered
        cost = 0
    if decision.billing is not Billing.METERED:
        if decision.effect is Effect.ALLOW:
            found.notional_nano_usd += cost
            books.book(case, decision, 0 if decision.billing is Billing.FLAT else cost)
    elif decision.effect is Effect.ALLOW:
        found.passed_nano_usd += cost
        books.book(case, decision, cost)
    else:
        found.kept_back_nano_usd += cost
