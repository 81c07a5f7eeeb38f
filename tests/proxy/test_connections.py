from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.proxy.server import ConnectionIO
from mitmproxy.test import tflow

from proxy.house import House, mitmproxy_context
from tollkeeper.proxy import connections
from tollkeeper.proxy.connections import Connections
from tollkeeper.proxy.station import Caller


class Proxyserver:
    """mitmproxy's addon of that name, with nobody's sockets."""

    def __init__(self) -> None:
        self.connections: dict[str, Any] = {}


@pytest.fixture
def held(house: House, monkeypatch: pytest.MonkeyPatch) -> Connections:
    monkeypatch.setattr(connections, "STRANGERS_PER_SOURCE", 3)
    monkeypatch.setattr(connections, "STRANGERS", 5)
    return Connections(house.station, house.doorkeeper)


def come(held: Connections, source: str, count: int) -> list[object]:
    clients = [tflow.tclient_conn() for _ in range(count)]
    for client in clients:
        client.peername = (source, 1)
        held.client_connected(client)
    return list(clients)


def test_of_one_source_the_strangers_that_waited_longest_go(held: Connections) -> None:
    with mitmproxy_context(Proxyserver()):
        first = come(held, "10.0.0.1", 5)
        other = come(held, "10.0.0.2", 1)

    assert list(held.strangers) == [*first[2:], *other]
    assert held.per_source == {"10.0.0.1": 3, "10.0.0.2": 1}
    assert held.station.turned_away["too many connections without credentials"] == 2


def test_strangers_of_many_sources_are_bounded_too(held: Connections) -> None:
    with mitmproxy_context(Proxyserver()):
        for number in range(9):
            come(held, f"10.0.0.{number}", 1)

    assert list(held.strangers.values()) == [f"10.0.0.{number}" for number in range(4, 9)]


def test_who_showed_a_good_token_is_no_stranger(held: Connections) -> None:
    with mitmproxy_context(Proxyserver()):
        for client in come(held, "10.0.0.1", 3):
            held.station.callers[client] = Caller("atlas", "")  # type: ignore[index]
        known = come(held, "10.0.0.1", 3)

    assert list(held.strangers) == known


def test_connection_that_ends_is_forgotten(held: Connections) -> None:
    with mitmproxy_context(Proxyserver()):
        for client in come(held, "10.0.0.1", 3):
            held.client_disconnected(client)  # type: ignore[arg-type]

    assert (held.strangers, held.per_source) == ({}, {})


def test_client_that_reads_nothing_keeps_no_socket(
    held: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DEAF_SECONDS", 0.01)
    deaf, ours = socket.socketpair()
    client = tflow.tclient_conn()
    server = Proxyserver()

    async def end_it_while_there_is_more_to_send() -> None:
        _, writer = await asyncio.open_connection(sock=ours)
        writer.write(b"more than the buffers of two sockets hold" * 100_000)
        transports = {client: ConnectionIO(writer=writer)}
        server.connections[client.id] = SimpleNamespace(transports=transports)
        held.client_connected(client)
        held.client_disconnected(client)
        async with asyncio.timeout(90):
            while ours.fileno() != -1:
                await asyncio.sleep(0.01)

    with deaf, mitmproxy_context(server):
        asyncio.run(end_it_while_there_is_more_to_send())
