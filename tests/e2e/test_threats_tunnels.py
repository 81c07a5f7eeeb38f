"""Attacks on where a connection leads: addresses, names, raw bytes, upgrades, tunnels left open."""

from __future__ import annotations

import base64
import ssl
import time
from contextlib import suppress

import pytest

from e2e.tunnel import (
    Tunnel,
    ask,
    connect,
    credentials,
    dial,
    head_of,
    pour,
    records,
    request,
)
from e2e.world import World, wait

OTHER_HOSTS = {
    "other_hosts": {
        "inspect": ["localhost", "ip6-localhost", "inspected.example"],
        "deny": ["denied.example"],
        "ports": [443, 80],
    }
}


@pytest.fixture(scope="module", autouse=True)
def _policy(town: World) -> None:
    town.policy(OTHER_HOSTS)
    wait(lambda: "Policy reloaded" in town.proxies[0].log.read_text())


ADDRESSES = [
    "127.0.0.1", "127.1", "0", "0.0.0.0", "2130706433", "017700000001", "0x7f000001", "0177.0.0.1",
    "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]",
    "169.254.169.254", "2852039166", "0xa9.0xfe.0xa9.0xfe", "[fe80::1]", "[fd00:ec2::254]",
    "10.0.0.1", "192.168.1.1", "100.100.100.200", "8.8.8.8", "\u0661\u0662\u0667.0.0.1",
]  # fmt: skip
"""Loopback, metadata services and private networks in every way of writing an address."""


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("port", [443, 80])
def test_no_tunnel_leads_to_an_address(town: World, address: str, port: int) -> None:
    with dial(town.proxies[0]) as opened:
        opened.sendall(
            f"CONNECT {address}:{port} HTTP/1.1\r\nHost: {address}:{port}\r\n".encode()
            + credentials(town)
            + b"\r\n"
        )

        assert head_of(opened)[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400")


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_plain_request_leads_to_an_address(town: World, address: str) -> None:
    with dial(town.proxies[0]) as opened:
        opened.sendall(
            f"GET http://{address}/latest/meta-data HTTP/1.1\r\nHost: {address}\r\n".encode()
            + credentials(town)
            + b"\r\n"
        )

        assert head_of(opened)[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "ip6-localhost"])
def test_no_name_of_a_private_address_is_dialled(town: World, name: str) -> None:
    """The simulator listens on loopback, on a port that the policy could open as well."""
    with dial(town.proxies[0]) as opened:
        opened.sendall(
            f"GET http://{name}:80/ HTTP/1.1\r\nHost: {name}\r\n".encode()
            + credentials(town)
            + b"\r\n"
        )
        plain = head_of(opened)
    with Tunnel(town, town.proxies[0], name, sni="localhost") as tunnel:
        inspected = tunnel.ask(request(host=name, method="GET", path="/"))

    assert plain.startswith((b"HTTP/1.1 502", b"HTTP/1.1 403"))
    assert inspected.status in (403, 502)
    assert town.lab.calls() == []


