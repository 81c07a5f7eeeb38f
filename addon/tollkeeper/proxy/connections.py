"""Who may stay connected: strangers are few, and a tunnel ends with the right to it."""

from __future__ import annotations

from collections import Counter

from mitmproxy import connection, ctx, tls
from mitmproxy.proxy import server_hooks
from mitmproxy.proxy.server import ConnectionIO

from tollkeeper import facts
from tollkeeper.proxy.doorkeeper import Doorkeeper, other_host
from tollkeeper.proxy.station import Caller, Station

STRANGERS_PER_SOURCE = 512
"""Connections of one address that have shown no good token. Agents show theirs within milliseconds,
so that this is far more than a burst of them needs; each costs some 30 KB."""

STRANGERS = 2048
"""The same, of all addresses together."""


class Connections:
    """Closes the connections that nobody may keep open."""

    def __init__(self, station: Station, doorkeeper: Doorkeeper) -> None:
        """Nobody is connected yet."""
        self.station = station
        self.doorkeeper = doorkeeper
        self.strangers: dict[connection.Client, str] = {}
        self.per_source: Counter[str] = Counter()

    # ------------------------------------------------------------------------- strangers

    def client_connected(self, client: connection.Client) -> None:
        """Make room for a newcomer: the strangers that have waited longest go first.

        A flood so drives out itself, and an agent comes through.
        """
        source = client.peername[0]
        self.strangers[client] = source
        self.per_source[source] += 1
        if len(self.strangers) <= STRANGERS and self.per_source[source] <= STRANGERS_PER_SOURCE:
            return
        for known in [one for one in self.strangers if self.is_known(one)]:
            self.forget(known)
        if self.per_source[source] > STRANGERS_PER_SOURCE:
            self.drive_out(next(one for one, where in self.strangers.items() if where == source))
        elif len(self.strangers) > STRANGERS:
            self.drive_out(next(iter(self.strangers)))

    def client_disconnected(self, client: connection.Client) -> None:
        """It is no stranger any more, and nothing of it stays open."""
        self.forget(client)
        leave_nothing_open(client, client)

    def server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Nothing of a server stays open, however much it still sends."""
        leave_nothing_open(data.client, data.server)

    def is_known(self, client: connection.Client) -> bool:
        """Whether it has shown a good token."""
        caller = self.station.callers.get(client)
        return caller is not None and caller.refused is None

    def forget(self, client: connection.Client) -> None:
        """Count it no longer."""
        source = self.strangers.pop(client, None)
        if source is not None:
            self.per_source[source] -= 1
            if not self.per_source[source]:
                del self.per_source[source]

    def drive_out(self, client: connection.Client) -> None:
        """Close a stranger's connection."""
        self.forget(client)
        self.station.turned_away["too many connections without credentials"] += 1
        close(client)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """Count a client that does not trust the CA, or speaks no TLS; the log says which, a few times."""
        self.station.turned_away["TLS with the client failed"] += 1

    # --------------------------------------------------------------------------- tunnels

    def close_refused(self) -> None:
        """Close open tunnels to other hosts whose caller or target may not go on.

        Calls to providers are judged one by one and need no such look.
        """
        reasons: dict[tuple[str, str], bool] = {}
        for client, caller in list(self.station.callers.items()):
            if caller.provider is not None or caller.target is None:
                continue
            who = (caller.user, caller.token_sha256)
            if who not in reasons:
                self.doorkeeper.look_again(caller)
                reasons[who] = caller.refused is not None
            if reasons[who] or self.is_closed_by_policy(caller):
                self.station.turned_away["tunnel closed: not allowed any more"] += 1
                close(client)

    def is_closed_by_policy(self, caller: Caller) -> bool:
        """Whether the policy in force would not open this tunnel, or not in this way."""
        assert caller.target is not None
        (name, port), file = caller.target, self.station.policy_file
        if facts.is_house(name):
            return False
        if file.provider_of(name) is not None or port not in file.policy.other_hosts.ports:
            return True
        wanted = {"tunnel": False, "inspect": True}.get(other_host(file.policy, name))
        return wanted is not caller.decrypted


def close(client: connection.Client) -> None:
    """Close a client's connection, as mitmproxy closes those that are silent for too long."""
    transport = transport_of(client, client)
    if transport is not None and transport.handler is not None:
        transport.handler.cancel("closed by Tollkeeper")


def leave_nothing_open(client: connection.Client, ended: connection.Connection) -> None:
    """Close the socket of a connection that is over, where mitmproxy has not.

    It leaves one open whose handler is cancelled while it waits to hand over more bytes.
    """
    transport = transport_of(client, ended)
    if transport is not None and transport.writer is not None:
        transport.writer.close()


def transport_of(client: connection.Client, of: connection.Connection) -> ConnectionIO | None:
    """mitmproxy's hold on the socket of a client, or of a server of it, while it has one."""
    handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
    return handler.transports.get(of) if handler else None
