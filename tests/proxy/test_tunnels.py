"""Below HTTP: which bytes are decrypted, which address is dialled, which roots are trusted."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import connection, exceptions, tls
from mitmproxy.addons import next_layer, tlsconfig
from mitmproxy.proxy import context, layer, layers, server_hooks
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.test import tflow

from proxy.house import OPENAI, House, mitmproxy_context
from tollkeeper.launch.ca import ensure_ca
from tollkeeper.proxy.http_layer import RefuseTunnel
from tollkeeper.proxy.station import Caller
from tollkeeper.proxy.tunnels import (
    CLIENT_HELLO_LIMIT_BYTES,
    Trust,
    Tunnels,
    is_private,
    merged_roots,
    whole_hello,
)


def client_hello(name: str | None) -> bytes:
    """The first bytes of a real TLS client."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = ssl.create_default_context()
    made.check_hostname = name is not None
    with pytest.raises(ssl.SSLWantReadError):
        made.wrap_bio(into, out, server_hostname=name).do_handshake()
    return out.read()


@pytest.fixture
def tunnels(house: House) -> Tunnels:
    return Tunnels(house.station, house.outgoing.dress)


def caller(target: str = "example.com") -> Caller:
    return Caller("atlas", "", target=(target, 443), decrypted=False)


# ------------------------------------------------------------------ undecrypted tunnels


def test_tunnel_with_the_name_of_its_connect_may_pass(tunnels: Tunnels) -> None:
    assert tunnels.may_relay(caller(), client_hello("example.com")) is True


@pytest.mark.parametrize("name", ["api.openai.com", "evil.example", None])
def test_tunnel_with_another_name_or_none_is_closed(tunnels: Tunnels, name: str | None) -> None:
    assert tunnels.may_relay(caller(), client_hello(name)) is False
    assert sum(tunnels.station.turned_away.values()) == 1


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
     b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x00" * 50],
)  # fmt: skip
def test_tunnel_that_does_not_speak_tls_is_closed(tunnels: Tunnels, data: bytes) -> None:
    assert tunnels.may_relay(caller(), data) is False


def test_tunnel_waits_for_all_of_the_hello_but_not_for_ever(tunnels: Tunnels) -> None:
    hello = client_hello("example.com")

    for cut in (0, 1, 2, 5, 40, len(hello) - 1):
        assert tunnels.may_relay(caller(), hello[:cut]) is None
    endless = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(CLIENT_HELLO_LIMIT_BYTES)
    assert tunnels.may_relay(caller(), endless) is False


