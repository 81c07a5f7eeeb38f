"""A house a test; for whole processes a simulator for the session and an installation a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.world import World
from proxy.house import House
from tollkeeper.simulator.lab import Lab, in_thread


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def proxy_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with in_thread(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def world(tmp_path: Path, proxy_lab: Lab) -> Iterator[World]:
    proxy_lab.reset()
    with ExitStack() as stack:
        yield World(tmp_path, proxy_lab, stack)
