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
    [("chat-prod", "gpt-4o"), ("chat-mini", "gpt-4o-mini"), ("x", "o3"), ("gpt-4.1", "gpt-4.1")],
)
def test_a_name_beats_a_glob_and_what_nobody_wrote_stands_for_itself(name: str, model: str) -> None:
    assert facts.model_of(AZURE, name) == model
