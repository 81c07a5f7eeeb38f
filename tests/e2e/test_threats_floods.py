"""Attacks by mass: connections without credentials, endless answers, callers who are turned away."""

from __future__ import annotations

import os
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e import world as worlds
from e2e.tunnel import CHAT, ask, connect, credentials, dial, head_of, records, request
from e2e.world import World, wait
from tollkeeper.proxy.connections import STRANGERS_PER_SOURCE

SMALL = 20_000


def memory_mib(world: World) -> float:
    pages = Path(f"/proc/{world.proxies[-1].process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.fixture
def crowd(town: World) -> Iterator[list[socket.socket]]:
    """More strangers at the door than are let stand there."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(dial(town.proxies[-1])) for _ in range(STRANGERS_PER_SOURCE + 200)
        ]


def test_agent_comes_through_a_crowd_of_strangers(town: World, crowd: list[socket.socket]) -> None:
    town.lab.reset()
    before = memory_mib(town)

    said = ask(town, request())

    assert said.status == 200
    assert all(one.recv(1) == b"" for one in crowd[:150])
    assert memory_mib(town) < before + 100
    for one in crowd:
        one.close()
    why = "too many connections without credentials"
    wait(lambda: sum(one.get(why, 0) for one in records(town, "turned_away")) >= 150)


def test_who_shows_no_token_costs_one_record_for_all(town: World) -> None:
    before = len(town.ledger().audit(limit=100_000))
    wrong = b"Proxy-Authorization: Basic YXRsYXM6dGtfd3Jvbmc=\r\n"
    for number in range(300):
        with dial(town.proxies[-1]) as opened:
            head = [b"", wrong, b"Proxy-Authorization: Bearer x\r\n"][number % 3]
            assert b" 407 " in connect(opened, "example.com:443", head).split(b"\r\n")[0]

    assert len(town.ledger().audit(limit=100_000)) < before + 100  # one in so many seconds


def test_body_of_a_stranger_is_not_kept(town: World) -> None:
    before = memory_mib(town)
    with dial(town.proxies[-1]) as opened:
        opened.sendall(
            b"POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 200000000\r\n\r\n"
        )
        assert head_of(opened).startswith(b"HTTP/1.1 407")
        for _ in range(100):
            opened.sendall(b"x" * 1_000_000)

        assert memory_mib(town) < before + 30


def test_answer_that_is_too_large_is_refused_and_booked_as_reserved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = f"import tollkeeper.proxy.layers as l; l.ANSWER_LIMIT_BYTES = {SMALL};"
    monkeypatch.setattr(worlds, "SERVE", worlds.SERVE.replace("import sys", small + "import sys"))
    world.agent()
    world.proxy()
    long = CHAT | {
        "max_tokens": 8000,
        "messages": [{"role": "user", "content": "[sim tokens=8000]"}],
    }

    refused = ask(world, request(long))
    passed = ask(world, request())

    assert (refused.status, refused.code) == (503, "policy_unavailable")
    assert "larger than" in refused.body.decode()
    assert passed.status == 200
    assert len(world.lab.calls()) == 2
    ledger = world.ledger()
    [row, _] = ledger.rows(
        "select worst_nano_usd, cost_nano_usd, basis from calls order by at_ns, id"
    )
    ledger.close()
    assert row["cost_nano_usd"] == row["worst_nano_usd"] > 0
    assert row["basis"] == "reserved"
    assert world.books()["open"] == 0


def test_answer_that_nobody_meters_passes_whatever_its_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "import tollkeeper.proxy.layers as l; l.ANSWER_LIMIT_BYTES = 10;"
    monkeypatch.setattr(worlds, "SERVE", worlds.SERVE.replace("import sys", small + "import sys"))
    world.policy({"mode": "observe"})
    world.agent()
    world.proxy()

    said = ask(world, request(path="/v1/no-such-endpoint"))

    assert said.status == 404
    assert len(said.body) > 10
    assert len(world.lab.calls()) == 1


def test_credentials_are_asked_for_on_every_connection(town: World) -> None:
    with dial(town.proxies[-1]) as known, dial(town.proxies[-1]) as stranger:
        assert connect(known, "api.openai.com:443", credentials(town)).startswith(b"HTTP/1.1 200")

        assert connect(stranger, "api.openai.com:443").startswith(b"HTTP/1.1 407")


def test_flood_of_refused_connections_is_a_few_lines_of_log_and_counted_exactly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logged as ``up`` logs."""
    ours = (
        "import tollkeeper_cli.log_repeats as r; r.WINDOW_SECONDS = 3600;"
        "from tollkeeper_cli.log_format import log_to;"
        "log_to(Home.default(), json_lines=False, terminal=True)"
    )
    basic = "logging.basicConfig(level=logging.INFO)"
    monkeypatch.setattr(worlds, "SERVE", worlds.SERVE.replace(basic, ours))
    world.agent()
    proxy = world.proxy()
    flood = 150
    for _ in range(flood):
        with dial(proxy) as stranger:
            assert b" 407 " in connect(stranger, "example.com:443").split(b"\r\n")[0]
        with dial(proxy) as other:
            connect(other, "example.com:443", credentials(world))
            other.sendall(b"SSH-2.0-x\r\n")
            assert other.recv(1) == b""
        with dial(proxy) as distrustful:
            connect(distrustful, "api.openai.com:443", credentials(world))
            with pytest.raises(ssl.SSLError):
                ssl.create_default_context().wrap_socket(
                    distrustful, server_hostname="api.openai.com"
                )

    proxy.stop()

    lines = proxy.log.read_text().splitlines()
    assert len(lines) < 60
    assert world.home.log.read_text().splitlines() == lines
    assert len([line for line in lines if "140 more like it in the last minute" in line]) == 2
    counted: Counter[str] = Counter()
    for one in records(world, "turned_away"):
        counted.update(one)
    assert counted == {
        "no credentials": flood,
        "tunnel closed: it does not speak TLS": flood,
        "TLS with the client failed": flood,
    }
