"""One simulator for the session; a fresh installation a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.world import World
from tollkeeper.simulator.lab import Lab, in_process


@pytest.fixture(scope="session")
def session_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with in_process(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def world(tmp_path: Path, session_lab: Lab) -> Iterator[World]:
    session_lab.reset()
    with ExitStack() as stack:
        yield World(tmp_path, session_lab, stack)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, session_lab: Lab) -> Iterator[World]:
    """An installation with an agent and a proxy that the tests of one module share."""
    with ExitStack() as stack:
        made = World(tmp_path_factory.mktemp("town"), session_lab, stack)
        session_lab.reset()
        made.agent()
        made.proxy()
        yield made
