"""Event dispatch that resolves the handlers of an event once.

mitmproxy walks every addon for each of about eight events a request; with its three dozen addons that
is a third of a request's CPU time. Which addon handles what changes only when addons come or go.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from mitmproxy import addonmanager, exceptions, hooks

log = logging.getLogger("mitmproxy.addonmanager")


class CachedDispatch(addonmanager.AddonManager):
    """An ``AddonManager`` with the same semantics and a cache of handlers by event name."""

    handlers: dict[str, list[Callable[..., Any]]]

    @classmethod
    def install(cls, manager: addonmanager.AddonManager) -> None:
        """Turn a master's own manager into this one; call it after the addons are added."""
        manager.__class__ = cls
        vars(manager)["handlers"] = {}

    def register(self, addon: Any) -> Any:
        """Register an addon and forget what was resolved."""
        registered = super().register(addon)  # type: ignore[no-untyped-call]  # mitmproxy's is untyped
        self.handlers = {}
        return registered

    def remove(self, addon: Any) -> None:
        """Remove an addon and forget what was resolved."""
        super().remove(addon)  # type: ignore[no-untyped-call]  # mitmproxy's is untyped
        self.handlers = {}

    def clear(self) -> None:
        """Remove all addons."""
        super().clear()  # type: ignore[no-untyped-call]  # mitmproxy's is untyped
        self.handlers = {}

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call every handler of the event in order, as ``AddonManager`` does."""
        handlers = self.handlers.get(event.name)
        if handlers is None:
            handlers = [f for addon in self.chain for _, f in self._iter_hooks(addon, event)]
            self.handlers[event.name] = handlers
        arguments = event.args()
        for handler in handlers:
            try:
                result = handler(*arguments)
                if result is not None and inspect.isawaitable(result):
                    await result
            except exceptions.AddonHalt:
                return
            except exceptions.OptionsError:
                raise
            except Exception:
                log.exception("Addon error in %s", event.name)
