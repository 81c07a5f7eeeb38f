"""A house a test; for whole processes a simulator for the session and an installation a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e import world as worlds
from e2e.world import World, unused_port, wait
from proxy.house import House
from proxy.web import Web
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


@pytest.fixture
def web(world: World, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setattr(
        worlds, "SERVE", worlds.SERVE.replace("port=0", f"port=0, web={unused_port()}")
    )
    world.agent()
    proxy = world.proxy()
    return Web(proxy, wait(lambda: json.loads(world.home.process.read_text())["web"]))
