"""What clients and mitmproxy's views are told about a decision."""

from __future__ import annotations

import asyncio

import pytest
from mitmproxy import http

from proxy.house import ANTHROPIC, House, answered
from tollkeeper.proxy.disclose import KEY, usd


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (4350, "0.00000435"),
        (10**9, "1.00"),
        (1_500_000_000, "1.5"),
        (123_456_789_012, "123.456789012"),
        (-1_500_000_000, "-1.5"),
        (10**18, "1000000000.00"),
    ],
)
def test_money_has_as_many_decimals_as_it_needs(nano: int, text: str) -> None:
    assert usd(nano) == text


def test_flow_tells_who_what_and_what_it_cost(house: House) -> None:
    flow = house.judged()
    asyncio.run(house.give(flow, answered()))

    assert flow.comment == "atlas · gpt-4o-mini · allowed · $0.00000435"
    assert flow.marked == ""
    known = flow.metadata[KEY]
    assert (known["agent"], known["model"], known["effect"]) == ("atlas", "gpt-4o-mini", "allowed")
    assert (known["outcome"], known["basis"]) == ("complete", "measured")


def test_what_is_told_is_plain_data_that_can_be_copied_and_saved(house: House) -> None:
    flow = house.judged()

    assert flow.copy().metadata[KEY] == flow.metadata[KEY]
    assert {type(value) for value in flow.metadata[KEY].values()} <= {str, int, type(None)}


def test_refused_flow_is_marked_and_says_why(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"models": ["gpt-4o"]}}})

    flow = house.judged()

    assert flow.marked == ":no_entry_sign:"
    assert "policy_denied" in flow.comment
    assert "agents.atlas" in flow.metadata[KEY]["why"]


def test_observed_refusal_is_marked_as_a_warning(house: House) -> None:
    house.govern_by({"mode": "observe", "agents": {"atlas": {"models": ["gpt-4o"]}}})

    flow = house.judged()

    assert flow.response is None
    assert flow.marked == ":warning:"


def test_changes_and_what_is_left_stand_in_the_answers_headers(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"max_output_tokens": 7, "budget_usd": {"total": 1}}}})
    flow = house.judged()
    asyncio.run(house.give(flow, answered()))

    headers = flow.response.headers
    assert headers["x-tollkeeper-max-output-tokens"] == "7"
    assert headers["x-tollkeeper-budget-left-usd"] == usd(10**9 - 4350)
    assert headers["x-tollkeeper-cost-usd"] == "0.00000435"


def test_unknown_caller_is_shown_by_the_name_it_gave(house: House) -> None:
    client = house.connected(token="tk_wrong")
    flow = house.flow(client=client)

    house.enforcer.requestheaders(flow)

    assert flow.comment.startswith("atlas")
    assert "agent" not in flow.metadata[KEY]


def plan_flow(house: House) -> http.HTTPFlow:
    return house.judged(
        host=ANTHROPIC,
        path="/v1/messages",
        body={
            "model": "claude-haiku-4-5",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
        },
        fields=[("Host", ANTHROPIC), ("Authorization", "Bearer sk-ant-oat01-abc")],
    )


BILLED = {"model": "claude-haiku-4-5", "usage": {"input_tokens": 10, "output_tokens": 2}}


def test_what_a_plan_pays_is_told_as_notional(house: House) -> None:
    flow = plan_flow(house)
    claim = {"anthropic_ratelimit_unified_representative_claim": "five_hour"}

    asyncio.run(house.give(flow, answered(BILLED, **claim)))

    assert flow.comment == "atlas · claude-haiku-4-5 · allowed · notional $0.00002"
    assert "plan at a flat rate" in flow.metadata[KEY]["billing"]
    assert flow.response is not None
    assert flow.response.headers["x-tollkeeper-notional-usd"] == "0.00002"
    assert "x-tollkeeper-cost-usd" not in flow.response.headers


def test_what_the_plan_did_not_pay_is_told_as_money(house: House) -> None:
    flow = plan_flow(house)

    asyncio.run(house.give(flow, answered(BILLED)))

    assert flow.comment == "atlas · claude-haiku-4-5 · allowed · $0.00002"
    assert flow.metadata[KEY]["billing"].startswith("money: the provider did not say")
    assert flow.response is not None
    assert flow.response.headers["x-tollkeeper-cost-usd"] == "0.00002"
