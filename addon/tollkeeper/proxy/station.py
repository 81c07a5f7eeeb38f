"""What the addons of one proxy process share: the ledger, the policy in force, who is connected."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mitmproxy import connection

from tollkeeper.domain import Principal, Provider, Reason
from tollkeeper.home import Home
from tollkeeper.proxy.writer import Writer

if TYPE_CHECKING:
    from tollkeeper.ledger.sqlite import SqliteLedger
    from tollkeeper.proxy.policy_file import PolicyFile


@dataclass(slots=True)
class Caller:
    """One client connection, as its credentials and its CONNECT made it.

    Attributes:
        user: The user part of the proxy credentials, to look again when it was refused.
        token_sha256: The hash of the token part.
        principal: Who calls, or None when ``refused`` says why nobody.
        known: Whose token it is, refused or not; None when the token is not known.
        target: Host (normalised) and port of the CONNECT; None for plain proxy requests.
        provider: The governed provider that the tunnel leads to, or None.
        decrypted: False when the tunnel's bytes pass unseen.
        proven: The claims about its target of the last request that were found to agree.
    """

    user: str
    token_sha256: str
    principal: Principal | None = None
    refused: Reason | None = None
    known: Principal | None = None
    target: tuple[str, int] | None = None
    provider: Provider | None = None
    decrypted: bool = True
    proven: tuple[object, ...] = ()


@dataclass(slots=True)
class Station:
    """One per proxy process; made by ``serve``, handed to every addon."""

    home: Home
    ledger: SqliteLedger
    policy_file: PolicyFile
    owner: str
    callers: WeakKeyDictionary[connection.Client, Caller] = field(default_factory=WeakKeyDictionary)
    writer: Writer = field(init=False)
    turned_away: Counter[str] = field(default_factory=Counter)
    """Refusals before a principal was known, by cause; housekeeping records them in one go."""
    upstream_proxy: str | None = None
    """The proxy to go through, as the policy named it at the start: mitmproxy keeps to that."""
    own_ports: frozenset[int] = frozenset()
    """Ports of this machine on which this process serves its operator; nobody is led there."""
    shut: Reason | None = None
    """Why no new call is taken, once the proxy ends."""
    written_ns: int = 0
    """When the ledger last took a write of housekeeping, which writes every few seconds."""

    def __post_init__(self) -> None:
        self.writer = Writer(self.ledger)

    @property
    def spool(self) -> Path:
        """Where records go that cannot reach the ledger."""
        return self.home.spool

    @staticmethod
    def now_ns() -> int:
        """The wall clock, in one place."""
        return time.time_ns()

    async def write[T](self, work: Callable[[], T], *, alone: bool = False) -> T:
        """Run one ledger verb; what other flows want to write at this moment shares its transaction.

        The event loop is never blocked on another process, and the answer comes after the commit.

        Args:
            alone: It shares none.

        Raises:
            LedgerError: When the ledger stayed locked for ``writer.PATIENCE_NS`` or is broken.
        """
        return await self.writer.write(work, alone=alone)
