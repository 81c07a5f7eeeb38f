"""A wish is read as strictly as a policy, and can say nothing that loosens."""

from __future__ import annotations

import json

import pytest

from tollkeeper.core.delegation import Wish
from tollkeeper.domain import NS_PER_SECOND, Limits, Window
from tollkeeper.errors import WireError
from tollkeeper.policy.delegation import WishEntry, wish_of
from tollkeeper.policy.model import AgentLimitsEntry


def test_everything_that_can_be_said_arrives() -> None:
    wish = wish_of(
        {
            "name": "scout", "label": "looks around", "ttl": "30m",
            "budget_usd": {"total": 0.1, "day": 1}, "requests": 7,
            "rpm": 3, "tpm": 1000, "concurrent": 2, "models": ["gpt-4o*"], "tools": [],
            "streaming": False, "vision": False, "reasoning": False, "max_input_tokens": 10,
            "max_output_tokens": 20, "strict": True, "scope": "read-only",
        }
    )  # fmt: skip

    assert wish == Wish(
        "scout",
        Limits(
            budget_nano_usd={Window.TOTAL: 100_000_000, Window.DAY: 1_000_000_000},
            requests={Window.TOTAL: 7}, rpm=3, tpm=1000, concurrent=2, models=("gpt-4o*",),
            tools=(), streaming=False, vision=False, reasoning=False, max_input_tokens=10,
            max_output_tokens=20, strict=True, scope="read-only",
        ),
        1800 * NS_PER_SECOND,
        "looks around",
    )  # fmt: skip


def test_number_alone_is_the_total_and_nothing_at_all_is_a_child_without_limits() -> None:
    assert wish_of({"budget_usd": 0.5}).limits.budget_nano_usd == {Window.TOTAL: 500_000_000}
    assert wish_of({}) == Wish()


def test_what_could_loosen_a_limit_has_no_key() -> None:
    loosening = {
        "key", "clamp", "on_overrun", "server_tools_usd", "unsized_input_tokens", "team",
    }  # fmt: skip

    assert set(AgentLimitsEntry.model_fields) - set(WishEntry.model_fields) == loosening


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"budgt_usd": 1}, "unknown key 'budgt_usd'; did you mean 'budget_usd'?"),
        ({"parent": "boss"}, "unknown key 'parent'"),
        ({"budget_usd": {"run": 1}}, "unknown key 'run'"),
        ({"budget_usd": "5"}, "'budget_usd': expected an amount in USD"),
        ({"budget_usd": -1}, "expected an amount in USD from 0"),
        ({"budget_usd": 1e-10}, "at most nine decimals"),
        ({"budget_usd": True}, "found true"),
        ({"budget_usd": None}, "null"),
        ({"requests": {"day": None}}, "null"),
        ({"rpm": 0}, "'rpm': expected a number of at least 1"),
        ({"rpm": 1.5}, "'rpm': expected a whole number"),
        ({"models": "gpt-4o"}, "'models': expected a list"),
        ({"models": ["m"] * 101}, "at most 100"),
        ({"streaming": "no"}, "'streaming': expected true or false"),
        ({"scope": "all"}, "'scope': expected full or read-only"),
        ({"ttl": "59s"}, "'ttl': expected a duration from 60s to 24h"),
        ({"ttl": "25h"}, "'ttl': expected a duration from 60s to 24h"),
        ({"ttl": 60}, "'ttl': expected a duration"),
        ({"name": "a.b"}, "'name': expected 1 to 24 letters"),
        ({"name": "a" * 25}, "'name'"),
        ({"name": ""}, "'name'"),
        ({"name": "a~b"}, "'name'"),
        ({"label": "a\x1b[0m"}, "'label': expected 1 to 128 characters"),
    ],
)
def test_anything_else_is_refused_with_its_key_and_what_was_expected(said, told: str) -> None:
    with pytest.raises(WireError) as refused:
        wish_of(json.loads(json.dumps(said)))

    assert told in str(refused.value)
    assert "\x1b" not in str(refused.value)
