"""The list of governed hosts: what it names, what it must not match, how names are compared."""

from dataclasses import replace

import pytest
import re2
from genai_prices.data import providers as priced
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Provider

EXACT = [(p.name, host) for p in facts.providers().values() for host in p.hosts]
PATTERNS = [(p.name, x) for p in facts.providers().values() for x in p.host_patterns]


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai-regional"),
        ("jp.api.openai.com", "openai-regional"),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "google"),
        ("api.groq.com", "groq"),
        ("codestral.mistral.ai", "mistral"),
        ("api.eu.mistral.ai", "mistral-regional"),
        ("api.deepseek.com", "deepseek"),
        ("api.x.ai", "xai"),
        ("us.api.x.ai", "xai-regional"),
        ("eu-west-1.api.x.ai", "xai-regional"),
        ("openrouter.ai", "openrouter"),
        ("api.together.xyz", "together"),
        ("api.together.ai", "together"),
        ("api.fireworks.ai", "fireworks"),
        ("my-resource.openai.azure.com", "azure"),
        ("my-resource.services.ai.azure.com", "azure"),
        ("bedrock-agent-runtime.us-east-1.amazonaws.com", "bedrock-other"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "bedrock"),
        ("us-central1-aiplatform.googleapis.com", "vertex"),
        ("aiplatform.eu.rep.googleapis.com", "vertex"),
        ("chatgpt.com", "chatgpt"),
        ("claude.ai", "claude-web"),
        ("cloudcode-pa.googleapis.com", "gemini-code-assist"),
        ("api.business.githubcopilot.com", "github-copilot"),
        ("api.githubcopilot.com", "github-copilot"),
        ("github.com", None),
        ("play.googleapis.com", None),
        ("ab.chatgpt.com", None),
    ],
)
def test_a_host_belongs_to_its_provider(host: str, provider: str | None) -> None:
    found = facts.provider_for_host(host)

    assert (found.name if found else None) == provider


@pytest.mark.parametrize(("name", "host"), EXACT)
def test_a_name_that_only_looks_like_a_governed_host_is_not_it(name: str, host: str) -> None:
    lookalikes = [
        f"{host}.evil.example",
        f"evil-{host}",
        f"{host}-evil.example",
        f"evil{host}",
        host.replace(".", "-", 1),
        f"{host}:443",
        f"user@{host}",
        f"{host}/",
        f"{host}\n",
        f"{host}..",
        f".{host}",
        f"{host}%00.evil.example",
    ]

    for lookalike in lookalikes:
        found = facts.provider_for_host(lookalike)
        assert found is None or found.name != name, lookalike


@pytest.mark.parametrize(("name", "pattern"), PATTERNS)
def test_a_pattern_is_bounded_and_matches_nothing_under_another_domain(
    name: str, pattern: str
) -> None:
    compiled = re2.compile(pattern)

    assert ".*" not in pattern
    assert ".+" not in pattern
    assert pattern.rpartition(r"\.")[2] or pattern.endswith(")")
    for host in ("a.example", "x.openai.azure.com.evil.example", "api.openai.com.evil.example"):
        assert not compiled.fullmatch(host)
        assert not compiled.fullmatch(f"{host}.")


@pytest.mark.parametrize(
    "host",
    [
        "eu.api.openai.com.evil.example",
        "x.eu.api.openai.com",
        "eu-api.openai.com",
        "euxapi.openai.com",
        "us-east-1.api.x.ai.evil.example",
        "a.b.openai.azure.com",
        "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
        "bedrock-runtime.us-east-1.amazonaws.community",
        "evil.bedrock-runtime.us-east-1.amazonaws.com",
        "us-central1-aiplatform.googleapis.com.evil.example",
        "api.openai.com.evil.example",
        "xn--pi-7ka.openai.com",
    ],
)
def test_lookalikes_of_regional_hosts_are_not_governed(host: str) -> None:
    assert facts.provider_for_host(host) is None


