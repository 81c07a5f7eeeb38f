"""Several listeners, and what is said of them."""

from __future__ import annotations

import json
import socket

import pytest

from e2e.world import Proxy, World, wait


def listening(world: World, *hosts: str) -> tuple[Proxy, list[str]]:
    """A proxy on these hosts, and its addresses as it says them."""
    addresses = ", ".join(f"Address({host!r}, 0)" for host in hosts)
    proxy = world.proxy(f"listen=[{addresses}]")
    said = wait(lambda: json.loads(world.home.process.read_text()))
    return proxy, said["listeners"]


def test_every_listener_takes_calls(world: World) -> None:
    world.agent()
    proxy, said = listening(world, "127.0.0.1", "127.0.0.2")

    ports = [int(one.rpartition(":")[2]) for one in said]

    assert [one.rpartition(":")[0] for one in said] == ["127.0.0.1", "127.0.0.2"]
    assert proxy.port == ports[0]
    assert world.calls(proxy)[0]["status"] == 200
    with socket.create_connection(("127.0.0.2", ports[1]), timeout=90) as client:
        client.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 407 ")
    assert "reached from other machines" not in proxy.log.read_text()


def test_listener_for_other_machines_says_what_that_means_and_wants_credentials(
    world: World,
) -> None:
    world.agent()
    proxy, [said] = listening(world, "0.0.0.0")

    assert f"{said} is reached from other machines" in proxy.log.read_text()
    for lines in (b"CONNECT api.openai.com:443 HTTP/1.1", b"GET http://x.example/ HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=90) as client:
            client.sendall(lines + b"\r\nhost: x.example\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 407 ")


def test_one_taken_address_of_several_starts_no_proxy(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="address already in use"):
            world.proxy(f"listen=[Address('127.0.0.1', 0), Address('127.0.0.1', {port})]")

    assert not world.home.process.exists()
