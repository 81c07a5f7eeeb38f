"""What one proxy process was asked to open, and what it says once it is open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import ctx, master

from tollkeeper.proxy.addresses import EXPOSED, Address
from tollkeeper.proxy.huge_pages import use_huge_pages
from tollkeeper.proxy.operator_port import OperatorPort
from tollkeeper.proxy.process_file import ProcessFile
from tollkeeper.proxy.quick import look_less_for_garbage
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a running proxy is reached."""

    listeners: tuple[Address, ...]
    web_url: str | None
    operator: Address | None

    @property
    def port(self) -> int:
        """Of the first listener."""
        return self.listeners[0].port


@dataclass(slots=True)
class Serving:
    """How one proxy process is asked to serve, and what it opened besides mitmproxy's own."""

    station: Station
    listen: tuple[Address, ...]
    web: int | None
    operator: Address | None
    grace_seconds: float
    announce: Callable[[Listening], None]
    operator_port: OperatorPort | None = None

    async def open_operator_port(self, made_master: master.Master) -> Address | None:
        """Where it was opened, if it was asked for.

        Raises:
            OSError: When the address is taken or not ours.
        """
        if self.operator is None:
            return None
        self.operator_port = OperatorPort(self.station, made_master)
        opened = await self.operator_port.open(self.operator)
        self.station.own_ports = frozenset({opened.port})
        if not opened.is_loopback:
            log.warning("The operator port %s is reached from other machines", opened)
        log.info("Health and figures on %s", opened)
        return opened

    async def close(self) -> None:
        """Close what was opened; probes are answered until the end."""
        if self.operator_port is not None:
            await self.operator_port.close()


class Announcer:
    """Says that the proxy listens: to its caller, and in the process file."""

    def __init__(self, station: Station, file: ProcessFile, serving: Serving) -> None:
        """Keep what to say."""
        self.station, self.file, self.serving = station, file, serving

    async def running(self) -> None:
        """The listeners are open."""
        found = ctx.master.addons.get("proxyserver").listen_addrs()
        listeners = tuple(Address(*one[:2]) for one in found)
        web_url = getattr(ctx.master, "web_url", None)
        try:
            operator = await self.serving.open_operator_port(ctx.master)
        except OSError as error:
            # mitmproxy's errorcheck ends a process that logs an error at its start.
            log.error("The operator port cannot be opened: %s", error)  # noqa: TRY400 - to be mended by a person
            return
        for one in listeners:
            if not one.is_loopback:
                log.warning(EXPOSED, one)
        self.file.say(
            host=listeners[0].host,
            port=listeners[0].port,
            listeners=[str(one) for one in listeners],
            operator=str(operator) if operator else None,
            web=web_url,
            policy=str(self.station.policy_file.path),
            digest=self.station.policy_file.policy.digest,
            started_ns=time.time_ns(),
            grace_seconds=self.serving.grace_seconds,
            owner=self.station.owner,
        )
        where = ", ".join(map(str, listeners))
        policy = self.station.policy_file
        log.info("Started on %s: policy %s, %s", where, policy.path, policy.policy.mode)
        look_less_for_garbage()
        use_huge_pages()
        self.serving.announce(Listening(listeners, web_url, operator))
