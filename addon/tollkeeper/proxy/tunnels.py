"""What happens below HTTP: which bytes are decrypted, which address is dialled, which roots are trusted.

An undecrypted tunnel must be TLS to the very name of its CONNECT. Every address is resolved here and
the checked one is dialled, so that no name can lead to loopback, private or metadata addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import tempfile
from functools import lru_cache
from pathlib import Path

import certifi
from mitmproxy import ctx, exceptions, tls
from mitmproxy.net import server_spec
from mitmproxy.net import tls as net_tls
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import layer, layers, server_hooks
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.layers.tls import parse_client_hello
from OpenSSL import SSL

from tollkeeper import facts
from tollkeeper.domain import Provider
from tollkeeper.proxy.http_layer import RefuseTunnel, governed_layer
from tollkeeper.proxy.layers import Dress
from tollkeeper.proxy.sightings import Sightings
from tollkeeper.proxy.station import Caller, Station

log = logging.getLogger(__name__)

ENCRYPTED_CLIENT_HELLO = 0xFE0D
"""TLS extension of ECH. Source: https://www.iana.org/assignments/tls-extensiontype-values/"""

CLIENT_HELLO_LIMIT_BYTES = 64 * 1024
"""More than any real ClientHello; beyond it the tunnel is closed."""

CONNECTIONS_PER_ADDRESS = 100
"""mitmproxy opens at most five upstream connections for one client connection; HTTP/2 clients in
front of HTTP/1.1 providers need one each call, and ``concurrent`` is the limit that people set."""


