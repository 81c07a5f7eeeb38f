from __future__ import annotations

import pytest

from tollkeeper import facts
from tollkeeper.facts.tables import read_table

CLAIM = "anthropic-ratelimit-unified-representative-claim"
IN_USE = "anthropic-ratelimit-unified-overage-in-use"


def test_every_plan_is_of_a_built_in_provider_and_has_its_sources() -> None:
    for entry in read_table("plans")["plans"]:
        assert facts.providers()[entry["provider"]].billing == "flat"
        assert entry["date"]
        assert all(source.startswith("https://") for source in entry["sources"])


@pytest.mark.parametrize(
    ("headers", "paid"),
    [
        ({CLAIM: "five_hour"}, True),
        ({CLAIM: "seven_day_opus", IN_USE: "false"}, True),
        ({CLAIM: "five_hour", IN_USE: "true"}, False),
        ({CLAIM: "five_hour", IN_USE: "TRUE"}, False),
        ({CLAIM: "overage"}, False),
        ({CLAIM: ""}, False),
        ({}, False),
        ({"anthropic-ratelimit-requests-limit": "50"}, False),
    ],
)
def test_anthropics_own_word_says_whether_the_plan_paid(
    headers: dict[str, str], paid: bool
) -> None:
    assert facts.paid_by_plan("anthropic", headers) is paid


@pytest.mark.parametrize("provider", ["chatgpt", "gemini-code-assist", "my-own"])
def test_where_answers_never_say_who_paid_the_plan_is_believed(provider: str) -> None:
    assert facts.paid_by_plan(provider, {})


def test_hosts_of_logins_are_no_providers_so_that_they_are_tunnelled() -> None:
    for host in facts.login_hosts():
        assert facts.provider_for_host(host) is None
