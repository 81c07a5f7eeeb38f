from __future__ import annotations

from dataclasses import replace

import pytest

from core.judging import (
    DAY,
    NOW,
    PROVIDERS,
    PURSE,
    SECOND,
    WORST_OF_CALL,
    MemoryRateLog,
    codes,
    first,
    judge,
    make_call,
    make_case,
    make_policy,
    make_rule,
    make_snapshot,
    make_standing,
    policy_for,
    spent,
)
from tollkeeper.core.snapshot import History
from tollkeeper.domain import (
    Balance,
    Billing,
    Code,
    Effect,
    Limits,
    Mode,
    ModelAlias,
    Principal,
    Turn,
    Window,
)


def test_call_without_limits_passes_unchanged_and_reserves_its_worst_case() -> None:
    decision = judge()

    assert decision.effect is Effect.ALLOW
    assert not decision.changes
    assert decision.reserve_nano_usd == WORST_OF_CALL
    assert decision.subjects == ("agent:atlas", "run:atlas:2026-11-21")
    assert (decision.bound_input_tokens, decision.bound_output_tokens) == (1000, 500)
    assert decision.price_source == "providers.corp.prices.*"
    assert decision.left_nano_usd is None


def test_free_call_reserves_nothing_and_counts_on_nobody() -> None:
    limits = replace(PURSE, requests={DAY: 0}, rpm=0, max_input_tokens=0)
    call = make_call(metered=False, model=None, operation="models", turns=())

    decision = judge(call, policy_for(limits))

    assert decision.effect is Effect.ALLOW
    assert (decision.reserve_nano_usd, decision.subjects) == (0, ())


def test_output_limit_is_put_in_where_the_call_names_none() -> None:
    policy = make_policy(ceilings=Limits(max_output_tokens=900), agents={
        "atlas": Limits(max_output_tokens=300)})  # fmt: skip

    decision = judge(make_call(max_output_tokens=None), policy)

    assert decision.changes.max_output_tokens == 300
    assert decision.bound_output_tokens == 300


def test_output_limit_is_clamped_where_the_call_names_more() -> None:
    decision = judge(policy=policy_for(Limits(max_output_tokens=300)))

    assert decision.changes.max_output_tokens == 300
    assert decision.reserve_nano_usd == 1000 * 1000 + 300 * 4000


def test_output_limit_of_an_alias_belongs_to_all_its_callers() -> None:
    alias = ModelAlias("cheap", "corp", "corp-small", Limits(max_output_tokens=50))

    decision = judge(make_call(model="cheap"), make_policy(aliases={"cheap": alias}))

    assert decision.changes.max_output_tokens == 50


def busy(count: int) -> MemoryRateLog:
    log = MemoryRateLog()
    for _ in range(count):
        log.add("agent:atlas", NOW - SECOND)
    log.running["agent:atlas"] = count
    return log


def test_rates_are_judged_when_nothing_else_refuses() -> None:
    policy = policy_for(Limits(rpm=1, streaming=False))

    assert codes(judge(policy=policy, rates=busy(1))) == [Code.RATE_LIMITED]
    both = judge(make_call(stream=True), policy, rates=busy(1))
    assert codes(both) == [Code.POLICY_DENIED]


def test_longest_wait_is_told_first() -> None:
    policy = policy_for(Limits(rpm=1, concurrent=1))

    decision = judge(policy=policy, rates=busy(1))

    assert [r.retry_after_ns for r in decision.reasons] == [59 * SECOND, SECOND]


def test_tpm_counts_input_and_output_bound() -> None:
    assert judge(policy=policy_for(Limits(tpm=1500))).effect is Effect.ALLOW
    assert codes(judge(policy=policy_for(Limits(tpm=1499)))) == [Code.POLICY_DENIED]


