"""How long the pure decision takes with 100 rules, budgets, quotas and rates: prints medians.

PYTHONPATH=addon:cli:tests python tests/bench/bench_decide.py
"""

from __future__ import annotations

import statistics
import time

from core.judging import NOW, PROVIDERS, MemoryRateLog, make_snapshot, make_standing
from tollkeeper.core.decide import CallCase
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.snapshot import History
from tollkeeper.domain import (
    NANO_PER_USD,
    Call,
    Dialect,
    Effect,
    Limits,
    Mode,
    Policy,
    Principal,
    Rule,
    Turn,
    Window,
)
from tollkeeper.policy.match import compile_call
from tollkeeper.policy.matchers import CallMatch

CONDITIONS = (
    {"model": "o3*", "agent": "someone-*"},
    {"expected_cost_usd": {"over": 50}},
    {"agent": ["boris", "clara"], "stream": True},
    {"budget_left_percent": {"under": 1}},
    {"tools_offered": ["run_command", "delete_*"]},
    {"provider": "anthropic", "operation": "messages"},
    {"input_tokens": {"over": 900000}},
    {"time": {"at_least": "22:00"}, "weekday": ["saturday", "sunday"]},
    {"team": "finance", "vision": True},
    {"prompt": {"matches": "(?i)drop table [a-z]+"}, "agent": "dora"},
)


def rules(count: int) -> tuple[Rule, ...]:
    """Rules of all kinds, none of which matches."""
    made = []
    for index in range(count):
        match = CallMatch.model_validate(CONDITIONS[index % len(CONDITIONS)])
        matches, fields = compile_call(match)
        effect = Effect.DENY if index % 2 else Effect.HOLD
        made.append(Rule(f"rule-{index}", effect, matches, fields))
    return tuple(made)


def policy(rule_count: int) -> Policy:
    """An agent in a team, with ceilings, budgets, a quota and all rates."""
    agent = Limits(
        budget_nano_usd={
            Window.TOTAL: 500 * NANO_PER_USD,
            Window.DAY: 100 * NANO_PER_USD,
            Window.RUN: 50 * NANO_PER_USD,
        },
        requests={Window.MONTH: 10_000},
        rpm=30,
        tpm=2_000_000,
        concurrent=4,
        models=("gpt-4o", "gpt-4o-mini", "gpt-5*"),
        tools=("read_file", "search"),
        max_output_tokens=4096,
    )
    return Policy(
        "bench",
        Mode.ENFORCE,
        "Europe/Berlin",
        PROVIDERS,
        agents={"atlas": agent},
        members={"atlas": "research"},
        teams={"research": Limits(budget_nano_usd={Window.MONTH: 2000 * NANO_PER_USD})},
        ceilings=Limits(rpm=60),
        rules=rules(rule_count),
    )


def call() -> Call:
    """The tenth turn of a coding agent."""
    turns = tuple(Turn(f"{index:064x}", 4_000) for index in range(20))
    return Call(
        provider="openai",
        dialect=Dialect.OPENAI_CHAT,
        operation="chat",
        metered=True,
        model="gpt-5",
        stream=True,
        head_bound_tokens=40_000,
        turns=turns,
        tools_offered=("read_file", "search"),
        prompt="please read the file and tell me what it does. " * 200,
        approval_digest="d" * 64,
    )


def median_us(rule_count: int, rounds: int = 2_000) -> float:
    """Median microseconds of making a case, naming its accounts and deciding."""
    one, asked = policy(rule_count), call()
    sheet = PriceBook(one).sheet("openai", "gpt-5", NOW)
    principal = Principal("atlas", "tok", "atlas:2026-11-21")
    standing = make_standing("atlas")
    rates = MemoryRateLog()
    for index in range(20):
        rates.add("agent:atlas", NOW - index * 1_000_000_000, 5_000)
    prefix = (asked.turns[-3].digest, 20_000)
    case = CallCase(asked, principal, one, sheet, NOW)
    snapshot = make_snapshot(
        case, standing, rates=rates, billed_prefix=prefix, history=History(9, 300, 250_000)
    )
    assert case.decide(snapshot).effect is Effect.ALLOW, case.decide(snapshot).reasons
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        case = CallCase(asked, principal, one, sheet, NOW)
        case.accounts(standing)
        case.decide(snapshot)
        taken.append(time.perf_counter_ns() - begin)
    return statistics.median(taken) / 1000


def main() -> None:
    """Print one line a rule count."""
    for count in (0, 10, 100):
        print(f"{count:4d} rules: {median_us(count):6.1f} us a decision (median)")


if __name__ == "__main__":
    main()
