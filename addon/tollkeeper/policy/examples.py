"""Checks the promises of a policy: each example is a call, and what must come of it.

An example is judged by the same decision as a real call, on empty books or with what it says was
spent, as if the policy enforced (``mode: observe`` does not change what a policy means). Its clock
stands in the week from Monday, 2 November 2026, so that it says the same next year.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from tollkeeper import facts
from tollkeeper.core.decide import CallCase, resolve
from tollkeeper.core.identity import day_run
from tollkeeper.core.layers import alias_of
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import (
    NS_PER_SECOND,
    Account,
    Balance,
    Call,
    Decision,
    Dialect,
    Effect,
    Mode,
    Policy,
    Principal,
    Provider,
    Window,
)
from tollkeeper.policy.given import ExampleEntry, Expect, Given, GivenCall, Situation
from tollkeeper.policy.paper import TOKEN, PaperBooks
from tollkeeper.policy.problems import suggestion

MONDAY: Final = datetime(2026, 11, 2, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DIALECTS: Final = {
    "anthropic": (Dialect.ANTHROPIC, "messages"),
    "gemini": (Dialect.GEMINI, "generate"),
    "chatgpt": (Dialect.OPENAI_RESPONSES, "responses"),
    "code_assist": (Dialect.CODE_ASSIST, "generate"),
    "bedrock": (Dialect.BEDROCK_CONVERSE, "converse"),
}
_PROMPT_EXTRA_TOKENS: Final = 16
"""What a provider adds around one short message."""


class UnknownPlaceError(ValueError):
    """An example names a provider that is not there, or a model that nobody is known to serve."""


def failures(policy: Policy, examples: Sequence[ExampleEntry]) -> list[tuple[int, str]]:
    """``(number, what is wrong)`` of each example that does not come out as it says."""
    judged = replace(policy, mode=Mode.ENFORCE)
    book = PriceBook(judged)
    found = []
    for number, example in enumerate(examples):
        try:
            decision = decide(judged, example.given, book)[1]
        except UnknownPlaceError as e:
            found.append((number, str(e)))
            continue
        if not fulfils(decision, example.expect):
            name = f"example '{example.name}'" if example.name else f"example {number + 1}"
            wanted = expectation(example.expect)
            found.append((number, f"{name}: expected {wanted}, found {outcome(decision)}"))
    return found


def decide(
    policy: Policy, given: Given, book: PriceBook | None = None, now_ns: int | None = None
) -> tuple[CallCase, Decision]:
    """Ask a policy about a call as an example describes it.

    Args:
        now_ns: When, instead of the example's own time and weekday.

    Raises:
        UnknownPlaceError: It cannot be said where the call would go.
    """
    book = book or PriceBook(policy)
    if now_ns is None:
        now_ns = instant_ns(given.call, policy.timezone)
    call = call_of(policy, given.call, book, now_ns)
    provider, model = resolve(policy, call)
    sheet = fitting(book.sheet(provider, model, now_ns) if model else None, call)
    case = CallCase(
        call, principal_of(given, policy, now_ns), policy, sheet, now_ns, said_by(given)
    )
    return case, books_of(given, policy).judge(case)


def principal_of(given: Situation, policy: Policy, now_ns: int) -> Principal:
    """Who calls; a run that is named is a minted one."""
    run = given.run or day_run(given.agent, now_ns, policy.timezone)
    return Principal(given.agent, TOKEN, run, run_is_minted=given.run is not None)


def books_of(given: Situation, policy: Policy) -> PaperBooks:
    """Books that hold what is said to be spent."""
    return PaperBooks(policy.timezone, opening=lambda account: _opening(given, account))


def said_by(given: Situation) -> Mapping[str, str]:
    """What the agent says of itself."""
    words = {name: getattr(given, name) for name in ("project", "step", "step_type", "priority")}
    return {name: word for name, word in words.items() if word is not None}


def _opening(given: Situation, account: Account) -> Balance:
    spent = given.spent_usd
    amount = spent if isinstance(spent, int) else getattr(spent, Window(account.window).value)
    return Balance(spent_nano_usd=amount, calls=given.requests_made)


def instant_ns(given: GivenCall, timezone: str) -> int:
    """The instant at which the wall clocks of the policy's timezone show what is given."""
    day = MONDAY + timedelta(days=_DAYS.index(given.weekday))
    hour, minute = given.time.split(":")
    local = day.replace(hour=int(hour), minute=int(minute), tzinfo=ZoneInfo(timezone))
    return int((local - _EPOCH).total_seconds()) * NS_PER_SECOND


