"""Which proxy exceptions of a user's may stay."""

from __future__ import annotations

import pytest

from tollkeeper import facts
from tollkeeper.domain import OtherHosts, Provider
from tollkeeper.launch.direct import kept_direct

OWN = {"vllm": Provider("vllm", hosts=("llm.corp.example",), api="openai")}


def kept(*entries: str, others: OtherHosts | None = None) -> tuple[str, ...]:
    base = {"NO_PROXY": ",".join(entries)}
    stays, taken_out = kept_direct(base, OWN, others or OtherHosts())
    assert {*stays, *taken_out} == {one for one in entries if one != "localhost"}
    return stays


@pytest.mark.parametrize(
    "entry",
    ["git.corp.example", ".internal", "10.0.0.0/8", "192.168.1.7", "registry.local:5000", "*.lan"],
)
def test_what_leads_past_no_governed_host_stays(entry: str) -> None:
    assert kept(entry) == (entry,)


@pytest.mark.parametrize(
    "entry",
    [
        "*", ".", "com", ".com", "openai.com", "*.openai.com", "API.OPENAI.COM", "api.openai.com:443",
        "api.anthropic.com", "anthropic.com", "i.com", "googleapis.com", "corp.example",
        "llm.corp.example", "api.*.com", "azure.com", "my-team.openai.azure.com", "fr.api.openai.com",
        "amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com", "api.aws", "copilot-api.acme.ghe.com",
    ],
)  # fmt: skip
def test_what_any_client_would_read_as_a_governed_host_is_taken_out(entry: str) -> None:
    assert kept(entry, "git.corp.example") == ("git.corp.example",)


def test_every_governed_host_is_taken_out_by_its_own_name_and_by_its_domain() -> None:
    hosts = [host for provider in facts.providers().values() for host in provider.hosts]

    for host in hosts:
        assert kept(host) == kept(f".{host}") == kept(host.partition(".")[2]) == ()


def test_hosts_that_the_policy_denies_or_inspects_are_taken_out() -> None:
    others = OtherHosts(deny=("pastebin.example",), inspect=("*.stripe.example",))

    entries = ("pastebin.example", "api.stripe.example", "stripe.example", "git.corp.example")
    assert kept(*entries, others=others) == ("git.corp.example",)


@pytest.mark.parametrize("default", ["deny", "inspect"])
def test_nothing_goes_direct_where_other_hosts_are_not_simply_tunnelled(default: str) -> None:
    assert kept("git.corp.example", others=OtherHosts(default=default)) == ()


def test_both_cases_of_the_variable_are_read_and_loopback_is_no_news() -> None:
    base = {"NO_PROXY": "a.example, localhost", "no_proxy": "b.example,a.example,,127.0.0.1"}

    assert kept_direct(base, {}, OtherHosts()) == (("a.example", "b.example"), ())
