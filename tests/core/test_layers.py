from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from core.judging import (
    DAY,
    PURSE,
    first,
    judge,
    make_call,
    make_case,
    make_policy,
    make_snapshot,
    make_standing,
    policy_for,
)
from tollkeeper.core.layers import Rules
from tollkeeper.core.snapshot import RunRecord
from tollkeeper.domain import (
    Account,
    Balance,
    Effect,
    Limits,
    ModelAlias,
    Principal,
    Rule,
    Window,
)


def test_rates_are_charged_where_some_layer_limits_calls_or_tokens_by_the_minute() -> None:
    lineage = {"boss": Limits(tpm=10**9), "root": Limits(concurrent=9)}
    policy = make_policy(members={"atlas": "research"}, teams={"research": Limits(rpm=9)})

    decision = judge(policy=policy, standing=make_standing("atlas", "boss", "root", limits=lineage))

    assert decision.rated == ("team:research", "agent:boss")
    assert judge(policy=make_policy()).rated == ()
    assert judge(policy=policy_for(PURSE)).rated == ()


def test_rules_are_asked_in_their_order_and_only_about_what_is_known() -> None:
    def rule(name: str, *fields: str) -> Rule:
        return Rule(name, Effect.DENY, lambda facts: True, frozenset(fields))

    rules = Rules([rule("a", "x"), rule("b"), rule("c", "x", "y"), rule("d", "x"), rule("e", "z")])

    assert [one.name for one in rules.matching({"x": 1, "y": None})] == ["a", "b", "d"]
    assert [one.name for one in rules.matching({"x": 0, "y": ""})] == ["a", "b", "c", "d"]


def test_call_counts_on_its_agent_team_ancestors_and_run_each_once() -> None:
    policy = make_policy(
        members={"atlas": "research", "boss": "research", "root": "board"},
        teams={"research": Limits(), "board": Limits()},
    )

    decision = judge(policy=policy, standing=make_standing("atlas", "boss", "root"))

    assert decision.subjects == (
        "agent:atlas", "team:research", "agent:boss", "agent:root", "team:board",
        "run:atlas:2026-11-21", "run:boss:2026-11-21", "run:root:2026-11-21",
    )  # fmt: skip


def test_every_layer_must_be_satisfied_and_every_reason_is_reported() -> None:
    policy = make_policy(
        ceilings=Limits(streaming=False),
        agents={"atlas": Limits(models=("gpt-*",)), "default": Limits(vision=False)},
        teams={"research": Limits(tools=())},
        members={"atlas": "research"},
    )
    standing = make_standing(limits={"atlas": Limits(reasoning=False)})
    call = make_call(
        stream=True, features=frozenset({"vision", "reasoning"}), tools_offered=("Bash",)
    )

    sources = {reason.source for reason in judge(call, policy, standing=standing).reasons}

    assert sources == {
        "ceilings.streaming", "agents.atlas.models", "teams.research.tools",
        "agent atlas reasoning",
    }  # fmt: skip


def test_agent_that_is_not_named_has_the_default_limits() -> None:
    policy = make_policy(agents={"default": Limits(streaming=False)})

    assert judge(make_call(stream=True), policy).reasons[0].source == "agents.default.streaming"


def test_child_is_under_all_layers_of_its_ancestors_whose_names_it_is_not_told() -> None:
    policy = make_policy(agents={"boss": Limits(streaming=False, budget_nano_usd={DAY: 1})})

    decision = judge(
        make_call(stream=True), policy, standing=make_standing("atlas", "helper", "boss")
    )

    assert {reason.source for reason in decision.reasons} == {
        "agents.boss.streaming", "agents.boss.budget_usd.day",
    }  # fmt: skip
    assert all("boss" not in reason.message for reason in decision.reasons)
    assert decision.reasons[0].message.startswith("Streaming is not allowed (streaming of a parent")


def test_child_that_the_policy_does_not_name_is_under_its_ancestors_entries_and_not_the_default() -> (
    None
):
    default = Limits(streaming=False, key="injected", server_tools_nano_usd=1)
    policy = make_policy(agents={"boss": Limits(vision=False, key="own"), "default": default})
    call = make_call(stream=True, features=frozenset({"vision"}))

    of_boss = judge(call, policy, standing=make_standing("boss.ant", "boss"))
    of_stranger = judge(call, policy, standing=make_standing("scout.ant", "scout"))

    assert {one.source for one in of_boss.reasons} == {"agents.boss.vision"}
    assert {one.source for one in of_stranger.reasons} == {"agents.default.streaming"}
    assert (of_boss.key, of_stranger.key) == ("own", "injected")


def test_key_that_an_ancestor_must_use_goes_along_with_its_childs_calls() -> None:
    policy = make_policy(agents={"boss": Limits(key="injected"), "boss.ant": Limits(key="own")})

    assert judge(policy=policy, standing=make_standing("boss.ant", "boss")).key == "injected"


def test_budget_of_an_ancestors_run_counts_on_its_own_day_unless_the_run_is_minted() -> None:
    policy = make_policy(agents={"boss": Limits(budget_nano_usd={Window.RUN: 10_000_000})})
    standing = make_standing("boss.ant", "boss")
    spent = {("run:boss:2026-11-21", Window.RUN): Balance(spent_nano_usd=9_000_000)}
    day = Principal("boss.ant", "tok", "boss.ant~new", label="new")
    minted = Principal("boss.ant", "tok", "7f3k", run_is_minted=True)

    refused = judge(policy=policy, principal=day, standing=standing, balances=spent)
    fresh = judge(policy=policy, principal=day, standing=standing)
    other = judge(policy=policy, principal=minted, standing=standing, balances=spent)

    assert refused.reasons[0].account == Account("run:boss:2026-11-21", Window.RUN)
    assert "run:boss:2026-11-21" in fresh.subjects
    assert other.effect is Effect.ALLOW
    assert other.subjects == ("agent:boss.ant", "agent:boss", "run:7f3k")


