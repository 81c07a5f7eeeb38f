"""What a deployment runs, as the owner wrote it."""

from __future__ import annotations

import pytest

from tollkeeper import facts
from tollkeeper.domain import Provider

AZURE = Provider(
    "azure", (), "openai", deployments={"chat-*": "gpt-4o", "chat-mini": "gpt-4o-mini", "x": "o3"}
)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("chat-prod", "gpt-4o"),
        ("chat-mini", "gpt-4o-mini"),
        ("x", "o3"),
        ("gpt-4.1", "gpt-4.1"),
        ("GPT-4.1", "GPT-4.1"),
    ],
)
def test_a_name_beats_a_glob_and_what_nobody_wrote_stands_for_itself(name: str, model: str) -> None:
    assert facts.model_of(AZURE, name) == model


@pytest.mark.parametrize("name", ["Chat-Prod", "CHAT-PROD", "chat-prod"])
def test_no_spelling_of_a_deployment_hides_what_it_runs(name: str) -> None:
    shouted = Provider("azure", (), "openai", deployments={"CHAT-*": "gpt-4o"})

    assert facts.model_of(AZURE, name) == "gpt-4o"
    assert facts.model_of(shouted, name) == "gpt-4o"


def test_on_azure_a_deployment_that_nobody_mapped_has_one_spelling() -> None:
    assert facts.model_of(facts.providers()["azure"], "GPT-4o") == "gpt-4o"
