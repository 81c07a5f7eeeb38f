from __future__ import annotations

from pathlib import Path

import pytest

from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Mode, Policy, Window
from tollkeeper.policy.document import read
from tollkeeper.policy.examples import instant_ns, provider_of
from tollkeeper.policy.given import GivenCall
from tollkeeper.policy.load import load
from tollkeeper.policy.ready_made import NAMES, purpose, ready_made

PATHS = ready_made()


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    return PATHS[request.param]


def loaded(name: str) -> Policy:
    return load(PATHS[name]).policy


def test_loads_without_warnings_and_passes_its_own_examples(path: Path) -> None:
    assert load(path).warnings == []


def test_names_the_schema_and_says_in_one_sentence_for_whom_it_is(path: Path) -> None:
    first, second = path.read_text().splitlines()[:2]

    assert first == "# yaml-language-server: $schema=schema.json"
    assert second == f"# {purpose(path)}"
    assert purpose(path).startswith("For ")
    assert purpose(path).endswith(".")


def test_has_examples_that_pass_and_that_do_not(path: Path) -> None:
    root, _ = read(path.read_bytes(), str(path))
    assert root is not None
    effects = {one["expect"]["effect"] for one in root.plain()["examples"]}

    assert "allow" in effects
    assert effects & {"deny", "hold"}


def test_models_of_passing_examples_have_a_known_price(path: Path) -> None:
    policy = load(path).policy
    book = PriceBook(policy)
    root, _ = read(path.read_bytes(), str(path))
    assert root is not None
    for example in root.plain()["examples"]:
        model = example["given"]["call"]["model"]
        now_ns = instant_ns(GivenCall(model=model), policy.timezone)
        sheet = book.sheet(provider_of(policy, model, book, now_ns), model, now_ns)
        assert sheet is not None or example["expect"]["effect"] == "deny", model


def test_every_file_in_the_folder_is_ready_made() -> None:
    folder = PATHS["starter"].parent

    assert {path.stem for path in folder.glob("*.yaml")} == set(NAMES)
    assert set(PATHS) == set(NAMES)


def test_starter_keeps_every_agent_to_five_dollars_a_day() -> None:
    limits = loaded("starter").agents["default"]

    assert limits.budget_nano_usd[Window.DAY] == 5 * 10**9
    assert limits.rpm == 60
    assert limits.max_output_tokens is not None


def test_only_the_observing_policy_observes() -> None:
    assert {name for name in NAMES if loaded(name).mode is Mode.OBSERVE} == {"observe"}


def test_lockdown_reaches_no_other_host_and_offers_no_tools() -> None:
    policy = loaded("lockdown")

    assert policy.other_hosts.default == "deny"
    assert policy.ceilings.tools == ()
    assert policy.ceilings.key == "injected"


def test_pipelines_never_wait_for_a_person() -> None:
    assert all(rule.effect.name != "HOLD" for rule in loaded("ci").rules)