def test_matching_deny_rule_refuses_with_its_own_words() -> None:
    rule = make_rule("no-shell", Effect.DENY, "model", message="Not on a Saturday.")

    decision = judge(policy=make_policy(rules=(rule,)))

    assert (decision.effect, codes(decision)) == (Effect.DENY, [Code.POLICY_DENIED])
    assert decision.reasons[0].source == "rules.no-shell"
    assert first(decision) == "Not on a Saturday. (rule no-shell)"


def test_rules_of_all_effects_are_reported_strictest_first() -> None:
    rules = (
        make_rule("ask", Effect.HOLD),
        make_rule("never", Effect.DENY),
        make_rule("fine", Effect.ALLOW),
    )

    decision = judge(policy=make_policy(rules=rules))

    assert decision.effect is Effect.DENY
    assert [reason.source for reason in decision.reasons] == ["rules.never", "rules.ask"]
    assert decision.hold is None


def test_rules_that_need_no_ledger_are_matched_before_the_transaction() -> None:
    asked: list[str] = []

    def note(name: str) -> object:
        return lambda facts: asked.append(name)

    early = replace(make_rule("early", Effect.DENY, "model"), matches=note("early"))
    late = replace(make_rule("late", Effect.DENY, "worst_cost_usd"), matches=note("late"))
    case = make_case(policy=make_policy(rules=(late, early)))
    assert asked == ["early"]

    case.decide(make_snapshot(case))

    assert asked == ["early", "late"]


def test_deciding_twice_says_the_same_twice() -> None:
    rules = (make_rule("a", Effect.HOLD, "worst_cost_usd"), make_rule("b", Effect.HOLD, "model"))
    case = make_case(policy=make_policy(rules=rules))
    snapshot = make_snapshot(case)

    assert case.decide(snapshot) == case.decide(snapshot)


def test_observe_mode_records_every_reason_and_lets_the_call_pass_unchanged() -> None:
    limits = replace(PURSE, rpm=1, models=("gpt-*",), max_output_tokens=10, clamp=True)
    rules = (make_rule("ask", Effect.HOLD), make_rule("never", Effect.DENY))
    policy = policy_for(limits, rules=rules, mode=Mode.OBSERVE)

    decision = judge(policy=policy, balances=spent(10_000_000), rates=busy(1))

    assert decision.effect is Effect.ALLOW
    assert all(reason.observed for reason in decision.reasons)
    assert {reason.source for reason in decision.reasons} == {
        "agents.atlas.models", "agents.atlas.budget_usd.day", "agents.atlas.rpm",
        "rules.ask", "rules.never",
    }  # fmt: skip
    assert not decision.changes
    assert decision.hold is None
    assert decision.reserve_nano_usd == WORST_OF_CALL


def test_observe_mode_lets_an_unknown_price_pass_as_unknown() -> None:
    call = make_call(provider="openai", model="gpt-99")

    decision = judge(call, policy_for(PURSE, mode=Mode.OBSERVE))

    assert (decision.effect, decision.expected_nano_usd) == (Effect.ALLOW, None)
    assert decision.reasons[0].observed


def test_prefixes_are_the_newest_sixteen_the_whole_first() -> None:
    case = make_case(make_call(turns=tuple(Turn(str(n), 1) for n in range(20))))

    assert case.prefixes == [str(n) for n in range(19, 3, -1)]


def test_approval_is_bound_to_the_agent_the_destination_and_the_request() -> None:
    alias = {"corp-large": ModelAlias("corp-large", "corp", "other")}
    digests = {
        make_case().approval_digest,
        make_case(principal=Principal("boris", "t", "r")).approval_digest,
        make_case(make_call(approval_digest="other")).approval_digest,
        make_case(make_call(provider="openai")).approval_digest,
        make_case(policy=make_policy(aliases=alias)).approval_digest,
    }

    assert len(digests) == 5
    assert make_case().approval_digest == make_case(now_ns=NOW + 5).approval_digest


