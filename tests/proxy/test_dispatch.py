"""Cached dispatch behaves as mitmproxy's own, whatever comes, goes or breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mitmproxy import addonmanager, exceptions, hooks
from mitmproxy.proxy.layers.http import HttpRequestHook
from mitmproxy.test import tflow

from proxy.house import dispatching, mitmproxy_context
from tollkeeper.proxy.dispatch import CachedDispatch


class Sees:
    def __init__(self, name: str, seen: list[str], error: BaseException | None = None) -> None:
        self.name, self.seen, self.error = name, seen, error

    def request(self, flow: Any) -> None:
        self.seen.append(self.name)
        if self.error is not None:
            raise self.error


class SeesLater(Sees):
    async def request(self, flow: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().request(flow)


class Holds:
    """An addon of addons."""

    def __init__(self, *addons: Any) -> None:
        self.addons = list(addons)


def told(build: Any, *, cached: bool) -> tuple[list[str], str]:
    """Who saw the event in which order, and what came out of it."""
    seen: list[str] = []

    async def story() -> str:
        with dispatching(build(seen), cached=cached) as manager:
            try:
                for _ in range(2):
                    await manager.trigger_event(HttpRequestHook(tflow.tflow()))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever comes out is told
                return type(error).__name__
            return "ended"

    return seen, asyncio.run(story())


BUILDS = {
    "order": lambda seen: [Sees("a", seen), SeesLater("b", seen), Sees("c", seen)],
    "two that wait": lambda seen: [SeesLater("a", seen), SeesLater("b", seen), Sees("c", seen)],
    "error goes on": lambda seen: [Sees("a", seen, ValueError()), Sees("b", seen)],
    "late error goes on": lambda seen: [SeesLater("a", seen, ValueError()), Sees("b", seen)],
    "halt ends": lambda seen: [Sees("a", seen, exceptions.AddonHalt()), Sees("b", seen)],
    "late halt ends": lambda seen: [SeesLater("a", seen, exceptions.AddonHalt()), Sees("b", seen)],
    "options error is raised": lambda seen: [Sees("a", seen, exceptions.OptionsError())],
    "cancel is raised": lambda seen: [SeesLater("a", seen, asyncio.CancelledError())],
    "nested": lambda seen: [Holds(Sees("a", seen), Holds(Sees("b", seen))), Sees("c", seen)],
}


@pytest.mark.parametrize("name", BUILDS)
def test_event_is_told_as_mitmproxy_tells_it(name: str) -> None:
    assert told(BUILDS[name], cached=True) == told(BUILDS[name], cached=False)


def test_addons_that_come_and_go_are_noticed() -> None:
    seen: list[str] = []

    async def story() -> None:
        with mitmproxy_context() as made:
            manager = made.master.addons
            CachedDispatch.install(manager)
            first, second = Sees("a", seen), Sees("b", seen)
            manager.add(first)
            await manager.trigger_event(HttpRequestHook(tflow.tflow()))
            manager.add(second)
            await manager.trigger_event(HttpRequestHook(tflow.tflow()))
            manager.remove(first)
            await manager.trigger_event(HttpRequestHook(tflow.tflow()))
            manager.clear()
            await manager.trigger_event(HttpRequestHook(tflow.tflow()))

    asyncio.run(story())

    assert seen == ["a", "a", "b", "b"]


def test_manager_has_no_method_that_changes_addons_behind_the_caches_back() -> None:
    changing = {"register", "remove", "clear"}
    assert changing <= set(vars(CachedDispatch))
    assert {name for name in vars(addonmanager.AddonManager) if not name.startswith("_")} == {
        *changing, "get", "add", "handle_lifecycle", "invoke_addon", "invoke_addon_sync",
        "trigger_event", "trigger",
    }  # fmt: skip


def test_hook_without_handlers_is_no_error() -> None:
    async def story() -> None:
        with mitmproxy_context() as made:
            CachedDispatch.install(made.master.addons)
            await made.master.addons.trigger_event(hooks.UpdateHook([]))

    asyncio.run(story())
