"""What happens by itself: leases, recovery, lapsing, tidying, policy looks, the spool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tollkeeper.errors import LedgerError
from tollkeeper.ledger.spool import append, take_in
from tollkeeper.proxy.connections import Connections
from tollkeeper.proxy.policy_file import LOOK_SECONDS as POLICY_SECONDS
from tollkeeper.proxy.processes import is_alive
from tollkeeper.proxy.station import Station
from tollkeeper.proxy.waiting_room import WaitingRoom

log = logging.getLogger(__name__)

LEASE_SECONDS = 3.0
"""Between two renewals; the ledger gives a lease several times as long."""

LAPSE_SECONDS = 0.5
CHECKPOINT_SECONDS = 1.0
TIDY_SECONDS = 20.0
TUNNELS_SECONDS = 1.0
"""How long a tunnel to another host may outlive the right to it."""


class Housekeeping:
    """An addon whose tasks live as long as the proxy."""

    def __init__(self, station: Station, room: WaitingRoom, connections: Connections) -> None:
        """Keep the rooms that need keeping."""
        self.station = station
        self.waiting_room = room
        self.connections = connections
        self.tasks: list[asyncio.Task[None]] = []
        self.stopped = False

    async def running(self) -> None:
        """Recover what dead processes left, then start the periodic work."""
        await self.renew()
        await self.recover()
        self.every(LEASE_SECONDS, self.renew)
        self.every(LAPSE_SECONDS, self.lapse)
        self.every(POLICY_SECONDS, self.look_at_policy)
        self.every(TUNNELS_SECONDS, self.look_at_tunnels)
        self.every(TIDY_SECONDS, self.recover)
        self.every(TIDY_SECONDS, self.tidy)
        self.every(CHECKPOINT_SECONDS, self.checkpoint)

    async def done(self) -> None:
        """Stop, and write down what is only in memory: settlements that lingered are then written, too.

        What is still in flight is recovered by the next process or booked by its lease.
        """
        self.stopped = True
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.record_turned_away()
        finally:
            await self.station.writer.end()

    def every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again; whatever breaks is met again later, and never ends it."""

        async def repeat() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await work()
                except LedgerError as error:
                    log.warning("Housekeeping (%s) waits: %s", work.__name__, error)

        def go_on(ended: asyncio.Task[None]) -> None:
            self.tasks.remove(ended)
            if not ended.cancelled() and not self.stopped:
                log.error("Housekeeping (%s) broke", work.__name__, exc_info=ended.exception())
                self.every(seconds, work)

        task = asyncio.create_task(repeat(), name=f"tollkeeper {work.__name__}")
        task.add_done_callback(go_on)
        self.tasks.append(task)

    async def renew(self) -> None:
        """Say that this process lives."""
        station = self.station
        await station.write(lambda: station.ledger.take_lease(station.owner, station.now_ns()))
        station.written_ns = station.now_ns()

    async def recover(self) -> None:
        """Take in the spool, then book what dead processes left and the spool did not settle.

        The spool is emptied once its records are committed, so it shares no transaction: a full disk
        is met by the commit.
        """
        station = self.station
        taken = await station.write(lambda: take_in(station.ledger, station.spool), alone=True)
        if taken:
            log.warning("%d records were taken in from the spool", taken)
        found = await station.write(lambda: station.ledger.recover(is_alive, station.now_ns()))
        if found:
            log.warning("Calls of a proxy that died were booked: %d", found)

    async def lapse(self) -> None:
        """Lapse approvals whose time is over and wake who waits on them."""
        station = self.station
        if await station.write(lambda: station.ledger.lapse(station.now_ns())):
            self.waiting_room.look()

    async def look_at_policy(self) -> None:
        """Take a changed policy, and put into the record what came of it."""
        station, file = self.station, self.station.policy_file
        if not await file.look():
            return
        kind = "policy_broken" if file.broken else "policy_loaded"
        data = {"digest": file.policy.digest, "mode": str(file.policy.mode)}
        if file.broken:
            data["problem"] = file.broken[:2000]
        elif file.policy.upstream_proxy != station.upstream_proxy:
            log.warning("The new upstream.proxy is in force after the next start")
        await station.write(
            lambda: station.ledger.record(kind, station.owner, data, station.now_ns())
        )

    async def look_at_tunnels(self) -> None:
        """End the open tunnels of revoked and paused agents, and those that the policy closed."""
        self.connections.close_refused()

    async def checkpoint(self) -> None:
        """Let the ledger move its log, in a thread: that waits for the disk."""
        await asyncio.to_thread(self.station.ledger.checkpoint)

    async def tidy(self) -> None:
        """Drop what no longer matters; write down who was turned away."""
        station = self.station
        await station.write(lambda: station.ledger.tidy(station.now_ns()))
        given_up = await station.write(lambda: station.ledger.give_up_awaited(station.now_ns()))
        if given_up:
            log.warning("%d background calls that nobody asked for were booked", given_up)
        await self.record_turned_away()

    async def record_turned_away(self) -> None:
        """One record of all refusals before a principal was known; the spool takes it if need be."""
        station = self.station
        turned_away = dict(station.turned_away)
        if not turned_away:
            return
        station.turned_away.clear()
        now_ns = station.now_ns()
        try:
            await station.write(
                lambda: station.ledger.record("turned_away", station.owner, turned_away, now_ns)
            )
        except LedgerError:
            record = {"kind": "turned_away", "actor": station.owner, "data": turned_away}
            append(station.spool, record, now_ns)
        except asyncio.CancelledError:
            station.turned_away.update(turned_away)  # ``done`` writes them
            raise
