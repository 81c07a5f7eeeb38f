"""Options that would disarm us, held at safe values against files, commands and mitmweb."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from mitmproxy import ctx, exceptions

from tollkeeper.proxy.quick import QuickOptions

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


REFUSED = "change of a locked option"
"""As which refused changes are counted."""


class LockedOptions(QuickOptions):
    """Options that refuse a change before it is made.

    mitmproxy makes a change, tells everybody, and takes it back when somebody objects. By then listeners
    were closed and others opened, and the taking back draws a new token for mitmweb.
    """

    locks: Locks | None = None

    def update_known(self, **kwargs: Any) -> dict[str, Any]:
        """Set the options that there are; the others are returned.

        Raises:
            OptionsError: Some may not be changed; then none is.
        """
        if self.locks is not None:
            self.locks.before(kwargs)
        unknown: dict[str, Any] = super().update_known(**kwargs)  # type: ignore[no-untyped-call]  # mitmproxy's is untyped
        return unknown


class Locks:
    """Refuses every change of a locked option; mitmproxy's own options then roll the change back."""

    def __init__(self, turned_away: Counter[str], *, leave: Collection[str] = ()) -> None:
        """Nothing is pinned until the proxy runs.

        Args:
            turned_away: Where changes are counted that are refused while it runs.
            leave: Locked options that keep the value which they have then, whatever it is.
        """
        self.turned_away = turned_away
        self.locked = {name: value for name, value in LOCKED.items() if name not in leave}
        self.pinned: dict[str, Any] = {}

    def configure(self, updated: set[str]) -> None:
        """Check what was changed.

        Raises:
            OptionsError: With the option's name and the only value it may have.
        """
        try:
            self.check(updated)
        except exceptions.OptionsError:
            if self.pinned:
                self.turned_away[REFUSED] += 1
            raise

    def check(self, updated: set[str]) -> None:
        """Find the first option that has a value which it may not have.

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
                raise exceptions.OptionsError(self.kept(name))

    def before(self, wanted: Mapping[str, Any]) -> None:
        """Refuse a change while the proxy runs.

        Raises:
            OptionsError: With the first option's name and its value.
        """
        for name, value in wanted.items():
            if name in self.pinned and value != self.pinned[name]:
                self.turned_away[REFUSED] += 1
                raise exceptions.OptionsError(self.kept(name))

    def kept(self, name: str) -> str:
        """What whoever wanted to change a pinned option is told."""
        return f"Tollkeeper keeps {name} at {self.pinned[name]!r} while it runs."

    def running(self) -> None:
        """From now on options stay as they are, except for those that only show things."""
        self.pinned = {
            name: getattr(ctx.options, name)
            for name in ctx.options.keys()  # noqa: SIM118 - mitmproxy's options are no mapping
            if not name.startswith(DISPLAY)
        }
        if isinstance(ctx.options, LockedOptions):
            vars(ctx.options)["locks"] = self