def test_accounts_are_those_with_a_limit_each_once() -> None:
    policy = make_policy(
        ceilings=PURSE,
        agents={"atlas": Limits(budget_nano_usd={DAY: 1, Window.RUN: 1}, requests={DAY: 1})},
    )

    accounts = make_case(policy=policy).accounts(make_standing())

    assert [(a.subject, a.window) for a in accounts] == [
        ("agent:atlas", DAY), ("run:atlas:2026-11-21", Window.RUN),
    ]  # fmt: skip
    free = make_case(make_call(metered=False), policy)
    assert (list(free.accounts(make_standing())), free.model_key) == ([], "")


def test_record_holds_plain_values_and_no_prompt() -> None:
    case = make_case(make_call(prompt="secret plan"), said={"step": "plan"})
    case.decide(make_snapshot(case))

    record = case.record()

    assert "secret plan" not in str(record)
    assert record["worst_nano_usd"] == WORST_OF_CALL
    assert record["said"] == {"step": "plan"}
    assert all(isinstance(v, (str, int, bool, list, dict)) for v in record.values())


PLANS = make_policy(
    providers={"corp": replace(PROVIDERS["corp"], billing="flat", counts=False)},
    agents={"atlas": Limits(budget_nano_usd={Window.TOTAL: 0}, requests={Window.TOTAL: 1})},
)


def test_plan_that_does_not_count_reserves_nothing_and_its_worst_case_is_known() -> None:
    decision = judge(make_call(by_plan=True), PLANS)

    assert decision.effect is Effect.ALLOW
    assert (decision.billing, decision.reserve_nano_usd) == (Billing.FLAT, 0)
    assert decision.worst_nano_usd == WORST_OF_CALL
    assert decision.left_nano_usd is None


def test_quota_holds_for_a_plan_and_a_key_still_meets_the_budget() -> None:
    used = {("agent:atlas", Window.TOTAL): Balance(calls=1)}

    quota = judge(make_call(by_plan=True), PLANS, balances=used)
    key = judge(make_call(), PLANS)

    assert [one.source for one in quota.reasons] == ["agents.atlas.requests.total"]
    assert [one.source for one in key.reasons] == ["agents.atlas.budget_usd.total"]


def test_model_without_a_price_passes_where_a_plan_does_not_count() -> None:
    unpriced = replace(PROVIDERS["corp"], billing="flat", counts=False, prices={})
    decision = judge(make_call(by_plan=True), replace(PLANS, providers={"corp": unpriced}))

    assert decision.effect is Effect.ALLOW
    assert decision.worst_nano_usd is None


def test_rule_sees_what_a_plans_call_would_cost() -> None:
    rule = make_rule("dear", Effect.DENY, "worst_cost_usd")

    decision = judge(make_call(by_plan=True), replace(PLANS, rules=(rule,)))

    assert [one.source for one in decision.reasons] == ["rules.dear"]


def test_plan_that_counts_reserves_like_money() -> None:
    counted = replace(PROVIDERS["corp"], billing="flat")

    decision = judge(make_call(by_plan=True), make_policy(providers={"corp": counted}))

    assert decision.billing is Billing.FLAT_COUNTED
    assert decision.reserve_nano_usd == decision.worst_nano_usd == WORST_OF_CALL


def test_approval_is_bound_to_who_pays() -> None:
    plan, key = make_case(make_call(by_plan=True), PLANS), make_case(make_call(), PLANS)

    assert plan.approval_digest != key.approval_digest


@pytest.mark.parametrize(
    ("limits", "effect"),
    [
        (Limits(max_output_tokens=100), Effect.DENY),
        (Limits(clamp=True, budget_nano_usd={Window.TOTAL: WORST_OF_CALL - 1}), Effect.DENY),
        (Limits(), Effect.ALLOW),
    ],
)
def test_limit_is_never_put_into_a_call_that_takes_none(limits: Limits, effect: Effect) -> None:
    call = make_call(features=frozenset({"no_output_limit"}))
    history = History(calls=5, output_tokens=10, input_share_ppm=1000)

    decision = judge(call, policy_for(limits), history=history)

    assert decision.effect is effect
    assert decision.changes.max_output_tokens is None
