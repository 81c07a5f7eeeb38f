"""Policies in tests are text; this writes and loads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.writing import Load, Problems
from tollkeeper.errors import PolicyError
from tollkeeper.policy.load import LoadedPolicy, load


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Loads a policy from its text."""

    def load_it(text: str) -> LoadedPolicy:
        path = tmp_path / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return load_it


@pytest.fixture
def problems_of(load_text: Load, tmp_path: Path) -> Problems:
    """The problems of a policy that does not load, as ``line:column: message``."""

    def problems(text: str) -> list[str]:
        with pytest.raises(PolicyError) as caught:
            load_text(text)
        return [str(one).removeprefix(f"{tmp_path}/policy.yaml:") for one in caught.value.problems]

    return problems
