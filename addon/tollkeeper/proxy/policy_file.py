"""The policy in force: loaded, watched, and kept when an edit is broken."""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from pathlib import Path

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Policy
from tollkeeper.errors import PolicyError
from tollkeeper.policy.load import load

log = logging.getLogger(__name__)

HOSTS_REMEMBERED = 1024
"""Clients choose the names that are asked about, so the memory has a bound."""

LOOK_SECONDS = 0.5
"""How often the file is looked at; an edit is in force within a second."""


class PolicyFile:
    """One policy file or folder.

    Attributes:
        policy: The last good one.
        prices: Its price book.
        provider_of: The governed provider of a host name, or None; remembered.
        broken: What is wrong with the newest edit, or None.
    """

    def __init__(self, path: Path) -> None:
        """Load it for the first time.

        Raises:
            PolicyError: When it does not load; a proxy without a policy does not start.
        """
        self.path = path
        self.broken: str | None = None
        self._seen = self._signature()
        self._take(self._load())

    def _load(self) -> Policy:
        loaded = load(self.path)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        return loaded.policy

    def _take(self, policy: Policy) -> None:
        self.policy = policy
        self.prices = PriceBook(policy)
        self.provider_of = lru_cache(HOSTS_REMEMBERED)(
            lambda host: facts.provider_for_host(host, policy.providers)
        )
        self.broken = None

    def _signature(self) -> tuple[tuple[str, int, int, int], ...]:
        paths = sorted(self.path.glob("*.y*ml")) if self.path.is_dir() else [self.path]
        seen = []
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                continue
            seen.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(seen)

    async def look(self) -> bool:
        """Load the policy again if its files changed; True when something new happened.

        A broken edit leaves the last good policy in force and says so in ``broken`` and the log.
        """
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        try:
            self._take(await asyncio.to_thread(self._load))
        except PolicyError as error:
            self.broken = str(error)
        if self.broken:
            log.error(
                "The policy was not reloaded, the last good one stays in force:\n%s", self.broken
            )
        else:
            log.info("Policy reloaded from %s", self.path)
        return True