def call_of(policy: Policy, given: GivenCall, book: PriceBook, now_ns: int) -> Call:
    """The call that an example describes."""
    provider = given.provider or provider_of(policy, given.model, book, now_ns)
    known = policy.providers.get(provider)
    if known is None:
        raise UnknownPlaceError(
            f"unknown provider '{provider}'{suggestion(provider, policy.providers)}"
        )
    dialect, operation = _DIALECTS.get(known.api, (Dialect.OPENAI_CHAT, "chat"))
    if given.stream and dialect in (Dialect.GEMINI, Dialect.CODE_ASSIST):
        operation = "stream_generate"
    flags = {"vision": given.vision, "reasoning": given.reasoning}
    tokens = given.input_tokens
    if tokens is None:
        hidden = facts.hidden_input_tokens(dialect, given.model, bool(given.tools))
        tokens = len(given.prompt.encode()) + _PROMPT_EXTRA_TOKENS + hidden
    return Call(
        provider=provider,
        dialect=dialect,
        operation=operation,
        metered=True,
        model=given.model,
        stream=given.stream,
        head_bound_tokens=tokens,
        max_output_tokens=given.max_output_tokens,
        features=frozenset(name for name, is_set in flags.items() if is_set),
        tools_offered=tuple(given.tools),
        server_tools=tuple(given.server_tools),
        prompt=given.prompt,
        by_plan=_by_plan(known, given),
    )


def _by_plan(provider: Provider, given: GivenCall) -> bool:
    if provider.billing != "flat" or given.plan is not None:
        return provider.billing == "flat" and given.plan is True
    plan = facts.plans().get(provider.name)
    return plan is None or plan.credential is None


def provider_of(policy: Policy, model: str, book: PriceBook, now_ns: int) -> str:
    """Where a call to this model most likely goes: an alias' provider, else who has a price for it.

    Built-in providers are asked in the order of their list, then the owner's own; a policy without
    a price for the model anywhere is asked as if OpenAI had been called.
    """
    alias = alias_of(policy, model)
    if alias is not None:
        return alias.provider
    built_in = [name for name in facts.providers() if name in policy.providers]
    own = [name for name in policy.providers if name not in facts.providers()]
    named = [name for name in own if model in policy.providers[name].prices]
    for name in (*named, *built_in, *own):
        if book.sheet(name, model, now_ns) is not None:
            return name
    return "openai"


def fulfils(decision: Decision, expect: Expect) -> bool:
    """Whether a decision is what was expected."""
    if decision.effect is not _EFFECTS[expect.effect]:
        return False
    if expect.effect == "change" and not decision.changes:
        return False
    if expect.source is None and expect.code is None:
        return True
    return any(
        (expect.source is None or reason.source == expect.source)
        and (expect.code is None or reason.code == expect.code)
        for reason in decision.reasons
    )


_EFFECTS: Final = {
    "allow": Effect.ALLOW,
    "change": Effect.ALLOW,
    "hold": Effect.HOLD,
    "deny": Effect.DENY,
}


def expectation(expect: Expect) -> str:
    """What was expected, in words."""
    parts: list[str] = [expect.effect]
    if expect.source is not None:
        parts.append(f"by {expect.source}")
    if expect.code is not None:
        parts.append(f"with {expect.code}")
    return " ".join(parts)


def outcome(decision: Decision) -> str:
    """What was decided, in words: the effect and every reason."""
    effect = decision.effect.name.lower()
    if decision.effect is Effect.ALLOW and decision.changes:
        effect = "allow (changed)"
    reasons = "; ".join(f"{one.source}: {one.message}" for one in decision.reasons)
    return f"{effect} ({reasons})" if reasons else effect
