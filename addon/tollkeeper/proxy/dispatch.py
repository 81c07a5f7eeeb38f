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

from mitmproxy import addonmanager, ctx, exceptions, hooks
from mitmproxy.flow import Flow
from mitmproxy.proxy import commands, layer

log = logging.getLogger("mitmproxy.addonmanager")

REST = "rest_of_handlers"
"""Where a hook keeps what is left of its handlers while it goes the long way."""


FIELDS: dict[type[hooks.Hook], tuple[str, ...]] = {}
"""What ``arguments_of`` has been asked for."""


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

    def begin(self, event: hooks.Hook) -> Coroutine[Any, Any, None] | None:
        """Call the handlers up to the first that has to be waited for; what is left, None for nothing."""
        handlers = self.handlers.get(event.name)
        if handlers is None:
            handlers = [f for addon in self.chain for _, f in self._iter_hooks(addon, event)]
            self.handlers[event.name] = handlers
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
        arguments = arguments_of(event)

        def first(*_arguments: Any) -> Awaitable[Any]:
            return waited_for

        for handler in (first, *handlers):
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

    def ends_here(self, hook: commands.Command) -> bool:
        """Call the handlers of a flow's hook; False when somebody has to be waited for.

        Then the hook has to go the long way, on which only what is left is called.
        """
        assert isinstance(hook, commands.StartHook)
        flow: Flow = vars(hook)["flow"]
        rest = self.begin(hook)
        if rest is None:
            self.begin(hooks.UpdateHook([flow]))
            if not flow.intercepted:
                return True
            rest = nothing()
        vars(hook)[REST] = rest
        return False


def hooks_here(steps: layer.CommandGenerator[None]) -> layer.CommandGenerator[None]:
    """What a stream's generator yields, but its hooks that nobody waits in are over at once.

    mitmproxy makes a task for each hook, sends it up through all layers and its end down again, which
    for the two of a call that nobody waits in is a twentieth of all its instructions. Hooks of a layer
    inside (a WebSocket's) go that way: it is that layer which waits for their end.
    """
    addons = getattr(ctx, "master", None) and ctx.master.addons
    reply = None
    while True:
        try:
            command = steps.send(reply)
        except StopIteration:
            return
        reply = None
        own = isinstance(command, commands.StartHook) and command.blocking is True
        if not own or not isinstance(addons, CachedDispatch) or not addons.ends_here(command):
            reply = yield command


def arguments_of(event: hooks.Hook) -> list[Any]:
    """As ``Hook.args``, which asks for the names of the fields each time."""
    kind = type(event)
    names = FIELDS.get(kind)
    if names is None:
        names = FIELDS[kind] = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
    return [getattr(event, name) for name in names]


async def nothing() -> None:
    """What is left to be called where only an intercepted flow is waited for."""
