"""Requests that are sent before the answers to those before them have come."""

from __future__ import annotations

import socket

from e2e.tunnel import CHAT, Tunnel, dial, request
from e2e.world import World, wait
from tollkeeper.domain import Window


def statuses(opened: socket.socket, count: int) -> list[bytes]:
    """Of so many answers, or of those that came before the connection ended."""
    opened.settimeout(20)
    seen = b""
    while seen.count(b"HTTP/1.1 ") < count and (piece := opened.recv(65536)):
        seen += piece
    return [part[:3] for part in seen.split(b"HTTP/1.1 ")[1:]]


def test_pipelined_calls_are_judged_answered_and_settled_one_by_one(world: World) -> None:
    world.agent(requests={Window.TOTAL: 5})
    proxy = world.proxy()

    with Tunnel(world, proxy) as tunnel:
        tunnel.send(request(CHAT) * 8)
        told = statuses(tunnel.socket, 8)

    assert told == [b"200"] * 5 + [b"402"] * 3
    assert len(world.lab.calls()) == 5
    wait(lambda: world.books()["calls"] == 5)
    assert world.books()["open"] == 0


def test_pipelined_connects_without_a_token_are_refused_every_one(world: World) -> None:
    line = b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n"

    with dial(world.proxy()) as opened:
        opened.sendall(line * 300)
        told = statuses(opened, 300)

    assert told == [b"407"] * 300
