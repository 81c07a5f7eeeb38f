from __future__ import annotations

from dataclasses import replace

import pytest

from tollkeeper import facts
from tollkeeper.core.keys import goes_with_own_key, host_reasons, sent_to, stored_reasons, strictest
from tollkeeper.domain import (
    Call,
    Dialect,
    KeySource,
    Limits,
    Mode,
    OtherHosts,
    Policy,
    Provider,
)


def policy(own: Provider | None = None, *, key: bool = True) -> Policy:
    source = KeySource(env="REAL") if key else None
    openai = Provider("openai", ("api.openai.com",), "openai", key=source)
    return Policy(
        digest="",
        mode=Mode.ENFORCE,
        timezone="UTC",
        providers={one.name: one for one in (openai, own) if one is not None},
        other_hosts=OtherHosts(),
        ceilings=Limits(),
        agents={},
    )


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({None}, "either"),
        (set(), "either"),
        ({"own", None}, "own"),
        ({"own", "injected"}, "injected"),
        ({"either", "own"}, "own"),
    ],
)
def test_strictest_word_about_keys_wins(said: set[str | None], wanted: str) -> None:
    assert strictest(said) == wanted


@pytest.mark.parametrize(
    ("has_key", "wanted", "goes_to", "own"),
    [
        (True, "either", "openai", False),
        (False, "either", "openai", True),
        (True, "own", "openai", True),
        (True, "own", "groq", False),
        (False, "injected", "openai", False),
    ],
)
def test_own_key_goes_along_where_it_may_and_never_elsewhere(
    has_key: bool, wanted: str, goes_to: str, own: bool
) -> None:
    assert goes_with_own_key(policy(key=has_key), wanted, "openai", goes_to) is own


@pytest.mark.parametrize(("stored", "refused"), [(None, 0), ("file_id", 1)])
def test_stored_object_is_refused_with_a_shared_key_and_with_no_other(
    stored: str | None, refused: int
) -> None:
    call = Call("openai", Dialect.OPENAI_CHAT, "chat", metered=True, stored=stored)

    shared = list(stored_reasons(call, policy(), "either", "openai"))
    own = list(stored_reasons(call, policy(key=False), "either", "openai"))

    assert (len(shared), len(own)) == (refused, 0)
    assert all("file_id" in reason.message for reason in shared)


@pytest.mark.parametrize(
    ("ids", "own", "refused"),
    [
        (("file_1",), {"file_1"}, 0),
        (("file_1", "file_2"), {"file_1", "file_2", "file_3"}, 0),
        (("file_1", "file_2"), {"file_1"}, 1),
        (("file_1", ""), {"file_1"}, 1),
        ((), {"file_1"}, 1),
    ],
)
def test_what_the_agents_own_calls_have_made_may_be_named(
    ids: tuple[str, ...], own: set[str], refused: int
) -> None:
    call = Call(
        "openai", Dialect.OPENAI_CHAT, "chat", metered=True, stored="file_id", stored_ids=ids
    )

    assert len(list(stored_reasons(call, policy(), "either", "openai", own))) == refused


CORP, RENTED = "corp.openai.azure.com", "mallory.openai.azure.com"


@pytest.mark.parametrize(
    ("host", "wanted", "refused"),
    [
        (CORP, "either", 0),
        (CORP, "injected", 0),
        (RENTED, "either", 1),
        (RENTED, "injected", 1),
        (RENTED, "own", 0),
    ],
)
def test_key_goes_to_no_host_that_anybody_can_have(host: str, wanted: str, refused: int) -> None:
    azure = replace(facts.providers()["azure"], hosts=(CORP,), key=KeySource(env="AZURE_KEY"))
    call = sent_to(Call("azure", Dialect.OPENAI_CHAT, "chat", metered=True), azure, host)

    reasons = list(host_reasons(call, policy(azure), wanted, "azure"))

    assert len(reasons) == refused
    assert all(CORP in reason.message and RENTED in reason.message for reason in reasons)


@pytest.mark.parametrize("name", ["bedrock", "vertex", "openai-regional", "xai-regional"])
def test_hosts_of_regions_are_the_providers_own(name: str) -> None:
    assert facts.takes_key(facts.providers()[name], "anything.example")
