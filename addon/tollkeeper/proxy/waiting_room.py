"""Where held flows wait: for a verdict, for the end of their window, for their client to leave.

A flow that somebody kills in mitmproxy's views is one whose client has left: no hook tells of a kill,
so the flows are looked at.

A held flow is one future; one task looks at the ledger for all of them. Verdicts are given by other
processes, so the ledger's change counter is polled, which costs microseconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum

from mitmproxy import http

from tollkeeper.errors import LedgerError
from tollkeeper.proxy.layers import when_client_leaves
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""Between two looks at the ledger: a fifth of what a person would notice."""


class Wake(StrEnum):
    """Why a held flow goes on."""

    DECIDED = "decided"
    WINDOW = "window"
    GONE = "gone"


class WaitingRoom:
    """All held flows of this process."""

    def __init__(self, station: Station) -> None:
        """Nobody waits yet."""
        self.station = station
        self.waiting: dict[str, dict[asyncio.Future[Wake], http.HTTPFlow]] = defaultdict(dict)
        self.looker: asyncio.Task[None] | None = None
        self.unread = True
        """Whether a verdict may be there that somebody waits for and that was not looked for."""
        self.show: Callable[[http.HTTPFlow], None] = lambda flow: None
        """Called when a flow begins to wait; mitmweb learns of a flow only what it is told."""

    async def wait(self, approval: str, flow: http.HTTPFlow, seconds: float) -> Wake:
        """Hold one flow until its approval is decided, its window ends or its client leaves.

        A proxy that ends gives no window.
        """
        future: asyncio.Future[Wake] = asyncio.get_running_loop().create_future()
        self.waiting[approval][future] = flow
        self.unread = True  # the verdict may have come before, when nobody asked for this one
        when_client_leaves(flow, waker(future, Wake.GONE))
        self.look_after()
        self.show(flow)
        try:
            async with asyncio.timeout(max(seconds, 0) if self.station.shut is None else 0):
                return await future
        except TimeoutError:
            return Wake.WINDOW
        finally:
            self.waiting[approval].pop(future, None)
            if not self.waiting[approval]:
                del self.waiting[approval]

    def look_after(self) -> None:
        """Start the one task that looks, unless it runs or nobody waits."""
        if self.looker is None and self.waiting:
            self.looker = asyncio.create_task(self.look_while_any_waits())
            self.looker.add_done_callback(self.looked)

    def looked(self, ended: asyncio.Task[None]) -> None:
        """Whatever ended the task: who waits is looked after again, a moment later if it broke."""
        self.looker = None
        if ended.cancelled():
            return
        if ended.exception() is None:
            self.look_after()
            return
        log.error("Looking for verdicts broke", exc_info=ended.exception())
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self.look_after)

    async def look_while_any_waits(self) -> None:
        """Look at the ledger whenever another process wrote to it, and for everybody who begins to wait."""
        while self.waiting:
            self.wake_killed()
            self.look_if_unread()
            if self.station.shut is not None:
                self.wake_all(Wake.WINDOW)
            await asyncio.sleep(LOOK_SECONDS)

    def wake_killed(self) -> None:
        """Wake the flows that were killed: mitmproxy lets their clients go."""
        for futures in self.waiting.values():
            for future, flow in futures.items():
                if flow.error is not None:
                    waker(future, Wake.GONE)()

    def wake_all(self, why: Wake) -> None:
        """Let nobody wait any more whom a verdict has not reached."""
        for futures in self.waiting.values():
            for future in futures:
                waker(future, why)()

    def look_if_unread(self) -> None:
        """One round of looking, where another process wrote or somebody new waits."""
        try:
            self.unread = self.station.ledger.changed() or self.unread
        except LedgerError:
            log.exception("The ledger could not be asked whether it changed")
            self.unread = True
            return
        if self.unread:
            self.unread = not self.look()

    def look(self) -> bool:
        """Wake everybody whose approval is no longer open; False when the ledger would not say.

        Call it after lapsing approvals in this process: its own commits do not show as changes.
        """
        try:
            decided = self.station.ledger.verdicts(list(self.waiting))
        except LedgerError:
            log.exception("The ledger could not be asked for verdicts")
            return False
        for approval in decided:
            for future in self.waiting.get(approval, ()):
                waker(future, Wake.DECIDED)()
        return True

    def __len__(self) -> int:
        return sum(len(futures) for futures in self.waiting.values())


def waker(future: asyncio.Future[Wake], why: Wake) -> Callable[[], None]:
    """What resolves a future unless something else did."""

    def wake() -> None:
        if not future.done():
            future.set_result(why)

    return wake
