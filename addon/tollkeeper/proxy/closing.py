"""How a proxy ends: no new calls, time for those under way, and whatever is cut is booked.

Held flows are answered at once that their approval is pending, so that the client's next try joins it
at the proxy that comes after. What does not end in time is closed as if its client had left: the way
back then books it, never as free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mitmproxy import master

from tollkeeper.domain import Code, Effect, Reason
from tollkeeper.proxy.layers import under_way
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)

GRACE_SECONDS = 20.0
"""What calls under way get: less than the 30 s after which Kubernetes, or the 90 s after which systemd,
kills; most answers are done by then."""

CUT_SECONDS = 5.0
"""How long cut calls may take to be booked: as long as a write waits for other processes."""

LOOK_SECONDS = 0.02

SHUT = Reason(
    Effect.DENY,
    Code.POLICY_UNAVAILABLE,
    "tollkeeper",
    "Tollkeeper is shutting down and takes no new calls. Send it again when it is back.",
)


class Closing:
    """Ends one proxy; the first signal asks for it, the second for haste."""

    def __init__(
        self,
        station: Station,
        made_master: master.Master,
        grace_seconds: float,
        progress: Callable[[int], None],
    ) -> None:
        """Nothing ends yet.

        Args:
            progress: Told how many calls are still under way, whenever that changes.
        """
        self.station, self.master, self.progress = station, made_master, progress
        self.grace_seconds = grace_seconds
        self.task: asyncio.Task[None] | None = None
        self.hurried = False

    def told(self) -> None:
        """End: what a signal handler calls."""
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self.close())
        elif not self.hurried:
            self.hurried = True
            if calls := under_way():
                log.warning("Told to stop at once: %d under way, which are cut", calls)

    async def close(self) -> None:
        """Stop accepting, wait, cut, and let mitmproxy end; it ends whatever goes wrong here."""
        try:
            server = self.master.addons.get("proxyserver")
            self.station.shut = SHUT
            await server.servers.update([])
            calls = under_way()
            self.progress(calls)
            if calls:
                log.info("Shutting down; %d under way, which get %g s", calls, self.grace_seconds)
            await self.until_done(self.grace_seconds)
            left = under_way()
            if left:
                log.warning("Cut after that time, and booked as cut: %d", left)
            self.cut(server)
            self.hurried = False
            await self.until_done(CUT_SECONDS)
        finally:
            self.master.shutdown()

    async def until_done(self, seconds: float) -> None:
        """Until no call is under way, the time is up or haste is asked for."""
        loop = asyncio.get_running_loop()
        until, told = loop.time() + seconds, -1
        while (calls := under_way()) and not self.hurried and loop.time() < until:
            if calls != told:
                self.progress(calls)
                told = calls
            await asyncio.sleep(LOOK_SECONDS)

    @staticmethod
    def cut(server: Any) -> None:
        """Close every client connection, as mitmproxy does with those that are silent too long."""
        for handler in list(server.connections.values()):
            transport = handler.transports.get(handler.client)
            if transport is not None and transport.handler is not None:
                transport.handler.cancel("shutting down")
