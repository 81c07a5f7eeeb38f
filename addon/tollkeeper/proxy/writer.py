"""Writing to the ledger from an event loop: grouped, never blocking on other processes.

SQLite pays most of a small transaction at its commit. Calls that arrive together are therefore
written together, each in a savepoint of its own (group commit), and nobody is answered before it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import LedgerBusy, LedgerError

PATIENCE_NS = 5 * NS_PER_SECOND
"""How long a write waits for other processes; SQLite's own customary busy timeout."""

LARGEST_GROUP = 32
"""Verbs in one transaction: a few milliseconds for which the loop does nothing else."""

QUIET_NS = 300_000
"""Writes that come closer together than this come from several flows and gain by sharing: a lone
client's admission and settlement are a provider's answer apart."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.0005, 0.02


class Groups(Protocol):
    """The part of a ledger that groups verbs."""

    def group(self) -> Any:
        """A context manager around several verbs."""


class Wish:
    """One verb that somebody waits for."""

    __slots__ = ("answer", "since_ns", "work")

    def __init__(self, work: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        self.work, self.answer = work, answer
        self.since_ns = time.monotonic_ns()


class Writer:
    """The queue of what wants to be written, emptied once per turn of the event loop."""

    def __init__(self, ledger: Groups) -> None:
        """Nothing is wanted yet."""
        self.ledger = ledger
        self.wishes: list[Wish] = []
        self.pause = FIRST_PAUSE_SECONDS
        self.called = False
        self.wrote_ns = 0

    async def write[T](self, work: Callable[[], T]) -> T:
        """Run ``work`` inside the next group; its result after the commit, or what it raised."""
        loop = asyncio.get_running_loop()
        now_ns = time.monotonic_ns()
        if not self.wishes and now_ns - self.wrote_ns > QUIET_NS:
            # Nobody to share with: what can be written at once need not wait for the loop's next turn.
            self.wrote_ns = now_ns
            with suppress(LedgerBusy):
                return work()
        wish = Wish(work, loop.create_future())
        self.wishes.append(wish)
        if not self.called:
            self.called = True
            loop.call_soon(self.write_group)
        result: T = await wish.answer
        return result

    def write_group(self) -> None:
        """Write what is wanted now; what comes meanwhile is written next time."""
        self.called = False
        self.wrote_ns = time.monotonic_ns()
        wishes = [wish for wish in self.wishes[:LARGEST_GROUP] if not wish.answer.done()]
        self.wishes = self.wishes[LARGEST_GROUP:]
        try:
            outcomes = self.attempt(wishes)
        except LedgerBusy as busy:
            self.put_off(wishes, busy)
            return
        except LedgerError as broken:
            outcomes = [broken] * len(wishes)
        self.pause = FIRST_PAUSE_SECONDS
        for wish, outcome in zip(wishes, outcomes, strict=True):
            answer(wish, outcome)
        self.go_on(0)

    def attempt(self, wishes: list[Wish]) -> list[Any]:
        """Run the verbs in one transaction; the result or error of each, in order.

        Raises:
            LedgerBusy, LedgerError: When the transaction as a whole did not come about.
        """
        if len(wishes) == 1:
            return [outcome_of(wishes[0])]
        with self.ledger.group():
            return [outcome_of(wish) for wish in wishes]

    def put_off(self, wishes: list[Wish], busy: LedgerBusy) -> None:
        """Another process writes: try again soon, but not for ever."""
        now_ns = time.monotonic_ns()
        waiting = []
        for wish in wishes:
            if now_ns - wish.since_ns > PATIENCE_NS:
                late = LedgerError("The ledger stayed locked by another process.")
                late.__cause__ = busy
                answer(wish, late)
            else:
                waiting.append(wish)
        self.wishes = waiting + self.wishes
        self.pause = min(self.pause * 1.5, LONGEST_PAUSE_SECONDS)
        self.go_on(self.pause * (0.5 + random.random()))  # noqa: S311 - jitter, no secret

    def go_on(self, seconds: float) -> None:
        """Come back for what is left."""
        if self.wishes and not self.called:
            self.called = True
            asyncio.get_running_loop().call_later(seconds, self.write_group)


def outcome_of(wish: Wish) -> Any:
    """The verb's result, or the error that only its own caller shall see.

    Raises:
        LedgerBusy: The lock was not to be had; nothing was done.
    """
    try:
        return wish.work()
    except LedgerBusy:
        raise
    except Exception as error:  # noqa: BLE001 - handed to the one who asked, who fails closed
        return error


def answer(wish: Wish, outcome: Any) -> None:
    """Wake the one who waits; a verb returns values, so an exception object is its failure."""
    if wish.answer.done():
        return
    if isinstance(outcome, Exception):
        wish.answer.set_exception(outcome)
    else:
        wish.answer.set_result(outcome)
