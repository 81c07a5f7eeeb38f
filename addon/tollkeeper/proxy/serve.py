"""The proxy process: mitmproxy's master with the addons it needs and ours, in one ordered list."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, master, options
from mitmproxy.addons import (
    block,
    core,
    disable_h2c,
    dns_resolver,
    errorcheck,
    next_layer,
    proxyserver,
    tlsconfig,
    update_alt_svc,
)

from tollkeeper.errors import PolicyError, UsageError
from tollkeeper.home import Home
from tollkeeper.launch.ca import ensure_ca
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy import cockpit, inspector
from tollkeeper.proxy.addresses import Address
from tollkeeper.proxy.answering import Answering
from tollkeeper.proxy.closing import GRACE_SECONDS, Closing
from tollkeeper.proxy.connections import Connections
from tollkeeper.proxy.dispatch import CachedDispatch
from tollkeeper.proxy.doorkeeper import Doorkeeper
from tollkeeper.proxy.enforcer import Enforcer
from tollkeeper.proxy.housekeeping import Housekeeping
from tollkeeper.proxy.locks import LOCKED, LockedOptions, Locks
from tollkeeper.proxy.outgoing import Outgoing
from tollkeeper.proxy.policy_file import PolicyFile
from tollkeeper.proxy.process_file import ProcessFile
from tollkeeper.proxy.processes import owner_name
from tollkeeper.proxy.pruning import Pruning
from tollkeeper.proxy.quick import skip_debug_checks
from tollkeeper.proxy.quick_headers import QuickHeaders
from tollkeeper.proxy.serving import Announcer, Listening, Serving
from tollkeeper.proxy.station import Station
from tollkeeper.proxy.tunnels import Trust, Tunnels, merged_roots
from tollkeeper.proxy.upstream import Upstream
from tollkeeper.proxy.waiting_room import WaitingRoom
from tollkeeper.proxy.websockets import WebSockets

log = logging.getLogger(__name__)

SILENCE_SECONDS = 3600
"""mitmproxy cuts a connection that is silent this long outside a hook; slow models need more than
its ten minutes."""

SWITCH_SECONDS = 0.001
"""Python's thread switch interval: housekeeping threads may not hold the event loop up for 5 ms."""

WEB_ADDONS_REMOVED = (
    "upstreamauth",
    "scriptloader",
    "clientplayback",
    "serverplayback",
    "mapremote",
    "maplocal",
    "modifybody",
    "modifyheaders",
    "stickyauth",
    "stickycookie",
    "save",
    "savehar",
    "export",
    "cut",
    "proxyauth",
    "onboarding",
    "browser",
    "readfilestdin",
    "blocklist",
    "anticache",
    "anticomp",
    "intercept",
    "staticviewer",
)
"""What mitmweb brings along and a governed proxy must not have: a web token is no operator."""

WEB_COMMANDS_KEPT = (
    "commands.history.",
    "eventstore.clear",
    "flow.comment",
    "flow.kill",
    "flow.mark",
    "proxyserver.active_connections",
    "set",
    "view.clear",
    "view.filter.",
    "view.flows.remove",
    "view.flows.resolve",
    "view.focus.",
    "view.order",
    "view.properties.",
    "view.settings.",
)
"""Beginnings of the commands that only show things; ``options.reset`` would pass by our locks."""


WEB_COLUMNS = ["icon", "method", "path", "status", "time", "comment"]
"""What mitmweb's list shows of a flow; the comment says who, model, effect, cost and why."""

WEB_EVENTS = 1_000
"""Lines of the log that mitmweb keeps; the log file keeps more."""


def station_for(home: Home, policy: Path | None) -> Station:
    """Open the ledger and the policy.

    Raises:
        PolicyError: When the policy does not load.
        LedgerError: When the ledger cannot be opened.
        UsageError: When there is no state folder or policy yet.
    """
    path = policy or home.policy
    if not path.exists():
        raise UsageError(f"No policy at {path}: run `tollkeeper init` or name one with --policy.")
    key = home.read_operator_key()
    policy_file = PolicyFile(path)
    owner = owner_name()
    ledger = SqliteLedger(
        home.database,
        owner=owner,
        operator_key=key,
        busy_timeout_ms=0,
        durability=policy_file.policy.durability,
    )
    proxy = policy_file.policy.upstream_proxy
    return Station(
        home=home, ledger=ledger, policy_file=policy_file, owner=owner, upstream_proxy=proxy
    )


def our_addons(
    station: Station, locks: Locks | None = None, room: WaitingRoom | None = None
) -> list[Any]:
    """Ours, in order: options first, then who, where, what, and what happens by itself."""
    outgoing, doorkeeper = Outgoing(), Doorkeeper(station)
    room = WaitingRoom(station) if room is None else room  # an empty one is false
    connections = Connections(station, doorkeeper)
    upstream = Upstream(station, outgoing.dress)
    enforcer = Enforcer(station, doorkeeper, outgoing, room)
    return [
        locks or Locks(station.turned_away),
        connections,
        doorkeeper,
        Tunnels(station, upstream.dress),
        upstream,
        enforcer,
        WebSockets(enforcer, room),
        Housekeeping(station, room, connections),
    ]


def make_options(station: Station, listen: Sequence[Address]) -> options.Options:
    """mitmproxy's options as a governed proxy needs them."""
    policy = station.policy_file.policy
    mode = f"upstream:{station.upstream_proxy}" if station.upstream_proxy else "regular"
    return LockedOptions(
        listen_host=listen[0].host,
        listen_port=listen[0].port,
        confdir=str(station.home.ca),
        mode=[f"{mode}@{one.host}:{one.port}" for one in listen],
        ssl_verify_upstream_trusted_ca=(
            merged_roots(policy.upstream_trust) if policy.upstream_trust else None
        ),
    )


