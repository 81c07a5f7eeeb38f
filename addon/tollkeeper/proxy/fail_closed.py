"""The edge where whatever goes wrong becomes a refusal.

mitmproxy logs and swallows the exceptions of its hooks and then goes on with the flow. So a guarded
hook on the way in writes the refusal first; only a hook that ran to its end may take it away. A hook
on the way back whose work breaks has its call booked, and its answer refused if it has not left yet.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from mitmproxy import http

log = logging.getLogger(__name__)


class Guarded(Protocol):
    """An addon whose hooks are guarded."""

    def fault(self, flow: http.HTTPFlow) -> http.Response:
        """The refusal that stands while a hook runs."""

    def faulted(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Record what broke on the way in; the call never left."""


class Booking(Protocol):
    """An addon that books answers."""

    def broke_off(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Record what broke on the way back, book the call, hold back what has not left."""


class Framing(Protocol):
    """An addon that judges the frames of WebSockets."""

    def frame_broke(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Record what broke, book what was under way, end the connection."""


def bare_refusal() -> http.Response:
    """What stands while not even the words of a refusal are known."""
    headers = http.Headers([(b"content-length", b"0"), (b"x-should-retry", b"false")])
    return http.Response(
        b"HTTP/1.1", 503, b"Service Unavailable", headers, b"", None, time.time(), None
    )


STANDING = bare_refusal()
"""What stands while a guarded hook runs; it never leaves, ``broke`` puts a fresh one in its place."""


def fail_closed(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Guard a request-side hook: it refuses unless it ends well.

    The hook finds ``flow.response`` set and must set it to None to let the flow pass.

    Args:
        hook: Sync or async, or sync and what it returns is waited for.
    """

    def broke(self: Guarded, flow: http.HTTPFlow, error: BaseException) -> None:
        flow.response = bare_refusal()
        flow.response = self.fault(flow)
        log.error("%s refused a flow after a fault", hook.__name__, exc_info=error)
        self.faulted(flow, hook.__name__, error)

    @functools.wraps(hook)
    def guard(self: Guarded, flow: http.HTTPFlow) -> Awaitable[None] | None:
        flow.response = STANDING
        try:
            rest: Awaitable[None] | None = hook(self, flow)
        except Exception as error:  # noqa: BLE001 - one of the two edges
            broke(self, flow, error)
            return None
        except BaseException as error:
            broke(self, flow, error)
            raise
        return waited(rest, functools.partial(broke, self, flow)) if rest is not None else None

    return marked(guard, fail_closed)


def unless_answered(guard: Callable[..., Any]) -> Callable[..., Any]:
    """Leave a flow alone that has its answer: for guarded hooks behind the one at the headers."""

    @functools.wraps(guard)
    def asked(self: Guarded, flow: http.HTTPFlow) -> Awaitable[None] | None:
        rest: Awaitable[None] | None = guard(self, flow) if flow.response is None else None
        return rest

    return asked


async def waited(rest: Awaitable[None], broke: Callable[[BaseException], None]) -> None:
    """Wait for what is left of a guarded hook."""
    try:
        await rest
    except Exception as error:  # noqa: BLE001 - one of the two edges
        broke(error)
    except BaseException as error:
        broke(error)
        raise


def books_closed(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Guard an answer-side hook: a call whose answer cannot be followed is booked.

    Args:
        hook: Sync or async, or sync and what it returns is waited for.
    """

    def broke(self: Booking, flow: http.HTTPFlow, error: BaseException) -> None:
        log.error("%s lost an answer after a fault", hook.__name__, exc_info=error)
        self.broke_off(flow, hook.__name__, error)

    @functools.wraps(hook)
    def guard(self: Booking, flow: http.HTTPFlow) -> Awaitable[None] | None:
        try:
            rest: Awaitable[None] | None = hook(self, flow)
        except Exception as error:  # noqa: BLE001 - one of the two edges
            broke(self, flow, error)
            return None
        except BaseException as error:
            broke(self, flow, error)
            raise
        return waited(rest, functools.partial(broke, self, flow)) if rest is not None else None

    return marked(guard, books_closed)


def frames_closed(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Guard ``websocket_message``: a frame is dropped unless the hook ran to its end and says True."""

    @functools.wraps(hook)
    async def guard(self: Framing, flow: http.HTTPFlow) -> None:
        assert flow.websocket is not None
        message = flow.websocket.messages[-1]
        message.dropped = True
        try:
            passes = await hook(self, flow, message)
        except Exception as error:  # noqa: BLE001 - one of the edges
            self.frame_broke(flow, hook.__name__, error)
        except BaseException as error:
            self.frame_broke(flow, hook.__name__, error)
            raise
        else:
            message.dropped = passes is not True

    return marked(guard, frames_closed)


def marked(guard: Callable[..., Any], kind: Callable[..., Any]) -> Callable[..., Any]:
    """Say on the hook which guard it has; a test looks for hooks that have none."""
    vars(guard)["guarded_by"] = kind
    return guard
