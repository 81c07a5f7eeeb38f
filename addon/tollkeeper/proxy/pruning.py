"""How many finished flows mitmweb keeps: it would keep every one for as long as it runs."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.addons.view import View
from mitmproxy.flow import Flow

KEPT_FLOWS = 500
"""Finished flows in the list; a flow with small bodies takes about 13 KB. The record keeps every call."""

KEPT_BYTES = 64 * 1024 * 1024
"""Of bodies of finished flows together."""


class Pruning:
    """Takes the flows out of mitmweb's list that finished first; what still runs or waits stays.

    mitmproxy kills a flow that is taken out of its list while it is live.
    """

    def __init__(self, view: View) -> None:
        """Nothing has finished yet."""
        self.view = view
        self.finished: dict[str, int] = {}
        self.body_bytes = 0
        view.sig_store_remove.connect(self.removed)
        view.sig_store_refresh.connect(self.cleared)

    def response(self, flow: http.HTTPFlow) -> None:
        """An answer has passed; after the one to an upgrade a WebSocket goes on."""
        if flow.websocket is None:
            self.ended(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        """A flow broke off."""
        self.ended(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """A WebSocket was closed."""
        self.ended(flow)

    def tcp_end(self, flow: Flow) -> None:
        """A raw connection was closed."""
        self.ended(flow)

    def tcp_error(self, flow: Flow) -> None:
        """A raw connection broke off."""
        self.ended(flow)

    def ended(self, flow: Flow) -> None:
        """Count a flow, and let the oldest go while there are too many."""
        if flow.id in self.finished or self.view.get_by_id(flow.id) is None:
            return
        self.finished[flow.id] = size = body_bytes(flow)
        self.body_bytes += size
        for oldest in list(self.finished) if self.too_many() else ():
            known = self.view.get_by_id(oldest)
            if known is not None and not known.live:  # the hooks of the newest still run
                self.view.remove([known])
            if not self.too_many():
                return

    def too_many(self) -> bool:
        """Whether something has to go."""
        return len(self.finished) > KEPT_FLOWS or self.body_bytes > KEPT_BYTES

    def removed(self, flow: Flow) -> None:
        """Somebody or something took a flow out of the list."""
        self.body_bytes -= self.finished.pop(flow.id, 0)

    def cleared(self) -> None:
        """Somebody cleared the list, or a part of it."""
        self.finished = {
            one: size for one, size in self.finished.items() if self.view.get_by_id(one)
        }
        self.body_bytes = sum(self.finished.values())


def body_bytes(flow: Flow) -> int:
    """What a flow keeps of bodies."""
    if not isinstance(flow, http.HTTPFlow):
        return sum(len(message.content) for message in getattr(flow, "messages", ()))
    kept = [flow.request.raw_content, flow.response.raw_content if flow.response else None]
    if flow.websocket is not None:
        kept += [message.content for message in flow.websocket.messages]
    return sum(len(content) for content in kept if content)
