"""Who may stay connected: strangers are few, and a tunnel ends with the right to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from weakref import WeakKeyDictionary

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

DEAF_SECONDS = 30
"""How long whoever takes nothing of what is still to be sent keeps the socket of an ended connection."""


class Connections:
    """Closes the connections that nobody may keep open."""

    def __init__(self, station: Station, doorkeeper: Doorkeeper) -> None:
        """Nobody is connected yet."""
        self.station = station
        self.doorkeeper = doorkeeper
        self.strangers: dict[connection.Client, str] = {}
        self.per_source: Counter[str] = Counter()
        self.writers: WeakKeyDictionary[connection.Connection, asyncio.StreamWriter] = (
            WeakKeyDictionary()
        )

    # ------------------------------------------------------------------------- strangers

    def client_connected(self, client: connection.Client) -> None:
        """Make room for a newcomer: the strangers that have waited longest go first.

        A flood so drives out itself, and an agent comes through.
        """
        self.remember(client, client)
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
        self.leave_nothing_open(client)

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Know what has to be closed."""
        self.remember(data.client, data.server)

    def server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Nothing of a server stays open, whether it goes on sending or has stopped reading."""
        self.leave_nothing_open(data.server)

    def remember(self, client: connection.Client, made: connection.Connection) -> None:
        """Know the socket of a client, or of a server of it, for when it ends."""
        transport = transport_of(client, made)
        if transport is not None and isinstance(transport.writer, asyncio.StreamWriter):
            self.writers[made] = transport.writer

    def leave_nothing_open(self, ended: connection.Connection) -> None:
        """Close the socket of a connection that is over, also where mitmproxy has not.

        It leaves one open whose handler is cancelled while it waits to hand over more bytes. And a
        closed one stays, with all that is still to be sent, for as long as the other side reads nothing.
        """
        writer = self.writers.pop(ended, None)
        if writer is not None:
            writer.close()
            give_up_on_the_deaf(writer.transport)

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


def give_up_on_the_deaf(closing: asyncio.WriteTransport, left: int | None = None) -> None:
    """Drop what is still to be sent to whoever took nothing of it for a while.

    Args:
        left: How many bytes there were at the last look.
    """
    size = closing.get_write_buffer_size()
    if size and (left is None or size < left):
        loop = asyncio.get_running_loop()
        loop.call_later(DEAF_SECONDS, give_up_on_the_deaf, closing, size)
    elif size:
        closing.abort()


def transport_of(client: connection.Client, made: connection.Connection) -> ConnectionIO | None:
    """mitmproxy's hold on the socket of a client, or of a server of it, while it has one."""
    handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
    return handler.transports.get(made) if handler else None
