"""The figures as Prometheus reads them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tollkeeper.domain import Limits, Mode, ModelAlias, Policy
from tollkeeper.ledger.figures import Group, Now
from tollkeeper.proxy.exposition import escaped, exposition

POLICY = Policy(
    digest="d" * 64,
    mode=Mode("enforce"),
    timezone="UTC",
    providers={},
    tiers={"cheap": ("gpt-4o-mini",)},
    agents={"atlas": Limits(models=("o3",))},
    aliases={"ours": ModelAlias("ours", "openai", "gpt-4o")},
)
NOTHING = Now(0, 0, 0, 0)


def told(*groups: Group) -> str:
    sums = {
        group: Counter(calls=1, cost_nano_usd=1_500_000_000, input_tokens=3) for group in groups
    }
    return exposition(sums, NOTHING, POLICY, ready=True)


def group(agent: str = "atlas", model: str = "o3", outcome: str = "complete") -> Group:
    return Group(agent, "openai", model, outcome, "policy_denied" if outcome == "refused" else "")


@pytest.mark.parametrize("model", ["o3", "gpt-4o-mini", "ours"])
def test_name_of_the_policy_is_a_label(model: str) -> None:
    assert f'agent="atlas",provider="other",model="{model}"' in told(group(model=model))


def test_names_that_agents_make_up_are_one_series() -> None:
    made_up = [group(f"a{n}", f"m{n}") for n in range(50)]

    text = told(*made_up)

    series = 'agent="other",provider="other",model="other"'
    assert f'tollkeeper_calls_total{{{series},outcome="complete"}} 50' in text
    assert f"tollkeeper_cost_usd_total{{{series}}} 75.00" in text
    assert text.count("tollkeeper_calls_total{") == 1


def test_refusals_are_told_by_code() -> None:
    text = told(group(outcome="refused"), group())

    assert text.count("tollkeeper_refusals_total{") == 1
    assert 'code="policy_denied"} 1' in text


def test_every_line_is_of_the_format() -> None:
    line = re.compile(
        r"# (HELP|TYPE) [a-z_]+ .+"
        r'|[a-z_]+(\{[a-z_]+="([^"\\\n]|\\.)*"(,[a-z_]+="([^"\\\n]|\\.)*")*\})? [0-9.]+'
    )

    for one in told(group(), group(outcome="refused")).splitlines():
        assert line.fullmatch(one), one


def test_label_that_would_end_its_quotes_is_escaped() -> None:
    assert escaped('a"b\\c\nd') == r"a\"b\\c\nd"


def test_what_plans_paid_has_a_series_of_its_own() -> None:
    sums = {group(): Counter(calls=1, notional_nano_usd=2_000_000_000)}

    text = exposition(sums, NOTHING, POLICY, ready=True)

    labels = 'agent="atlas",provider="other",model="o3"'
    assert f"tollkeeper_notional_usd_total{{{labels}}} 2.00" in text
    assert f"tollkeeper_cost_usd_total{{{labels}}} 0" in text
