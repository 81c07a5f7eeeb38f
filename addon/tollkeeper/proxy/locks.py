"""Options that would disarm us, held at safe values against files, commands and mitmweb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mitmproxy import ctx, exceptions

LOCKED: Mapping[str, Any] = {
    "ssl_insecure": False,  # upstream certificates are verified
    "ignore_hosts": [],  # matches the client's own SNI, so it is bypassable
    "allow_hosts": [],
    "tcp_hosts": [],
    "udp_hosts": [],
    "stream_large_bodies": None,  # the request hook would fire after the body has left
    "rawtcp": False,
    "websocket": True,
    "validate_inbound_headers": True,
    "connection_strategy": "lazy",  # nothing is dialled before the policy was asked
    "upstream_cert": False,
    "store_streamed_bodies": False,
    "onboarding": False,
    "block_global": True,
    "proxyauth": None,
    "stickyauth": None,
    "stickycookie": None,
    "modify_body": [],
    "modify_headers": [],
    "map_local": [],
    "map_remote": [],
    "server_replay": [],
    "client_replay": [],
    "scripts": [],
    "block_list": [],
    "anticache": False,
    "anticomp": False,
    "intercept": None,
}
"""Option to its only value. Sources: ``ground`` measurements named in the README's security page."""

PINNED = (
    "mode",
    "listen_host",
    "listen_port",
    "confdir",
    "ssl_verify_upstream_trusted_ca",
    "ssl_verify_upstream_trusted_confdir",
    "client_certs",
    "certs",
    "body_size_limit",
    "tcp_timeout",
    "http2",
)
"""Options that keep the value that ``serve`` gave them."""

DANGEROUS_PREFIXES = ("emudhra",)
"""mitmproxy 12.3 options that mint from a CA whose private key is public."""


class Locks:
    """Refuses every change of a locked option; mitmproxy then rolls the change back."""

    def __init__(self) -> None:
        """Nothing is pinned until the proxy runs."""
        self.pinned: dict[str, Any] | None = None

    def configure(self, updated: set[str]) -> None:
        """Check what was changed.

        Raises:
            OptionsError: With the option's name and the only value it may have.
        """
        for name in updated:
            if name.startswith(DANGEROUS_PREFIXES) and getattr(ctx.options, name):
                raise exceptions.OptionsError(f"Tollkeeper does not run with {name}.")
            if name in LOCKED and getattr(ctx.options, name) != LOCKED[name]:
                raise exceptions.OptionsError(f"Tollkeeper keeps {name} at {LOCKED[name]!r}.")
            if self.pinned and name in self.pinned:
                if getattr(ctx.options, name) != self.pinned[name]:
                    raise exceptions.OptionsError(
                        f"Tollkeeper keeps {name} at {self.pinned[name]!r} while it runs."
                    )

    def running(self) -> None:
        """From now on the pinned options stay as they are."""
        self.pinned = {name: getattr(ctx.options, name) for name in PINNED}