def test_exact_hosts_are_lower_case_and_stand_once() -> None:
    hosts = [host for _, host in EXACT]

    assert len(hosts) == len(set(hosts))
    assert all(facts.normalise_host(host) == host for host in hosts)


def test_every_catalogue_id_exists_in_the_price_catalogue() -> None:
    known = {provider.id for provider in priced}

    named = {p.catalogue for p in facts.providers().values() if p.catalogue}

    assert named <= known


def test_every_provider_that_speaks_a_dialect_has_a_host_and_a_mount() -> None:
    for provider in facts.providers().values():
        if provider.api != "none":
            assert provider.hosts or provider.host_patterns, provider.name
            assert provider.mounts, provider.name
            assert all(mount.auth in facts.AUTH_HEADERS for mount in provider.mounts)
            assert all(not mount.prefix.endswith("/") for mount in provider.mounts)
        else:
            assert not provider.mounts, provider.name


def test_hosts_that_charge_more_than_the_catalogue_have_none_or_a_price_of_the_region() -> None:
    regional = [p for p in facts.providers().values() if p.name.endswith("-regional")]

    assert len(regional) == 3
    assert [p.name for p in regional if p.catalogue] == ["openai-regional"]
    assert facts.region_percent("openai-regional", "gpt-6.1-sol") > 100


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("API.OpenAI.com", "api.openai.com"),
        ("api.openai.com.", "api.openai.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("api\u3002openai\u3002com", "api.openai.com"),
        ("\uff41pi.openai.com", "api.openai.com"),
        ("under_score.example", "under_score.example"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a.example", None),
        ("a.example-", None),
        ("127.0.0.1", None),
        ("127.1", None),
        ("2130706433", None),
        ("0x7f.1", None),
        ("0177.0.0.1", None),
        ("[::1]", None),
        ("::1", None),
        ("example.0x7f", None),
        ("a b.example", None),
        ("a\x00.example", None),
        ("a.example:443", None),
        ("x" * 64 + ".example", None),
        ("x." * 127 + "example", None),
        ("\u2024example", None),
    ],
)
def test_names_are_compared_in_one_form(host: str, normal: str | None) -> None:
    assert facts.normalise_host(host) == normal


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_normalising_never_fails_and_twice_is_once(host: str) -> None:
    once = facts.normalise_host(host)

    assert once is None or facts.normalise_host(once) == once


def test_the_policy_may_take_over_a_host_and_change_a_built_in_provider() -> None:
    own = Provider(name="gateway", hosts=("api.openai.com",), api="openai")
    changed = replace(facts.providers()["groq"], trust="lab.pem")

    among = {"gateway": own, "groq": changed}

    assert facts.provider_for_host("api.openai.com", among) is own
    assert facts.provider_for_host("api.groq.com", among) is changed
    assert facts.provider_for_host("api.anthropic.com", among) is facts.providers()["anthropic"]


def test_a_key_is_handed_over_as_its_mount_wants_it() -> None:
    providers = facts.providers()
    deepseek = providers["deepseek"]
    chat = facts.mount_of(deepseek, "POST", "/chat/completions")
    messages = facts.mount_of(deepseek, "POST", "/anthropic/v1/messages")
    assert chat is not None
    assert messages is not None

    assert facts.key_header(chat, "k") == ("authorization", "Bearer k")
    assert facts.key_header(messages, "k") == ("x-api-key", "k")
    assert facts.key_header(providers["google"].mounts[1], "k") == ("x-goog-api-key", "k")


def test_every_header_that_takes_a_key_is_taken_off_before_one_is_injected() -> None:
    assert {name for name, _ in facts.AUTH_HEADERS.values()} <= facts.credential_headers()
    assert {"openai-organization", "openai-project", "cookie"} <= facts.credential_headers()
    assert {"key", "access_token"} <= facts.credential_query()
    for name in facts.credential_headers() | facts.credential_query():
        assert name == name.lower()
