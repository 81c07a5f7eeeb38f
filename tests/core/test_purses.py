from __future__ import annotations

from dataclasses import replace

import pytest

from core.judging import (
    DAY,
    EXPECTED_ACCOUNT_DAY,
    NOW,
    PROVIDERS,
    PURSE,
    SECOND,
    WORST_OF_CALL,
    codes,
    first,
    judge,
    make_call,
    make_case,
    make_policy,
    make_standing,
    policy_for,
    spent,
)
from tollkeeper.core.snapshot import History
from tollkeeper.domain import (
    Account,
    Balance,
    Code,
    Effect,
    Limits,
    ModelAlias,
    Window,
)


def test_call_that_just_fits_passes_and_one_nano_dollar_less_does_not() -> None:
    policy = policy_for(PURSE)
    room = 10_000_000 - WORST_OF_CALL

    fits, not_ = (
        judge(policy=policy, balances=spent(room)),
        judge(policy=policy, balances=spent(room + 1)),
    )

    assert (fits.effect, fits.left_nano_usd) == (Effect.ALLOW, 0)
    assert (not_.effect, codes(not_)) == (Effect.DENY, [Code.BUDGET_EXHAUSTED])
    assert first(not_) == (
        "Budget agents.atlas.budget_usd.day is exhausted: $0.01 limit, $0.002999999 left, this call "
        "may cost up to $0.003; it resets at 2026-11-22T00:00:00Z."
    )
    reason = not_.reasons[0]
    assert reason.account == Account("agent:atlas", DAY, *EXPECTED_ACCOUNT_DAY)
    assert reason.left_nano_usd == 2_999_999
    assert (not_.reserve_nano_usd, not_.subjects) == (0, ())


def test_what_is_reserved_counts_like_what_is_spent_and_a_credit_adds_to_the_limit() -> None:
    reserved = Balance(reserved_nano_usd=9_000_000)
    key = ("agent:atlas", DAY)

    assert judge(policy=policy_for(PURSE), balances={key: reserved}).effect is Effect.DENY
    credited = replace(reserved, credit_nano_usd=2_000_000)
    assert judge(policy=policy_for(PURSE), balances={key: credited}).effect is Effect.ALLOW


def test_call_dearer_than_the_whole_budget_is_told_so() -> None:
    policy = policy_for(Limits(budget_nano_usd={Window.TOTAL: 2_000_000}))

    assert first(judge(policy=policy)) == (
        "This call may cost up to $0.003, more than the whole budget agents.atlas.budget_usd.total "
        "of $0.002 ($0.002 left): shorten it or lower its output limit."
    )


def test_budget_of_yesterday_does_not_count_today() -> None:
    policy = policy_for(PURSE)
    case = make_case(policy=policy, now_ns=NOW + 24 * 3600 * SECOND)

    (account,) = case.accounts(make_standing())

    assert account.starts_ns == EXPECTED_ACCOUNT_DAY[1]


def test_unknown_price_is_refused_under_a_budget_and_passes_as_unknown_without() -> None:
    call = make_call(provider="openai", model="gpt-99")

    denied, allowed = judge(call, policy_for(PURSE)), judge(call)

    assert codes(denied) == [Code.POLICY_DENIED]
    assert "providers.openai.prices" in first(denied)
    assert (allowed.effect, allowed.expected_nano_usd) == (Effect.ALLOW, None)
    assert allowed.price_source is None


def test_audio_is_refused_under_a_budget_where_only_text_has_a_price() -> None:
    heard = frozenset({"audio_in"})
    old = make_call(provider="openai", model="gpt-4o-audio-preview", features=heard)
    new = replace(old, model="gpt-audio")

    assert "No price is known for audio input" in first(judge(old, policy_for(PURSE)))
    assert judge(old).effect is Effect.ALLOW
    assert [one.code for one in judge(new, policy_for(PURSE)).reasons] == [Code.BUDGET_EXHAUSTED]


def test_service_tier_without_a_price_is_refused_under_a_budget() -> None:
    call = make_call(provider="openai", model="gpt-5", service_tier="ultrafast")

    assert "service tier ultrafast" in first(judge(call, policy_for(PURSE)))
    assert judge(call).effect is Effect.ALLOW
    assert judge(replace(call, service_tier="flex"), policy_for(PURSE)).effect is Effect.ALLOW
    odd = {"openai": replace(PROVIDERS["openai"], default_tier="nightly")}
    unsaid = judge(replace(call, service_tier=None), replace(policy_for(PURSE), providers=odd))
    assert "service tier nightly" in first(unsaid)


