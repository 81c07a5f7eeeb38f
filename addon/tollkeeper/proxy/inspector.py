"""mitmweb's content view: what was decided about a flow, in plain words."""

from __future__ import annotations

import json

from mitmproxy import contentviews, http
from mitmproxy.contentviews import Contentview, Metadata
from mitmproxy.tools.web import app

from tollkeeper.proxy.disclose import KEY


class DecisionView(Contentview):
    """Shows the decision, reservation, usage and reasons above the body."""

    @property
    def name(self) -> str:
        """As it stands in the menu."""
        return "Tollkeeper"

    @property
    def syntax_highlight(self) -> contentviews.SyntaxHighlight:
        """Plain key and value lines read well as YAML."""
        return "yaml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """The decision's facts, then the body as it is."""
        flow = metadata.flow
        known = flow.metadata.get(KEY, {}) if isinstance(flow, http.HTTPFlow) else {}
        lines = [f"{name}: {value}" for name, value in known.items() if value not in (None, "")]
        try:
            body = json.dumps(json.loads(data), indent=2, ensure_ascii=False)
        except ValueError:
            body = data.decode("utf-8", "replace")
        return "\n".join([*lines, "---", body])

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """First choice for every flow that was judged."""
        flow = metadata.flow
        return 10.0 if isinstance(flow, http.HTTPFlow) and KEY in flow.metadata else -1.0


class ShownFlow(app.FlowHandler):
    """A flow in mitmweb's API: marked and commented, never edited."""

    def put(self, flow_id: str) -> None:
        """Refuse what would make a flow another one than was judged."""
        if set(self.json) - {"marked", "comment"}:
            raise app.APIError(403, "Tollkeeper lets nobody edit a flow here.")
        super().put(flow_id)


class ShownContent(app.FlowContent):
    """A body in mitmweb's API: read, never written."""

    def post(self, flow_id: str, message: str) -> None:
        """Refuse it."""
        raise app.APIError(403, "Tollkeeper lets nobody edit a flow here.")


def lock(application: app.Application) -> None:
    """Take edits of flows out of mitmweb's API."""
    instead = {app.FlowHandler: ShownFlow, app.FlowContent: ShownContent}
    for rule in application.wildcard_router.rules:
        rule.target = instead.get(rule.target, rule.target)


def install() -> None:
    """Add the view to mitmproxy's registry; may be called twice."""
    if not any(isinstance(view, DecisionView) for view in contentviews.registry.values()):
        contentviews.add(DecisionView())