class Tunnels:
    """Layer choice, dialling and trust for every connection."""

    def __init__(self, station: Station, dress: Dress) -> None:
        """Keep the station and how outgoing requests are dressed."""
        self.station = station
        self.layer = governed_layer(dress, self.body_limit_bytes)
        self.names: dict[str, tuple[str, int]] = {}
        self.sightings = Sightings(station)

    def body_limit_bytes(self) -> int:
        """As the policy in force has it."""
        return self.station.policy_file.policy.body_limit_bytes

    # -------------------------------------------------------------------------- layers

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Choose a layer; where that breaks the connection is closed, not left to mitmproxy's choice."""
        try:
            self.choose_layer(nextlayer)
        except exceptions.AddonHalt:
            raise
        except BaseException:
            nextlayer.layer = RefuseTunnel(nextlayer.context)
            raise

    def choose_layer(self, nextlayer: layer.NextLayer) -> None:
        """Relay an undecrypted tunnel; re-class every fresh HTTP layer.

        mitmproxy's own choice is asked for here, because the layer it makes starts right after.

        Raises:
            AddonHalt: While more bytes are needed, so that nobody else chooses.
        """
        caller = self.station.callers.get(nextlayer.context.client)
        if caller is not None and not caller.decrypted:
            passes = self.may_relay(caller, nextlayer.data_client())
            if passes is None:
                raise exceptions.AddonHalt
            if passes:
                self.sightings.saw(caller)
            relay = layers.TCPLayer(nextlayer.context, ignore=True)
            nextlayer.layer = relay if passes else RefuseTunnel(nextlayer.context)
            return
        whole = whole_hello(nextlayer.data_client())
        if whole is None:
            raise exceptions.AddonHalt
        if not whole:
            nextlayer.layer = RefuseTunnel(nextlayer.context)
            return
        ctx.master.addons.get("nextlayer").next_layer(nextlayer)
        for one in nextlayer.context.layers:
            if type(one) is HttpLayer:
                one.__class__ = self.layer

    def may_relay(self, caller: Caller, data: bytes) -> bool | None:
        """Whether these first bytes may pass; None while more of them are needed."""
        if len(data) < 3:
            return None
        if not starts_like_tls_record(data) or caller.target is None:
            return self.refuse(caller, "it does not speak TLS")
        try:
            hello = parse_client_hello(data)
        except ValueError:
            return self.refuse(caller, "its ClientHello is malformed")
        if hello is None:
            return None if len(data) < CLIENT_HELLO_LIMIT_BYTES else False
        if facts.normalise_host(hello.sni or "") != caller.target[0]:
            return self.refuse(caller, "its SNI is not the name it asked for")
        if any(kind == ENCRYPTED_CLIENT_HELLO for kind, _ in hello.extensions):
            return self.refuse(caller, "its ClientHello is encrypted")
        return True

    def refuse(self, caller: Caller, why: str) -> bool:
        """Count and log a tunnel that is closed."""
        self.station.turned_away[f"tunnel closed: {why}"] += 1
        log.warning("A tunnel of %s was closed: %s", caller.user, why)
        return False

    # ------------------------------------------------------------------------- dialling

    def client_connected(self, client: object) -> None:
        """Let one client connection have as many upstream connections as its calls need."""
        server = ctx.master.addons.get("proxyserver")
        handler = server.connections.get(getattr(client, "id", None)) if server else None
        if handler is not None:
            handler.max_conns.default_factory = lambda: asyncio.Semaphore(CONNECTIONS_PER_ADDRESS)

    async def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Resolve the name, check the address, dial just that."""
        data.server.error = "Tollkeeper could not check this address."
        asked = data.server.address
        if asked is None or facts.is_house(facts.normalise_host(asked[0]) or ""):
            data.server.error = f"{facts.HOUSE} is the proxy itself: nothing of it is forwarded."
            return
        upstream = self.station.upstream_proxy
        chained = upstream and asked == server_spec.parse(upstream, "http")[1]
        if data.server.via is not None or chained:  # the owner's own proxy resolves and dials
            data.server.error = None
            return
        host, port = asked[0], asked[1]
        name = facts.normalise_host(host)
        provider = self.station.policy_file.provider_of(name) if name else None
        if provider is not None and provider.connect_to is not None:
            dial, data.server.error = provider.connect_to, None
        else:
            owned = provider is not None and provider.name not in facts.providers()
            dial, data.server.error = await self.resolve(host, port, private=owned)
        if data.server.error is None and dial[1] in self.station.own_ports and is_here(dial[0]):
            data.server.error = f"{host} leads to this proxy's operator port."
        if data.server.error is None:
            self.names[data.server.id] = (host, port)
            data.server.address = dial

    async def resolve(
        self, host: str, port: int, *, private: bool
    ) -> tuple[tuple[str, int], str | None]:
        """The first address of a name that may be dialled, or why none may."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            return (host, port), f"{host} could not be resolved: {error.strerror or error}"
        addresses = [str(entry[4][0]) for entry in found]
        if not private and any(is_private(address) for address in addresses):
            return (host, port), f"{host} leads to a private address, which is not dialled."
        return (addresses[0], port), None

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Give the connection its name back: mitmproxy reuses connections by the name asked for."""
        self.restore(data)

    def server_connect_error(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Give the connection its name back, so that errors speak of the name."""
        self.restore(data)

    def restore(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Past ``__setattr__``, which forbids a new address on an open connection."""
        name = self.names.pop(data.server.id, None)
        if name is not None:
            vars(data.server)["address"] = name


def whole_hello(data: bytes) -> bool | None:
    """False for a TLS greeting that mitmproxy would collect without end, None while one may end.

    Whatever does not look like TLS is true: other layers have bounds of their own.
    """
    if not starts_like_tls_record(data):
        return True
    try:
        hello = parse_client_hello(data)
    except ValueError:
        return False
    if hello is not None:
        return True
    return None if len(data) < CLIENT_HELLO_LIMIT_BYTES else False


class Trust:
    """Trusts a provider's extra root, for that provider's connections alone.

    The connection object is mitmproxy's ``TlsConfig``'s; where we stand before it, it is asked first.
    """

    def __init__(self, station: Station) -> None:
        """Keep the station."""
        self.station = station

    def tls_start_server(self, tls_start: tls.TlsData) -> None:
        """Swap the context before the handshake; name and verification stay as they were set."""
        policy = self.station.policy_file.policy
        provider = self.station.policy_file.provider_of(tls_start.conn.sni or "")
        if provider is None or provider.trust is None:
            return
        if tls_start.ssl_conn is None:
            ctx.master.addons.get("tlsconfig").tls_start_server(tls_start)
        if tls_start.ssl_conn is None:
            return
        tls_start.ssl_conn.set_context(trusting_context(provider, policy.upstream_trust))


def is_private(address: str) -> bool:
    """Whether an IP address may not be dialled for a host that the owner did not name."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return not (mapped or ip).is_global or ip.is_multicast


def is_here(address: str) -> bool:
    """Whether an address is one of this machine's: only those can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def trusting_context(provider: Provider, upstream_trust: str | None) -> SSL.Context:
    """A verifying client context with the public roots and the provider's own."""
    assert provider.trust is not None
    return _context(merged_roots(provider.trust, upstream_trust))


@lru_cache(64)
def _context(roots: str) -> SSL.Context:
    return net_tls.create_proxy_server_context(
        method=net_tls.Method.TLS_CLIENT_METHOD,
        min_version=net_tls.DEFAULT_MIN_VERSION,
        max_version=net_tls.DEFAULT_MAX_VERSION,
        cipher_list=None,
        ecdh_curve=None,
        verify=net_tls.Verify.VERIFY_PEER,
        ca_path=None,
        ca_pemfile=roots,
        client_cert=None,
        legacy_server_connect=False,
    )


@lru_cache(64)
def merged_roots(*extra: str | None) -> str:
    """A temporary PEM file with the public roots and the named files."""
    parts = [Path(certifi.where()).read_text(encoding="ascii", errors="ignore")]
    parts += [Path(path).read_text(encoding="ascii", errors="ignore") for path in extra if path]
    with tempfile.NamedTemporaryFile(
        "w", prefix="tollkeeper-roots-", suffix=".pem", delete=False
    ) as file:
        file.write("\n".join(parts))
    return file.name