def test_greeting_of_a_tunnel_that_is_decrypted_is_bounded_too() -> None:
    hello = client_hello("api.openai.com")
    endless = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(CLIENT_HELLO_LIMIT_BYTES)

    assert [whole_hello(one) for one in (b"", b"GET / HTTP/1.1", hello)] == [True] * 3
    assert whole_hello(hello[:-1]) is None
    assert whole_hello(endless) is False
    assert whole_hello(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00") is False


def test_encrypted_client_hello_is_closed(tunnels: Tunnels) -> None:
    hello = bytearray(client_hello("example.com"))
    # Give an extension that servers ignore, session tickets (35), the number of ECH.
    at = hello.index(b"\x00\x23\x00\x00")
    hello[at : at + 2] = b"\xfe\x0d"

    assert tunnels.may_relay(caller(), bytes(hello)) is False


def nextlayer_for(options: Any, client: connection.Client, data: bytes) -> layer.NextLayer:
    below = context.Context(client, options)
    below.layers = [modes.HttpProxy(below)]
    made = layer.NextLayer(below)
    made.data_client = lambda: data  # type: ignore[method-assign]
    made.data_server = lambda: b""  # type: ignore[method-assign]
    return made


def chosen(tunnels: Tunnels, client: connection.Client, data: bytes) -> layer.NextLayer:
    async def choose() -> layer.NextLayer:
        with mitmproxy_context(next_layer.NextLayer()) as made:
            asked = nextlayer_for(made.options, client, data)
            tunnels.next_layer(asked)
            return asked

    return asyncio.run(choose())


def test_fresh_http_layer_becomes_a_governed_one(tunnels: Tunnels) -> None:
    asked = chosen(tunnels, tflow.tclient_conn(), b"CONNECT api.openai.com:443 HTTP/1.1\r\n")

    assert type(asked.layer) is tunnels.layer
    assert issubclass(tunnels.layer, HttpLayer)


def test_undecrypted_tunnel_is_relayed_unseen_or_closed(tunnels: Tunnels) -> None:
    client = tflow.tclient_conn()
    tunnels.station.callers[client] = caller()

    good = chosen(tunnels, client, client_hello("example.com"))
    bad = chosen(tunnels, client, b"SSH-2.0-x")
    with pytest.raises(exceptions.AddonHalt):
        chosen(tunnels, client, b"\x16")

    assert type(good.layer) is layers.TCPLayer
    assert good.layer.flow is None
    assert type(bad.layer) is RefuseTunnel


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_choice_that_breaks_closes_the_connection(
    tunnels: Tunnels, error: type[BaseException]
) -> None:
    client = tflow.tclient_conn()
    tunnels.station.callers[client] = caller()
    with mitmproxy_context(next_layer.NextLayer()) as made:
        asked = nextlayer_for(made.options, client, b"")

        def broken() -> bytes:
            raise error

        asked.data_client = broken  # type: ignore[method-assign]
        with pytest.raises(error):
            tunnels.next_layer(asked)

    assert type(asked.layer) is RefuseTunnel


# ------------------------------------------------------------------ dialling


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "::1", "::",
     "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
     "2001:db8::1", "fd00:ec2::254"],
)  # fmt: skip
def test_private_address_is_one(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_public_address_is_none(address: str) -> None:
    assert not is_private(address)


def dialled(tunnels: Tunnels, host: str, port: int = 443) -> connection.Server:
    server = connection.Server(address=(host, port))
    data = server_hooks.ServerConnectionHookData(server, tflow.tclient_conn())
    asyncio.run(tunnels.server_connect(data))
    return server


def test_name_that_leads_to_loopback_is_not_dialled(tunnels: Tunnels) -> None:
    server = dialled(tunnels, "localhost")

    assert "private address" in str(server.error)


def test_name_that_cannot_be_resolved_is_not_dialled(tunnels: Tunnels) -> None:
    assert "could not be resolved" in str(dialled(tunnels, "nowhere.invalid").error)


def test_name_with_one_private_address_among_public_ones_is_not_dialled(
    tunnels: Tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(host: str, port: int, *_: object, **__: object) -> list[tuple]:
        return [(2, 1, 6, "", (ip, port)) for ip in ("93.184.216.34", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)

    assert "private address" in str(dialled(tunnels, "rebind.example").error)


def test_checked_address_is_dialled_and_the_name_comes_back(
    tunnels: Tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(host: str, port: int, *_: object, **__: object) -> list[tuple]:
        return [(2, 1, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    server = dialled(tunnels, "example.com")
    at_dialling = server.address
    server.state = connection.ConnectionState.OPEN

    tunnels.server_connected(server_hooks.ServerConnectionHookData(server, tflow.tclient_conn()))

    assert server.error is None
    assert at_dialling == ("93.184.216.34", 443)
    assert server.address == ("example.com", 443)
    assert tunnels.names == {}


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, MemoryError])
def test_fault_while_resolving_dials_nothing(
    tunnels: Tunnels, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def lookup(*_: object, **__: object) -> list[tuple]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    server = connection.Server(address=("example.com", 443))
    data = server_hooks.ServerConnectionHookData(server, tflow.tclient_conn())

    with pytest.raises(BaseException):  # noqa: B017 - whatever it is, it is not the point
        asyncio.run(tunnels.server_connect(data))

    assert server.error


def test_provider_may_be_dialled_where_the_owner_says_and_others_may_not(
    house: House, tunnels: Tunnels
) -> None:
    house.govern_by({"providers": {"openai": {"connect_to": "127.0.0.1:9"}}})

    server = dialled(tunnels, OPENAI)

    assert server.error is None
    assert server.address == ("127.0.0.1", 9)
    assert dialled(tunnels, "localhost").error


# ------------------------------------------------------------------ trust


def test_extra_root_is_trusted_for_its_provider_alone(house: House, tmp_path: Path) -> None:
    ensure_ca(house.home.ca)
    trust = str(house.home.ca_certificate)
    house.govern_by({"providers": {"openai": {"trust": trust}}})
    config = tlsconfig.TlsConfig()
    with mitmproxy_context(config) as made:
        made.configure(config, confdir=str(tmp_path / "conf"))
        starts = {}
        for name in (OPENAI, "api.anthropic.com"):
            server = connection.Server(address=(name, 443))
            server.sni = name
            starts[name] = tls.TlsData(server, context.Context(tflow.tclient_conn(), made.options))
            Trust(house.station).tls_start_server(starts[name])

    assert starts[OPENAI].ssl_conn is not None
    assert starts["api.anthropic.com"].ssl_conn is None


def test_roots_are_the_public_ones_and_the_named_files(tmp_path: Path) -> None:
    extra = tmp_path / "extra.pem"
    extra.write_text("-----BEGIN CERTIFICATE-----\nMINE\n-----END CERTIFICATE-----\n")

    merged = Path(merged_roots(str(extra), None)).read_text()

    assert merged.count("BEGIN CERTIFICATE") > 50
    assert "MINE" in merged
