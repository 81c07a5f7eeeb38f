"""A stream's hooks at the headers, which are over at once where nobody waits in them.

mitmproxy makes a task for each hook, sends it up through all layers and its end down again. For the two
at the headers, in which hardly anybody waits, that is a twentieth of all instructions of a call. The two
behind them must go that way: they may answer, while the layer below still reads the message before.
"""

from __future__ import annotations

from mitmproxy import ctx, hooks
from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers.http import HttpRequestHeadersHook, HttpResponseHeadersHook

from tollkeeper.proxy.dispatch import REST, CachedDispatch


def header_hooks_here(steps: layer.CommandGenerator[None]) -> layer.CommandGenerator[None]:
    """What a stream's generator yields, but its hooks at the headers only where somebody waits in them."""
    reply = None
    while True:
        try:
            command = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if not is_over(command):
            reply = yield command


def is_over(command: commands.Command) -> bool:
    """Whether it was a hook at the headers and all its handlers have ended.

    What is left goes with the hook where one waits, or where its flow was intercepted.
    """
    if not isinstance(command, HttpRequestHeadersHook | HttpResponseHeadersHook):
        return False
    addons = ctx.master.addons
    if not isinstance(addons, CachedDispatch):
        return False
    rest = addons.begin(command)
    if rest is None:
        rest = nothing() if command.flow.intercepted else addons.begin(updated(command))
    if rest is not None:
        vars(command)[REST] = rest
    return rest is None


def updated(hook: HttpRequestHeadersHook | HttpResponseHeadersHook) -> hooks.UpdateHook:
    """What follows each hook of a flow, as ``AddonManager.handle_lifecycle`` has it."""
    return hooks.UpdateHook([hook.flow])


async def nothing() -> None:
    """What is left where only an intercepted flow is waited for."""
