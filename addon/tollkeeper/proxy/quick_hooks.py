"""A stream's hooks, which are over at once where nobody waits in them.

mitmproxy makes a task for each hook, sends it up through all layers and its end down again: a fortieth of
all instructions of a call for each. What follows a message may be the client's next request, which
mitmproxy would read while the layer below is still at this one; so the hooks at a message's end go the
long way where the client is ahead.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import ctx, hooks
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http import (
    HttpRequestHeadersHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)

from tollkeeper.proxy.dispatch import REST, CachedDispatch

type Quick = HttpRequestHeadersHook | HttpRequestHook | HttpResponseHeadersHook | HttpResponseHook


def hooks_here(
    steps: layer.CommandGenerator[None], nothing_follows: Callable[[], bool]
) -> layer.CommandGenerator[None]:
    """What a stream's generator yields, but its hooks only where somebody waits in them.

    Args:
        nothing_follows: Whether a message may end before the layer below has done with it.
    """
    reply = None
    while True:
        try:
            command = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if isinstance(command, HttpRequestHeadersHook | HttpResponseHeadersHook):
            over = is_over(command)
        elif isinstance(command, HttpRequestHook | HttpResponseHook):
            over = nothing_follows() and is_over(command)
        else:
            over = False
        if not over:
            reply = yield command


def is_over(hook: Quick) -> bool:
    """Whether all handlers of a flow's hook have ended.

    What is left goes with the hook where one waits, or where its flow was intercepted.
    """
    addons = ctx.master.addons
    if not isinstance(addons, CachedDispatch):
        return False
    rest = addons.begin(hook)
    if rest is None:
        update = hooks.UpdateHook([hook.flow])  # what follows each hook of a flow
        rest = nothing() if hook.flow.intercepted else addons.begin(update)
    if rest is not None:
        vars(hook)[REST] = rest
    return rest is None


async def nothing() -> None:
    """What is left where only an intercepted flow is waited for."""
