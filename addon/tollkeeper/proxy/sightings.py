"""Where agents go in tunnels that nobody reads: a record of each host, once a day."""

from __future__ import annotations

import logging
from collections import Counter

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import LedgerError
from tollkeeper.proxy.settling import Books
from tollkeeper.proxy.station import Caller, Station

log = logging.getLogger(__name__)

DAY_NS = 86_400 * NS_PER_SECOND

MOST_HOSTS = 500
"""Of one agent in a day; whoever goes to more is a browser, or wants to fill the record."""


class Sightings:
    """Remembers what was recorded today, so that a tunnel costs a look and not a write."""

    def __init__(self, station: Station) -> None:
        """Nothing was seen yet."""
        self.station, self.books = station, Books(station)
        self.day = -1
        self.seen: set[tuple[str, str]] = set()
        self.hosts: Counter[str] = Counter()

    def saw(self, caller: Caller) -> None:
        """A tunnel of this caller begins; a ledger that cannot take that keeps nobody from it."""
        now_ns, who = self.station.now_ns(), caller.principal
        if who is None or caller.target is None:
            return
        if now_ns // DAY_NS != self.day:
            self.day = now_ns // DAY_NS
            self.seen.clear()
            self.hosts.clear()
        host = caller.target[0]
        if (who.agent, host) in self.seen or self.hosts[who.agent] >= MOST_HOSTS:
            return
        self.seen.add((who.agent, host))
        self.hosts[who.agent] += 1
        last = self.hosts[who.agent] == MOST_HOSTS
        try:
            self.books.note(
                "tunnelled",
                who.agent,
                {"host": host, "run": who.run} | ({"more": True} if last else {}),
            )
        except LedgerError as error:
            log.warning("A tunnel to %s could not be recorded: %s", host, error)