def test_server_tools_need_an_amount_set_aside_under_a_budget() -> None:
    call = make_call(server_tools=("web_search",))
    aside = replace(PURSE, server_tools_nano_usd=1_000_000)

    denied, allowed = judge(call, policy_for(PURSE)), judge(call, policy_for(aside))

    assert denied.reasons[0].source == "agents.atlas.server_tools_usd"
    assert allowed.reserve_nano_usd == WORST_OF_CALL + 1_000_000
    assert judge(call).effect is Effect.ALLOW


def test_background_calls_that_nobody_can_ask_for_are_refused_and_told_what_to_do() -> None:
    call = make_call(features=frozenset({"background", "background_unasked"}))

    for policy in (policy_for(PURSE), None):
        assert "send this call without `background`" in first(judge(call, policy))
    asked_for = make_call(features=frozenset({"background"}))
    assert judge(asked_for, policy_for(PURSE)).effect is Effect.ALLOW


def test_background_call_that_an_alias_leads_elsewhere_cannot_be_asked_for() -> None:
    alias = ModelAlias("house", "corp", "corp-small")
    call = make_call(provider="openai", model="house", features=frozenset({"background"}))

    assert "Background" in first(judge(call, make_policy(aliases={"house": alias})))


def test_unbounded_output_is_refused_under_a_budget_or_tpm_and_passes_without() -> None:
    call = make_call(max_output_tokens=None)

    for limits in (PURSE, Limits(tpm=10**9)):
        assert "name max_output_tokens" in first(judge(call, policy_for(limits)))
    assert judge(call).effect is Effect.ALLOW
    capped = replace(PURSE, max_output_tokens=500)
    assert judge(call, policy_for(capped)).effect is Effect.ALLOW


@pytest.mark.parametrize("limits", [PURSE, Limits(max_input_tokens=10**6), Limits(tpm=10**9)])
def test_opaque_input_of_unknown_size_is_refused_where_it_matters(limits: Limits) -> None:
    call = make_call(opaque_input="previous_response_id")

    assert judge(call, policy_for(limits)).effect is Effect.DENY
    assert judge(call).effect is Effect.ALLOW


def test_opaque_input_is_reserved_as_the_whole_context_window() -> None:
    call = make_call(provider="openai", model="gpt-4o", opaque_input="previous_response_id")

    assert judge(call).bound_input_tokens == 128_000


def test_expected_cost_comes_from_history_and_never_exceeds_the_worst() -> None:
    assert judge().expected_nano_usd == WORST_OF_CALL
    usual = judge(history=History(9, 100, 250_000))
    assert usual.expected_nano_usd == 250 * 1000 + 100 * 4000
    assert judge(history=History(9, 10**6, 10**6)).expected_nano_usd == WORST_OF_CALL


def test_output_limit_shrinks_to_the_budget_when_asked_to_and_the_expected_cost_fits() -> None:
    policy = policy_for(replace(PURSE, clamp=True))
    left = 1_000_000 + 100 * 4000 + 3_999
    history = History(9, 50, 250_000)

    decision = judge(policy=policy, balances=spent(10_000_000 - left), history=history)

    assert decision.effect is Effect.ALLOW
    assert decision.changes.max_output_tokens == 100
    assert decision.reserve_nano_usd == 1_400_000
    assert decision.left_nano_usd == 3_999


@pytest.mark.parametrize(
    ("left", "history", "clamp"),
    [
        (1_000_000 + 400_000, None, True),
        (1_000_000 + 15 * 4000, History(9, 1, 1), True),
        (900_000, History(9, 1, 1), True),
        (1_000_000 + 400_000, History(9, 50, 250_000), False),
        (1_000_000 + 400_000, History(9, 50, 250_000), None),
    ],
)
def test_output_limit_does_not_shrink_when_that_would_not_help(
    left: int, history: History | None, clamp: bool | None
) -> None:
    policy = policy_for(replace(PURSE, clamp=clamp))

    decision = judge(policy=policy, balances=spent(10_000_000 - left), history=history)

    assert codes(decision) == [Code.BUDGET_EXHAUSTED]
    assert not decision.changes


def test_quota_lets_its_limit_pass_and_no_more() -> None:
    policy = policy_for(Limits(requests={Window.MONTH: 10}))
    key = ("agent:atlas", Window.MONTH)

    assert judge(policy=policy, balances={key: Balance(calls=9)}).effect is Effect.ALLOW
    denied = judge(policy=policy, balances={key: Balance(calls=10)})
    assert codes(denied) == [Code.BUDGET_EXHAUSTED]
    assert first(denied) == (
        "Quota agents.atlas.requests.month of 10 calls is used up; it resets at "
        "2026-12-01T00:00:00Z."
    )