def test_rule_over_an_agent_or_its_team_is_a_rule_over_its_descendants() -> None:
    def about(name: str, **who: str) -> Rule:
        def matches(facts: Mapping[str, Any]) -> bool:
            return all(facts[key] == value for key, value in who.items())

        return Rule(name, Effect.DENY, matches, frozenset(who))

    rules = (
        about("other", agent="hermes"),
        about("boss", agent="boss"),
        about("team", team="research"),
        about("mixed", agent="boss", team="board"),
        about("priority", agent="boss", priority="low"),
    )
    policy = make_policy(rules=rules, members={"root": "research"})
    standing = make_standing("boss.ant.bee", "boss.ant", "boss", "root")

    denied = judge(policy=policy, standing=standing, said={"priority": "low"})

    assert [one.source for one in denied.reasons] == ["rules.boss", "rules.team", "rules.priority"]
    assert judge(policy=policy, standing=make_standing("ant")).effect is Effect.ALLOW


def test_hold_rule_over_a_parent_holds_its_childs_call() -> None:
    rule = Rule("ask", Effect.HOLD, lambda facts: facts["agent"] == "boss", frozenset({"agent"}))

    decision = judge(policy=make_policy(rules=(rule,)), standing=make_standing("boss.ant", "boss"))

    assert decision.effect is Effect.HOLD


def test_budget_of_a_run_counts_on_the_run_and_does_not_reset() -> None:
    policy = policy_for(Limits(budget_nano_usd={Window.RUN: 10_000_000}))
    principal = Principal("atlas", "tok", "7f3k", run_is_minted=True)
    balances = {("run:7f3k", Window.RUN): Balance(spent_nano_usd=8_000_000)}

    decision = judge(policy=policy, principal=principal, balances=balances)

    assert decision.effect is Effect.DENY
    assert first(decision).endswith("it does not reset.")


def test_limits_minted_with_a_run_are_a_layer_of_their_own() -> None:
    run = RunRecord("7f3k", "atlas", limits=Limits(budget_nano_usd={Window.TOTAL: 1}))
    principal = Principal("atlas", "tok", "7f3k", run_is_minted=True)

    decision = judge(principal=principal, standing=replace(make_standing(), run=run))

    assert decision.reasons[0].source == "run 7f3k budget_usd.total"
    assert decision.reasons[0].account == Account("run:7f3k", Window.TOTAL)


def test_label_made_up_by_an_agent_does_not_open_a_fresh_run_budget() -> None:
    policy = policy_for(Limits(budget_nano_usd={Window.RUN: 10_000_000}))
    principal = Principal("atlas", "tok", "atlas~new", label="new")
    balances = {("run:atlas:2026-11-21", Window.RUN): Balance(spent_nano_usd=9_000_000)}

    assert judge(policy=policy, principal=principal, balances=balances).effect is Effect.DENY
    allowed = judge(policy=policy, principal=principal)
    assert allowed.subjects == ("agent:atlas", "run:atlas~new", "run:atlas:2026-11-21")


def test_limits_given_at_creation_count_beside_the_policys() -> None:
    standing = make_standing(limits={"atlas": Limits(budget_nano_usd={Window.TOTAL: 1})})

    decision = judge(policy=policy_for(PURSE), standing=standing)

    assert [reason.source for reason in decision.reasons] == ["agent atlas budget_usd.total"]


def test_changed_limits_of_an_agent_hold_from_the_next_call_on() -> None:
    policy = policy_for(PURSE)

    assert judge(policy=policy).effect is Effect.ALLOW
    narrow = make_standing(limits={"atlas": Limits(budget_nano_usd={Window.TOTAL: 1})})
    assert judge(policy=policy, standing=narrow).effect is Effect.DENY
    assert judge(policy=policy).effect is Effect.ALLOW


def test_alias_changes_model_and_provider_and_is_priced_where_it_leads() -> None:
    alias = ModelAlias("house", "corp", "corp-small")
    call = make_call(provider="openai", model="house")
    case = make_case(call, make_policy(aliases={"house": alias}))

    decision = case.decide(make_snapshot(case))

    assert (decision.changes.provider, decision.changes.model) == ("corp", "corp-small")
    assert decision.price_source == "providers.corp.prices.*"
    assert case.model_key == "corp/corp-small"


def test_alias_is_known_in_every_letter_case() -> None:
    alias = ModelAlias("House", "corp", "corp-small", Limits(streaming=False))

    decision = judge(make_call(model="HOUSE", stream=True), make_policy(aliases={"house": alias}))

    assert decision.changes.model == "corp-small"
    assert decision.reasons[0].source == "models.House.streaming"


def test_alias_at_the_same_provider_changes_the_model_only() -> None:
    alias = ModelAlias("house", "corp", "corp-small")

    decision = judge(make_call(model="house"), make_policy(aliases={"house": alias}))

    assert (decision.changes.provider, decision.changes.model) == (None, "corp-small")


@pytest.mark.parametrize("allowed", ["house", "corp-small"])
def test_model_list_may_name_the_alias_or_what_it_stands_for(allowed: str) -> None:
    policy = policy_for(
        Limits(models=(allowed,)), aliases={"house": ModelAlias("house", "corp", "corp-small")}
    )

    assert judge(make_call(model="house"), policy).effect is Effect.ALLOW
