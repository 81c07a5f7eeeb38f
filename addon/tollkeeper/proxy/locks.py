"""Options that would disarm us, held at safe values against files, commands and mitmweb."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    "body_size_limit": None,  # ours is the policy's, answered in the provider's words
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
"""Option to its only value; the reasons stand beside those that do not speak for themselves."""

MODES = ("regular", "upstream:")
"""Modes in which every request comes in by a CONNECT or with credentials of its own."""

DISPLAY = ("view_", "console_", "web_columns", "content_view_", "flow_detail", "dumper_")
"""Beginnings of the options that only change what is shown; while the proxy runs no other changes."""

DANGEROUS_PREFIXES = ("emudhra",)
"""mitmproxy 12.3 options that mint from a CA whose private key is public."""


class Locks:
    """Refuses every change of a locked option; mitmproxy then rolls the change back."""

    def __init__(self, *, leave: Collection[str] = ()) -> None:
        """Nothing is pinned until the proxy runs.

        Args:
            leave: Locked options that keep the value which they have then, whatever it is.
        """
        self.locked = {name: value for name, value in LOCKED.items() if name not in leave}
        self.pinned: dict[str, Any] = {}

    def configure(self, updated: set[str]) -> None:
        """Check what was changed.

        Raises:
            OptionsError: With the option's name and the only value it may have.
        """
        for name in updated:
            value = getattr(ctx.options, name)
            if name.startswith(DANGEROUS_PREFIXES) and value:
                raise exceptions.OptionsError(f"Tollkeeper does not run with {name}.")
            if name == "mode" and not all(mode.startswith(MODES) for mode in value):
                raise exceptions.OptionsError("Tollkeeper runs in the modes regular and upstream.")
            if name in self.locked and value != self.locked[name]:
                raise exceptions.OptionsError(f"Tollkeeper keeps {name} at {self.locked[name]!r}.")
            if name in self.pinned and value != self.pinned[name]:
                raise exceptions.OptionsError(
                    f"Tollkeeper keeps {name} at {self.pinned[name]!r} while it runs."
                )

    def running(self) -> None:
        """From now on options stay as they are, except for those that only show things."""
        self.pinned = {
            name: getattr(ctx.options, name)
            for name in ctx.options.keys()  # noqa: SIM118 - mitmproxy's options are no mapping
            if not name.startswith(DISPLAY)
        }
