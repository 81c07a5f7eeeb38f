"""Hooks that mitmproxy does not have, and the queue of events that wait while a hook runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as mitm_http


class WatchedQueue(deque[events.Event]):
    """The events that wait while a hook runs; wakes the hook when the client's end is among them.

    mitmproxy itself would tell a hook of a lost client only after the hook has returned.
    """

    def __init__(self, waiting: Iterable[events.Event], wake: Callable[[], None]) -> None:
        self.wake = wake
        super().__init__()
        for event in waiting:
            self.append(event)

    def append(self, event: events.Event) -> None:
        """Queue an event, as ``Layer.handle_event`` does."""
        super().append(event)
        if isinstance(event, mitm_http.RequestProtocolError):
            self.wake()


@dataclass
class BodyTooLargeHook(commands.StartHook):
    """``body_too_large(flow)``: a request's body grew over the limit; set ``flow.response``."""

    name = "body_too_large"
    flow: http.HTTPFlow


@dataclass
class StillHeldHook(commands.StartHook):
    """``still_held(flow)``: the client was sent a heartbeat; leave ``flow.response`` None to forward."""

    name = "still_held"
    flow: http.HTTPFlow


@dataclass
class AnswerTooLargeHook(commands.StartHook):
    """``answer_too_large(flow)``: a buffered answer grew over ``ANSWER_LIMIT_BYTES``.

    Set ``flow.response`` to what is answered instead, or its ``stream`` to let it pass unbuffered.
    """

    name = "answer_too_large"
    flow: http.HTTPFlow
