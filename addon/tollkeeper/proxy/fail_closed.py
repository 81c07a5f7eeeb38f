"""The edge where whatever goes wrong becomes a refusal.

mitmproxy logs and swallows the exceptions of its hooks and then forwards the flow. So a guarded hook
writes the refusal first; only a hook that ran to its end may take it away.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, Protocol

from mitmproxy import http

log = logging.getLogger(__name__)


class Guarded(Protocol):
    """An addon whose hooks are guarded."""

    def fault(self, flow: http.HTTPFlow) -> http.Response:
        """The refusal that stands while a hook runs."""

    def faulted(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Record what broke; must not raise."""


def fail_closed(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Guard a request-side hook, sync or async: it refuses unless it ends well.

    The hook finds ``flow.response`` set and must set it to None to let the flow pass.
    """

    def broke(self: Guarded, flow: http.HTTPFlow, error: BaseException) -> None:
        flow.response = self.fault(flow)
        log.error("%s refused a flow after a fault", hook.__name__, exc_info=error)
        self.faulted(flow, hook.__name__, error)

    if inspect.iscoroutinefunction(hook):

        @functools.wraps(hook)
        async def guard(self: Guarded, flow: http.HTTPFlow) -> None:
            if flow.response is not None:
                return
            flow.response = self.fault(flow)
            try:
                await hook(self, flow)
            except Exception as error:  # noqa: BLE001 - one of the two edges
                broke(self, flow, error)
            except BaseException as error:
                broke(self, flow, error)
                raise

        return guard

    @functools.wraps(hook)
    def guard_sync(self: Guarded, flow: http.HTTPFlow) -> None:
        flow.response = self.fault(flow)
        try:
            hook(self, flow)
        except Exception as error:  # noqa: BLE001 - one of the two edges
            broke(self, flow, error)
        except BaseException as error:
            broke(self, flow, error)
            raise

    return guard_sync
