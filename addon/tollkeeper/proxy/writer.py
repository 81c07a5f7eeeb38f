"""Writing to the ledger from an event loop: grouped, never blocking on other processes.

A small transaction pays most of its price for being one: the pages that a call touches are written at
every commit. Calls that arrive together are therefore written together (group commit), and who waits is
answered after the commit. What nobody waits for (settlements: until they are written the reservation
stands, which is never too little) lingers for a moment while other calls are under way, so that the next
admission takes it along; it stays before that admission, which finds the money and the slot that it
frees. Where no other call is under way it is written while the client reads its answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import LedgerBusy, LedgerError

log = logging.getLogger(__name__)

PATIENCE_NS = 5 * NS_PER_SECOND
"""How long a write waits for other processes; SQLite's own customary busy timeout."""

LARGEST_GROUP = 32
"""Verbs in one transaction: a few milliseconds for which the loop does nothing else."""

LINGER_NS = 5_000_000
"""How long what nobody waits for waits for company. Other processes see what it frees so much later."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.0005, 0.02


class Groups(Protocol):
    """The part of a ledger that groups verbs."""

    def group(self) -> Any:
        """A context manager around several verbs."""


class Unwaited:
    """The answer to a wish that nobody waits for: a failure goes to whoever can make up for it."""

    __slots__ = ("instead", "over")

    def __init__(self, instead: Callable[[Exception], None]) -> None:
        self.instead, self.over = instead, False

    def done(self) -> bool:
        """Whether the wish has ended."""
        return self.over

    def set_result(self, _result: object) -> None:
        """It is written."""
        self.over = True

    def set_exception(self, error: Exception) -> None:
        """It is not written. Others still are, whatever becomes of this one."""
        self.over = True
        try:
            self.instead(error)
        except Exception:
            log.exception("What could not be written is lost: %s", error)


class Wish:
    """One verb, and what becomes of its outcome."""

    __slots__ = ("alone", "answer", "since_ns", "undone", "work")

    def __init__(
        self,
        work: Callable[[], Any],
        answer: asyncio.Future[Any] | Unwaited,
        *,
        alone: bool = False,
        undone: Callable[[], None] | None = None,
    ) -> None:
        self.work, self.answer, self.alone, self.undone = work, answer, alone, undone
        self.since_ns = time.monotonic_ns()


class Writer:
    """The queue of what wants to be written, emptied once per turn of the event loop."""

    def __init__(self, ledger: Groups) -> None:
        """Nothing is wanted yet."""
        self.ledger = ledger
        self.wishes: list[Wish] = []
        self.pause = FIRST_PAUSE_SECONDS
        self.scheduled = False
        self.lingering = False
        self.ending = False

    async def write[T](self, work: Callable[[], T], *, alone: bool = False) -> T:
        """Run ``work`` inside the next group; its result after the commit, or what it raised.

        Args:
            alone: Its transactions are its own, because what it does besides has to come after them.
        """
        return await self.want(work, alone=alone)

    def want[T](
        self,
        work: Callable[[], T],
        *,
        alone: bool = False,
        at_once: bool = False,
        undone: Callable[[], None] | None = None,
    ) -> asyncio.Future[T]:
        """As ``write``; done already where it could be written at once.

        Args:
            at_once: Whether to write now, since nobody is to be expected who could come along.
            undone: Called when ``work`` was done and its group did not come about.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.wishes.append(Wish(work, answer, alone=alone, undone=undone))
        if at_once and not self.scheduled:
            self.write_group()
        else:
            self.schedule()
        return answer

    def schedule(self) -> None:
        """Write in the next turn of the loop, if not earlier."""
        if not self.scheduled:
            self.scheduled = True
            asyncio.get_running_loop().call_soon(self.write_group)

    def write_behind(
        self,
        work: Callable[[], object],
        instead: Callable[[Exception], None],
        *,
        company: bool = True,
    ) -> None:
        """Run ``work`` inside a group that comes soon, before whatever is wanted later.

        Args:
            instead: Called with what kept it from being written; must not raise.
            company: Whether somebody is to be expected who could take it along.
        """
        self.wishes.append(Wish(work, Unwaited(instead)))
        if self.ending:
            self.write_group()
        elif not company:
            self.schedule()
        elif not self.scheduled and not self.lingering:
            self.linger(LINGER_NS)

    def linger(self, left_ns: int) -> None:
        """Come back for what nobody waits for."""
        self.lingering = True
        asyncio.get_running_loop().call_later(left_ns / NS_PER_SECOND, self.write_lingering)

    def write_lingering(self) -> None:
        """Write what found no company in its time; what came later has its own time."""
        self.lingering = False
        if not self.wishes or self.scheduled:
            return
        left_ns = self.wishes[0].since_ns + LINGER_NS - time.monotonic_ns()
        if left_ns > 0:
            self.linger(left_ns)
        else:
            self.write_group()

    async def end(self) -> None:
        """Write all there is; from now on nothing lingers or waits for other processes."""
        await self.idle()
        self.ending = True

    async def idle(self) -> None:
        """Wait until nothing is wanted any more; every wish ends, at the latest by its patience."""
        while self.wishes:
            with suppress(LedgerError):
                await self.write(lambda: None)

    def write_group(self) -> None:
        """Write what is wanted now; what comes meanwhile is written next time."""
        self.scheduled = False
        wishes = [wish for wish in self.wishes[:LARGEST_GROUP] if not wish.answer.done()]
        self.wishes = self.wishes[LARGEST_GROUP:]
        try:
            apart = len(wishes) < 2 or any(wish.alone for wish in wishes)
            if apart or not self.together(wishes):
                self.each_alone(wishes)
        except LedgerBusy as busy:
            self.put_off([wish for wish in wishes if not wish.answer.done()], busy)
        else:
            self.pause = FIRST_PAUSE_SECONDS
            self.go_on(0)

    def together(self, wishes: list[Wish]) -> bool:
        """Run the verbs in one transaction and answer everybody; False when nothing of any stands.

        Raises:
            LedgerBusy: Another process writes; nothing was done.
        """
        try:
            with self.ledger.group():
                results = [wish.work() for wish in wishes]
        except LedgerBusy:
            raise
        except Exception:  # noqa: BLE001 - each meets it alone, and fails closed
            for wish in wishes:
                if wish.undone is not None:
                    wish.undone()
            return False
        for wish, result in zip(wishes, results, strict=True):
            wish.answer.set_result(result)
        return True

    @staticmethod
    def each_alone(wishes: list[Wish]) -> None:
        """Run each verb in its own transaction: an error is for the one alone who made it.

        Raises:
            LedgerBusy: Another process writes; who has no answer yet is not written.
        """
        for wish in wishes:
            try:
                wish.answer.set_result(wish.work())
            except LedgerBusy:
                raise
            except Exception as error:  # noqa: BLE001 - handed to the one who asked, who fails closed
                wish.answer.set_exception(error)

    def put_off(self, wishes: list[Wish], busy: LedgerBusy) -> None:
        """Another process writes: try again soon, but not for ever."""
        now_ns = time.monotonic_ns()
        waiting = []
        for wish in wishes:
            if self.ending or now_ns - wish.since_ns > PATIENCE_NS:
                late = LedgerError("The ledger stayed locked by another process.")
                late.__cause__ = busy
                wish.answer.set_exception(late)
            else:
                waiting.append(wish)
        self.wishes = waiting + self.wishes
        self.pause = min(self.pause * 1.5, LONGEST_PAUSE_SECONDS)
        self.go_on(self.pause * (0.5 + random.random()))  # noqa: S311 - jitter, no secret

    def go_on(self, seconds: float) -> None:
        """Come back for what is left."""
        if self.wishes and not self.scheduled:
            self.scheduled = True
            asyncio.get_running_loop().call_later(seconds, self.write_group)
