"""Another proxy in between: reached with credentials that nothing shows."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e.world import Proxy, World, wait

CREDENTIALS = "corp-user:corp-pass-8Zq1"
BASIC = "Basic " + base64.b64encode(CREDENTIALS.encode()).decode()


@dataclass(slots=True)
class CorporateProxy:
    """A plain proxy that knows one password; every tunnel of it ends at the simulator."""

    target: int
    port: int = 0
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if f"proxy-authorization: {BASIC}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Who Are You\r\ncontent-length: 0\r\n\r\n")
        elif not head.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nplain")
        else:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def running(proxy: CorporateProxy) -> Iterator[None]:
    """In a thread of its own."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(proxy.serve, "127.0.0.1", 0))
    proxy.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.fixture
def corporate(world: World) -> Iterator[CorporateProxy]:
    world.agent()
    made = CorporateProxy(world.lab.port)
    with running(made):
        yield made


def behind(
    world: World, corporate: CorporateProxy, credentials: dict[str, str], **more: Any
) -> Proxy:
    """A proxy that goes through it."""
    upstream = {"proxy": f"http://127.0.0.1:{corporate.port}", "credentials": credentials}
    world.policy({"upstream": upstream, **more})
    return world.proxy(CORP_PROXY=CREDENTIALS)


def nowhere_to_be_seen(world: World) -> None:
    """Neither in clear nor encoded, in nothing that the proxy wrote."""
    for path in [path for path in world.folder.rglob("*") if path.is_file()]:
        written = path.read_bytes()
        for secret in (CREDENTIALS, CREDENTIALS.split(":")[1], BASIC.split()[1]):
            assert secret.encode() not in written, path


def test_call_goes_through_the_upstream_proxy_with_its_credentials(
    world: World, corporate: CorporateProxy
) -> None:
    proxy = behind(world, corporate, {"env": "CORP_PROXY"})

    [answer] = world.calls(proxy)

    assert answer["status"] == 200
    [head] = corporate.heads
    assert head.startswith("CONNECT api.openai.com:443 HTTP/1.1\r\n")
    [call] = world.lab.calls(ended=1)
    assert CREDENTIALS not in str(call)
    assert BASIC not in str(call)
    assert world.tokens["atlas"] not in head
    proxy.stop()
    nowhere_to_be_seen(world)


def test_credentials_in_a_file_are_read_at_each_use(
    world: World, corporate: CorporateProxy
) -> None:
    secret = world.home.root / "corp"
    secret.write_text("wrong:wrong")
    secret.chmod(0o600)
    proxy = behind(world, corporate, {"file": "corp"})

    [refused] = world.calls(proxy)
    secret.write_text(CREDENTIALS + "\n")
    [answer] = world.calls(proxy)

    assert refused["status"] == 502
    assert b"407" in refused["body"]
    assert answer["status"] == 200
    assert world.books()["calls"] == 2
    [kept] = world.ledger().rows("select cost_nano_usd from calls where outcome = 'not_sent'")
    assert kept["cost_nano_usd"] == 0


def test_missing_credentials_are_told_in_the_log_and_nothing_passes(
    world: World, corporate: CorporateProxy
) -> None:
    proxy = behind(world, corporate, {"env": "NOT_SET_ANYWHERE"})

    [answer] = world.calls(proxy)

    assert answer["status"] == 502
    assert world.lab.calls() == []
    assert "credentials are missing: the environment variable NOT_SET_ANYWHERE" in (
        proxy.log.read_text()
    )


def test_plain_request_carries_them_to_the_upstream_proxy(
    world: World, corporate: CorporateProxy
) -> None:
    hosts = {"default": "inspect", "ports": [443, 80]}
    proxy = behind(world, corporate, {"env": "CORP_PROXY"}, other_hosts=hosts)
    auth = base64.b64encode(f"atlas:{world.tokens['atlas']}".encode()).decode()

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=90) as client:
        lines = f"GET http://x.example/a HTTP/1.1\r\nhost: x.example\r\nproxy-authorization: Basic {auth}"
        client.sendall(f"{lines}\r\n\r\n".encode())
        answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 200 ")
    [head] = corporate.heads
    assert head.startswith("GET http://x.example/a HTTP/1.1\r\n")
    assert auth not in head


def test_other_hosts_tunnel_goes_through_it_too(world: World, corporate: CorporateProxy) -> None:
    proxy = behind(world, corporate, {"env": "CORP_PROXY"})

    world.calls(proxy, host="files.example", ca=str(world.lab.certificate))

    assert corporate.heads[0].startswith("CONNECT files.example:443 ")


def test_upstream_proxy_that_is_gone_refuses_the_call_and_costs_nothing(world: World) -> None:
    world.agent()
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    world.policy({"upstream": {"proxy": f"http://127.0.0.1:{port}"}})
    proxy = world.proxy()

    [answer] = world.calls(proxy)

    assert answer["status"] == 502
    assert world.books() == {"spent": 0, "calls": 1, "open": 0}


def test_new_upstream_proxy_waits_for_the_next_start_and_that_is_said(
    world: World, corporate: CorporateProxy
) -> None:
    proxy = behind(world, corporate, {"env": "CORP_PROXY"})

    world.policy({"upstream": {"proxy": "http://other.example:3128"}})

    wait(lambda: "in force after the next start" in proxy.log.read_text())


def test_policy_with_a_password_does_not_load(world: World, tmp_path: Path) -> None:
    world.agent()
    world.policy({"upstream": {"proxy": "http://a:secret-pass@proxy.example:3128"}})

    with pytest.raises(AssertionError) as told:
        world.proxy()

    assert "upstream.credentials" in str(told.value)
    assert "secret-pass" not in str(told.value)
