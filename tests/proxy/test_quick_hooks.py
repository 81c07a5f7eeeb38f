"""Hooks in which nobody waits end at once as they would have ended the long way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mitmproxy import exceptions, http
from mitmproxy.proxy import commands
from mitmproxy.proxy.layers.http import (
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.test import tflow

from proxy.house import dispatching
from tollkeeper.proxy.quick_hooks import hooks_here


class Sees:
    def __init__(self, name: str, seen: list[str], error: BaseException | None = None) -> None:
        self.name, self.seen, self.error = name, seen, error

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.seen.append(self.name)
        if self.error is not None:
            raise self.error

    responseheaders = request = response = requestheaders


class SeesLater(Sees):
    async def requestheaders(self, flow: http.HTTPFlow) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().requestheaders(flow)


class Intercepts:
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        flow.intercept()


class View:
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def update(self, flows: Any) -> None:
        self.seen.append(f"{len(flows)} updated")


class ViewLater(View):
    async def update(self, flows: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().update(flows)


def through(
    build: Any,
    kind: type[commands.StartHook] = HttpRequestHeadersHook,
    *,
    cached: bool = True,
    nothing_follows: bool = True,
) -> tuple[list[str], int]:
    """What was seen of a stream's hook, and how many went the long way."""
    seen: list[str] = []

    def steps(flow: http.HTTPFlow) -> Any:
        reply = yield kind(flow)
        assert reply is None
        seen.append("goes on")

    async def story() -> int:
        with dispatching(build(seen), cached=cached) as manager:
            flow, went = tflow.tflow(), 0
            for hook in hooks_here(steps(flow), lambda: nothing_follows):
                went += 1
                await manager.handle_lifecycle(hook)
                flow.resume()
            return went

    return seen, asyncio.run(story())


@pytest.mark.parametrize(
    ("build", "goes_the_long_way"),
    [
        (lambda seen: [Sees("a", seen), Sees("b", seen), View(seen)], False),
        (lambda seen: [Sees("a", seen, ValueError()), Sees("b", seen)], False),
        (
            lambda seen: [Sees("a", seen, exceptions.AddonHalt()), Sees("b", seen), View(seen)],
            False,
        ),
        (lambda seen: [Sees("a", seen), SeesLater("b", seen), Sees("c", seen), View(seen)], True),
        (lambda seen: [SeesLater("a", seen, ValueError()), Sees("b", seen)], True),
        (lambda seen: [SeesLater("a", seen, exceptions.AddonHalt()), Sees("b", seen)], True),
        (lambda seen: [Sees("a", seen), Intercepts(), View(seen)], True),
    ],
)
def test_hook_that_nobody_waits_in_is_over_at_once(build: Any, goes_the_long_way: bool) -> None:
    seen, went = through(build)

    assert (seen, bool(went)) == (through(build, cached=False)[0], goes_the_long_way)


def test_view_that_waits_is_waited_for() -> None:
    seen, went = through(lambda seen: [ViewLater(seen)])

    assert went == 1
    assert "1 updated" in seen
    assert seen[-1] == "goes on"


@pytest.mark.parametrize(
    ("kind", "nothing_follows", "over"),
    [
        (HttpRequestHeadersHook, False, True),
        (HttpResponseHeadersHook, False, True),
        (HttpRequestHook, False, False),
        (HttpRequestHook, True, True),
        (HttpResponseHook, False, False),
        (HttpResponseHook, True, True),
    ],
)
def test_end_of_a_message_goes_the_long_way_where_something_follows(
    kind: type[commands.StartHook], nothing_follows: bool, over: bool
) -> None:
    seen, went = through(lambda seen: [Sees("a", seen)], kind, nothing_follows=nothing_follows)

    assert seen == ["a", "goes on"]
    assert bool(went) is not over