@pytest.mark.parametrize(
    "first", [b"SSH-2.0-OpenSSH_9.0\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"\x16\x03\x01" * 40_000]
)  # fmt: skip
def test_undecrypted_tunnel_carries_nothing_but_tls(town: World, first: bytes) -> None:
    with dial(town.proxies[0]) as opened:
        assert connect(opened, "example.com:443", credentials(town)).startswith(b"HTTP/1.1 200")
        pour(opened, first)

        assert head_of(opened) == b""


def client_hello(name: str | None, *, encrypted: bool = False) -> bytes:
    """The first bytes of a real TLS client."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = ssl.create_default_context()
    made.check_hostname = name is not None
    with suppress(ssl.SSLWantReadError):
        made.wrap_bio(into, out, server_hostname=name).do_handshake()
    # An extension that servers ignore, session tickets (35), is given the number of ECH.
    return out.read().replace(
        b"\x00\x23\x00\x00", b"\xfe\x0d\x00\x00" if encrypted else b"\x00\x23\x00\x00"
    )


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (client_hello("api.openai.com"), "its SNI is not the name it asked for"),
        (client_hello("evil.example"), "its SNI is not the name it asked for"),
        (client_hello(None), "its SNI is not the name it asked for"),
        (client_hello("example.com", encrypted=True), "its ClientHello is encrypted"),
    ],
    ids=["a provider's name", "another name", "no name", "an encrypted hello"],
)
@pytest.mark.parametrize("cut", [0, 3, 60], ids=["whole", "after 3 bytes", "after 60"])
def test_undecrypted_tunnel_leads_to_the_name_of_its_connect_alone(
    town: World, hello: bytes, why: str, cut: int
) -> None:
    with dial(town.proxies[0]) as opened:
        assert connect(opened, "example.com:443", credentials(town)).startswith(b"HTTP/1.1 200")
        opened.sendall(hello[:cut])
        time.sleep(0.05 if cut else 0)
        pour(opened, hello[cut:])

        assert head_of(opened) == b""
    assert why in town.proxies[0].log.read_text()


@pytest.mark.parametrize(
    "first", [b"SSH-2.0-OpenSSH_9.0\r\n\r\n", b"\x00" * 64 + b"\r\n\r\n", b"\x16\x03\x01" * 40_000]
)
def test_provider_tunnel_carries_no_raw_bytes(town: World, first: bytes) -> None:
    with dial(town.proxies[0]) as opened:
        connect(opened, "api.openai.com:443", credentials(town))
        pour(opened, first)
        said = head_of(opened)

    assert said == b"" or said.startswith(b"HTTP/1.1 4")
    assert town.lab.calls() == []


@pytest.mark.parametrize(
    "fields",
    [
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")],
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
         ("Sec-WebSocket-Key", base64.b64encode(b"0" * 16).decode())],
    ],
)  # fmt: skip
def test_upgrade_leads_out_of_nothing(town: World, fields: list[tuple[str, str]]) -> None:
    town.lab.reset()

    said = ask(town, request(fields=fields))

    assert said.status in (200, 400, 403, 426)
    for call in town.lab.calls():
        assert not [value for name, value in call["headers"] if name.lower() == "upgrade"]
    assert town.books()["open"] == 0


def test_h2c_by_prior_knowledge_reaches_nobody(town: World) -> None:
    town.lab.reset()
    with Tunnel(town, town.proxies[0]) as tunnel:
        tunnel.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")

        assert head_of(tunnel.socket)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"")
    assert town.lab.calls() == []


@pytest.mark.parametrize(
    "data",
    [
        b"POST https://api.anthropic.com/v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\n\r\n",
        b"POST https://api.anthropic.com/v1/messages HTTP/1.1\r\nHost: api.openai.com\r\n\r\n",
        b"POST http://api.openai.com/v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\r\n",
        b"POST https://api.openai.com:8443/v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n\r\n",
        b"CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n",
    ],
)
def test_request_inside_a_tunnel_leads_nowhere_else(town: World, data: bytes) -> None:
    town.lab.reset()

    said = ask(town, data)

    assert said.status in (400, 403)
    assert town.lab.calls() == []


@pytest.mark.parametrize("sni", ["api.anthropic.com", "example.com", "API.OPENAI.COM.evil.example"])
def test_sni_of_another_host_is_refused(town: World, sni: str) -> None:
    town.lab.reset()

    said = ask(town, request(), sni=sni)

    assert (said.status, said.code) == (403, "policy_denied")
    assert town.lab.calls() == []


@pytest.mark.parametrize(
    ("target", "start"),
    [
        ("api.openai.com.:443", b"HTTP/1.1 200"),
        ("API.OpenAI.Com:443", b"HTTP/1.1 200"),
        ("api.openai.com:80", b"HTTP/1.1 403"),
        ("api.openai.com:22", b"HTTP/1.1 403"),
        ("example.com:22", b"HTTP/1.1 403"),
        ("denied.example:443", b"HTTP/1.1 403"),
        ("DENIED.example.:443", b"HTTP/1.1 403"),
        ("chatgpt.com:443", b"HTTP/1.1 200"),
    ],
)
def test_every_spelling_of_a_host_is_that_host(town: World, target: str, start: bytes) -> None:
    with dial(town.proxies[0]) as opened:
        assert connect(opened, target, credentials(town)).startswith(start)


LOOKALIKES = [
    "api.openai.com.evil.example", "evil-api.openai.com.example", "xapi.openai.com", "openai.com.evil.example",
    "api-openai.com", "api.openai.com-evil.example", "api.openai.co", "\u0430pi.openai.com", "xn--pi-7kc.openai.com",
    "mitm.it",
]  # fmt: skip


@pytest.mark.parametrize("name", LOOKALIKES)
def test_name_that_looks_like_a_provider_is_none(world: World, name: str) -> None:
    """Where other hosts are denied, nothing of it is opened; a provider's name still is."""
    world.policy({"other_hosts": {"default": "deny"}})
    world.agent()
    proxy = world.proxy()
    with dial(proxy) as opened, dial(proxy) as plain, dial(proxy) as provider:
        line = f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n".encode()
        opened.sendall(line + credentials(world) + b"\r\n")
        plain.sendall(f"GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())

        assert head_of(opened)[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400")
        assert head_of(plain)[:12] in (b"HTTP/1.1 407", b"HTTP/1.1 400")
        head = connect(provider, "api.openai.com:443", credentials(world))
        assert head.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("host", ["chatgpt.com", "claude.ai", "gemini.google.com"])
def test_subscription_backend_is_governed_and_not_tunnelled(town: World, host: str) -> None:
    said = ask(town, request(host=host, path="/backend-api/conversation"), host)

    assert (said.status, said.code) == (403, "unknown_endpoint")


# ------------------------------------------------------------------ tunnels left open


@pytest.mark.parametrize("host", ["example.com", "inspected.example"])
@pytest.mark.parametrize("state", ["paused", "deleted"])
def test_open_tunnel_ends_when_its_agent_may_not_go_on(town: World, host: str, state: str) -> None:
    name = f"{state}-{host.partition('.')[0]}"
    town.agent(name)
    with dial(town.proxies[0]) as opened:
        assert connect(opened, f"{host}:443", credentials(town, name)).startswith(b"HTTP/1.1 200")

        ledger = town.ledger()
        ledger.set_agent_state(name, state, time.time_ns(), "tester")
        ledger.close()

        assert opened.recv(1) == b""


def test_paused_agent_is_refused_inside_an_open_tunnel_to_a_provider(town: World) -> None:
    town.agent("patient")
    town.lab.reset()
    with Tunnel(town, town.proxies[0], agent="patient") as tunnel:
        before = tunnel.ask(request())
        ledger = town.ledger()
        ledger.set_agent_state("patient", "paused", time.time_ns(), "tester")
        ledger.close()
        after = tunnel.ask(request())

    assert (before.status, after.status, after.code) == (200, 403, "agent_paused")
    assert len(town.lab.calls()) == 1


def test_open_tunnel_ends_when_the_policy_denies_its_host(town: World) -> None:
    with dial(town.proxies[0]) as opened:
        assert connect(opened, "example.com:443", credentials(town)).startswith(b"HTTP/1.1 200")
        town.policy({"other_hosts": {"default": "deny"}})

        assert opened.recv(1) == b""
    town.policy(OTHER_HOSTS)
    wait(lambda: town.proxies[0].log.read_text().count("Policy reloaded") >= 3)
    wait(
        lambda: sum(
            one.get("tunnel closed: not allowed any more", 0)
            for one in records(town, "turned_away")
        ),
        30,
    )


# ------------------------------------------------------------------ what is left of it in the record


def test_every_tunnel_that_is_not_opened_or_closed_again_is_counted_in_the_record(
    world: World,
) -> None:
    world.policy({"other_hosts": {"deny": ["denied.example"]}})
    world.agent()
    proxy = world.proxy()
    for target in ("127.0.0.1:443", "169.254.169.254:80", "denied.example:443", "example.com:22"):
        with dial(proxy) as opened:
            assert connect(opened, target, credentials(world)).startswith(b"HTTP/1.1 403")
    for first in (b"SSH-2.0-x\r\n", client_hello("evil.example"), client_hello("example.com", encrypted=True)):  # fmt: skip
        with dial(proxy) as opened:
            connect(opened, "example.com:443", credentials(world))
            pour(opened, first)
            assert head_of(opened) == b""

    proxy.stop()

    counted: dict[str, int] = {}
    for one in records(world, "turned_away"):
        counted |= one
    assert counted == {
        "connect 403": 4,
        "tunnel closed: it does not speak TLS": 1,
        "tunnel closed: its SNI is not the name it asked for": 1,
        "tunnel closed: its ClientHello is encrypted": 1,
    }


PATTERNS = [
    "bedrock-runtime.us-east-1.amazonaws.com.evil.example", "evilbedrock-runtime.us-east-1.amazonaws.com",
    "bedrock-runtime.evil.example", "mine.openai.azure.com.evil.example", "openai.azure.com.evil.example",
    "aiplatform.googleapis.com.evil.example", "us-central1-aiplatform.googleapis.com.evil.example",
    "evil-aiplatform.googleapis.com.example", "generativelanguage.googleapis.com.evil.example",
]  # fmt: skip
"""Names that an unanchored pattern of a region, a resource or a cloud would take for a provider's."""


@pytest.mark.parametrize("name", PATTERNS)
def test_name_that_only_holds_a_providers_pattern_is_no_provider(world: World, name: str) -> None:
    """A provider's tunnel is opened where all other hosts are denied."""
    world.policy({"other_hosts": {"default": "deny"}})
    world.agent()
    with dial(world.proxy()) as opened:
        assert connect(opened, f"{name}:443", credentials(world)).startswith(b"HTTP/1.1 403")
    world.proxies[0].stop()
    assert records(world, "turned_away") == [{"connect 403": 1}]
