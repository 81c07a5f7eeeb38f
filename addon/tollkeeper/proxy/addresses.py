"""Where something listens: ``HOST:PORT`` as people write it, and what an address means."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tollkeeper.errors import UsageError

LOOPBACK = "127.0.0.1"

EXPOSED = (
    "%s is reached from other machines: whoever reaches it may try tokens, and proxy credentials cross "
    "the network unencrypted. Let only the agents' network reach it"
)
"""What it means to listen elsewhere than on loopback."""

_EVERYWHERE = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - read, not bound


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; port 0 takes a free one.

    Attributes:
        host: A name or an IP address without brackets; empty for every address.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``PORT`` alone, which is on loopback.

        Raises:
            UsageError: With what was expected.
        """
        host, colon, port = text.rpartition(":")
        if not colon:
            host = LOOPBACK
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            raise UsageError(f"Expected HOST:PORT with a port up to 65535, found {text!r}.")
        if ":" in bare and bare == host:
            raise UsageError(f"An IPv6 address stands in brackets, as [::1]:8080; found {text!r}.")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def near(self) -> Address:
        """As a client on this machine reaches it."""
        return Address(_EVERYWHERE.get(self.host, self.host), self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it; a name that is not ``localhost`` is not believed."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