def settle_options(made: options.Options, station: Station) -> None:
    """What only exists once the addons are there."""
    made.update_known(
        **{name: value for name, value in LOCKED.items() if name in made},
        tcp_timeout=SILENCE_SECONDS,
    )


def headless(made: options.Options, station: Station) -> master.Master:
    """A master with only the addons that a governed proxy uses."""
    made_master = master.Master(made)
    tunnels_first = our_addons(station)
    made_master.addons.add(
        core.Core(),
        block.Block(),
        disable_h2c.DisableH2C(),
        proxyserver.Proxyserver(),
        dns_resolver.DnsResolver(),
        *tunnels_first,
        next_layer.NextLayer(),
        tlsconfig.TlsConfig(),
        Trust(station),
        update_alt_svc.UpdateAltSvc(),
        errorcheck.ErrorCheck(),
    )
    return made_master


def with_web(made: options.Options, station: Station, port: int) -> master.Master:
    """mitmweb on loopback, without the addons and commands that could disarm us."""
    made_master = inspector.GovernedWeb(made, with_termlog=False)
    for name in WEB_ADDONS_REMOVED:
        leave_out(made_master, name)
    room = WaitingRoom(station)
    room.show = lambda flow: made_master.view.update([flow])
    insert_before(made_master, "nextlayer", our_addons(station, room=room))
    answering = Answering(station, room)
    made_master.events.data = deque(maxlen=WEB_EVENTS)
    made_master.addons.add(Trust(station), Pruning(made_master.view))
    keep_commands(made_master)
    answering.add_commands(made_master.commands)
    inspector.install()
    inspector.lock(made_master.app)
    cockpit.open_on(made_master.app, answering)
    made.update(
        web_host="127.0.0.1",
        web_port=port or free_port(),
        web_open_browser=False,
        web_columns=WEB_COLUMNS,
    )
    return made_master


def free_port() -> int:
    """A free port on loopback: mitmweb would show ``0`` in its own address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def leave_out(made_master: master.Master, name: str) -> None:
    """Take out an addon that never ran; its ``done`` may be async and has nothing to end."""
    manager = made_master.addons
    addon = manager.get(name)
    if addon is None:
        return
    manager.chain = [one for one in manager.chain if one is not addon]
    del manager.lookup[name]


def keep_commands(made_master: master.Master) -> None:
    """Leave only harmless commands to the command bar and mitmweb's API."""
    history = made_master.addons.get("commandhistory")
    made_master.commands.add("commands.history.add", inspector.Memory(history).add)
    commands = made_master.commands.commands
    for name in [name for name in commands if not name.startswith(WEB_COMMANDS_KEPT)]:
        del commands[name]


def insert_before(made_master: master.Master, name: str, ours: list[Any]) -> None:
    """Register our addons and put them before mitmproxy's own of that name."""
    made_master.addons.add(*ours)
    chain = made_master.addons.chain
    at = chain.index(made_master.addons.get(name))
    made_master.addons.chain = [
        *chain[:at],
        *ours,
        *[addon for addon in chain[at:] if addon not in ours],
    ]


async def run(station: Station, serving: Serving) -> None:
    """Run one proxy until it is told to stop."""
    made = make_options(station, serving.listen)
    web = serving.web
    made_master = headless(made, station) if web is None else with_web(made, station, web)
    file = ProcessFile(station.home)
    made_master.addons.add(Announcer(station, file, serving))
    settle_options(made, station)
    CachedDispatch.install(made_master.addons)
    policy = station.policy_file.policy
    loaded = {"digest": policy.digest, "mode": str(policy.mode)}
    await station.write(
        lambda: station.ledger.record("policy_loaded", station.owner, loaded, station.now_ns())
    )
    closing = Closing(
        station, made_master, serving.grace_seconds, lambda calls: file.say(closing=calls)
    )
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, closing.told)
    try:
        await made_master.run()
    finally:
        await serving.close()
        file.remove()
        station.ledger.close()
        log.info("Stopped")


def serve(
    home: Home,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    listen: Sequence[Address] = (),
    policy: Path | None = None,
    web: int | None = None,
    operator: Address | None = None,
    grace_seconds: float = GRACE_SECONDS,
    announce: Callable[[Listening], None] = lambda listening: None,
) -> int:
    """Run the proxy in the foreground of this process; returns its exit code.

    Args:
        port: 0 takes a free one.
        listen: Where to listen instead of ``host`` and ``port``.
        web: mitmweb's port (0 takes a free one), or None for no mitmweb.
        operator: Where health and figures are served, or None for nowhere.
        grace_seconds: What calls under way get when it is told to stop.
        announce: Called once, when connections are accepted.

    Raises:
        PolicyError, LedgerError, UsageError: When it cannot start; the text says why.
    """
    ensure_ca(home.ca)
    sys.setswitchinterval(SWITCH_SECONDS)
    skip_debug_checks()
    QuickHeaders.read_as_these()
    station = station_for(home, policy)
    serving = Serving(
        station, tuple(listen) or (Address(host, port),), web, operator, grace_seconds, announce
    )
    try:
        asyncio.run(run(station, serving))
    except exceptions.OptionsError as error:
        raise UsageError(str(error)) from error
    except SystemExit as stopped:
        return int(stopped.code or 0) if not isinstance(stopped.code, str) else 1
    return 0


__all__ = ["Listening", "PolicyError", "serve", "station_for"]
