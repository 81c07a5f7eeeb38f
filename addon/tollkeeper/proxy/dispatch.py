"""Event dispatch that resolves the handlers of an event once.

mitmproxy walks every addon for each of about eight events a request; with its three dozen addons that
is a third of a request's CPU time. Which addon handles what changes only when addons come or go.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import fields
from typing import Any

from mitmproxy import addonmanager, exceptions, hooks

log = logging.getLogger("mitmproxy.addonmanager")

REST = "rest_of_handlers"
"""Where a hook keeps what is left of its handlers, when some were called before."""

FIELDS: dict[type[hooks.Hook], tuple[str, ...]] = {}
"""What ``arguments_of`` has been asked for."""

type Rest = Coroutine[Any, Any, None]


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
        rest = vars(event).pop(REST, None) or self.begin(event)
        if rest is not None:
            await rest

    def begin(self, event: hooks.Hook) -> Rest | None:
        """Call the handlers up to the first that has to be waited for; what is left, None for nothing."""
        handlers = self.handlers.get(event.name)
        if handlers is None:
            handlers = [f for addon in self.chain for _, f in self._iter_hooks(addon, event)]
            self.handlers[event.name] = handlers
        return self.call(event, handlers)

    def call(self, event: hooks.Hook, handlers: list[Callable[..., Any]]) -> Rest | None:
        """As ``begin``, of these handlers."""
        arguments = arguments_of(event)
        for at, handler in enumerate(handlers, 1):
            try:
                result = handler(*arguments)
            except exceptions.AddonHalt:
                return None
            except exceptions.OptionsError:
                raise
            except Exception:
                log.exception("Addon error in %s", event.name)
            else:
                if result is not None and inspect.isawaitable(result):
                    return self.go_on(event, result, handlers[at:])
        return None

    async def go_on(
        self, event: hooks.Hook, waited_for: Awaitable[Any], handlers: list[Callable[..., Any]]
    ) -> None:
        """Wait for one handler, then call those behind it."""
        try:
            await waited_for
        except exceptions.AddonHalt:
            return
        except exceptions.OptionsError:
            raise
        except Exception:
            log.exception("Addon error in %s", event.name)
        rest = self.call(event, handlers)
        if rest is not None:
            await rest


def arguments_of(event: hooks.Hook) -> list[Any]:
    """As ``Hook.args``, which asks for the names of the fields each time."""
    kind = type(event)
    names = FIELDS.get(kind)
    if names is None:
        names = FIELDS[kind] = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
    return [getattr(event, name) for name in names]
