"""mitmweb's content view: what was decided about a flow, in plain words; and what mitmweb may not do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mitmproxy import contentviews, flow, http
from mitmproxy.addons.command_history import CommandHistory
from mitmproxy.contentviews import Contentview, Metadata
from mitmproxy.tools.web import app
from mitmproxy.tools.web.master import WebMaster

from tollkeeper.core.eyes import escape, readable
from tollkeeper.proxy.disclose import COUNTED, KEY, clock
from tollkeeper.proxy.fail_closed import STANDING

MOST_UNSENT = 500
"""Messages that wait for a browser which reads slowly; then it is told to load the list anew."""

STYLE = b'<link rel="stylesheet" href="/tollkeeper/mitmweb.css">'
WAY = b'<a class="tollkeeper-cockpit" href="/tollkeeper">Held calls</a>'

FLOW_TO_JSON = app.flow_to_json

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "decision": {
        "effect": "effect", "why": "why", "message": "told to the client", "reasons": "reasons",
        "changes": "changes", "decision": "id",
    },
    "caller": {"agent": "agent", "claims": "claims to be", "run": "run", "model": "model"},
    "money in USD": {
        "reserved_usd": "reserved, the worst case", "expected_usd": "expected", "cost_usd": "cost",
        "billing": "paid by", "worst_usd": "notional at most", "notional_usd": "notional",
        "left_usd": "left when it was reserved", "price": "price from",
    },
    "approval": {
        "approval": "id", "rule": "asked by rule", "lapses_ns": "lapses",
        "answered": "answered", "answer_note": "note",
    },
    "usage": {
        "outcome": "outcome", "basis": "basis",
        **{name: name.replace("_", " ") for name in COUNTED},
        "unknown_usage": "not known to us",
    },
}  # fmt: skip
"""What is shown, in this order: the headings, and under each the facts by their names for people."""


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
        return "\n".join([*told(known), "---", *(readable(data) if data else ["(no body)"])])

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """First choice for every flow that was judged."""
        flow = metadata.flow
        return 10.0 if isinstance(flow, http.HTTPFlow) and KEY in flow.metadata else -1.0


def told(known: Mapping[str, Any]) -> Iterator[str]:
    """The facts under their headings, escaped; what is held says how to answer it."""
    for heading, names in SECTIONS.items():
        lines = [
            line
            for name, label in names.items()
            if known.get(name) not in (None, "")
            for line in fact(label, clock(known[name]) if name.endswith("_ns") else known[name])
        ]
        if lines:
            yield f"{heading}:"
            yield from lines
    if known.get("effect") == "held":
        yield "answer:"
        yield "  here: open /tollkeeper on this address"
        yield f"  terminal: tollkeeper approve {known['approval']}"
        yield f"  terminal: tollkeeper reject {known['approval']} --note WHY"


def fact(label: str, value: object) -> list[str]:
    """One fact; a list of several lines stands below its label."""
    lines = [escape(line) for line in str(value).split("\n")]
    if len(lines) == 1:
        return [f"  {label}: {lines[0]}"]
    return [f"  {label}:", *(f"    - {line}" for line in lines)]


# ----------------------------------------------------------------------------- mitmweb, tamed


class GovernedWeb(WebMaster):
    """mitmweb that turns a flow into JSON only when a browser looks on; that hashes whole bodies."""

    def _sig_view_add(self, flow: flow.Flow) -> None:
        if app.ClientConnection.connections:
            super()._sig_view_add(flow)

    def _sig_view_update(self, flow: flow.Flow) -> None:
        if app.ClientConnection.connections:
            super()._sig_view_update(flow)


def shown_json(flow: flow.Flow) -> dict[str, Any]:
    """A flow as mitmweb shows it; the refusal that stands while a hook runs is no answer yet."""
    made: dict[str, Any] = FLOW_TO_JSON(flow)
    if isinstance(flow, http.HTTPFlow) and flow.response is STANDING:
        del made["response"]
    return made


class ShownIndex(app.IndexHandler):
    """mitmweb's page with room for comments, and the way to the cockpit."""

    def get(self) -> None:
        """The page."""
        html = self.render_string("../index.html")
        html = html.replace(b"</head>", STYLE + b"</head>").replace(b"<body>", b"<body>" + WAY)
        self.finish(html)

    post = get  # logging in


class ShownUpdates(app.ClientConnection):
    """A browser that is told of changes, with an end to what waits for it."""

    def send(self, message: bytes) -> None:
        """Queue a message; too many of them become one that says to look at everything again."""
        if self._send_queue.qsize() >= MOST_UNSENT:
            while not self._send_queue.empty():
                self._send_queue.get_nowait()
            super().send(b'{"type": "events/reset"}')
            message = b'{"type": "flows/reset"}'
        super().send(message)


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


class ShownDump(app.DumpFlows):
    """The download of flows."""

    async def post(self) -> None:
        """Refuse an upload: it clears the list, and what it loads was never judged."""
        raise app.APIError(403, "Tollkeeper shows only its own flows here.")


class ShownOnce(app.DuplicateFlow):
    """There is one of each flow."""

    def post(self, flow_id: str) -> None:
        """Refuse it: a copy was never judged, and nothing would ever take it away."""
        raise app.APIError(403, "Tollkeeper shows only its own flows here.")


INSTEAD = {
    app.IndexHandler: ShownIndex,
    app.ClientConnection: ShownUpdates,
    app.FlowHandler: ShownFlow,
    app.FlowContent: ShownContent,
    app.DumpFlows: ShownDump,
    app.DuplicateFlow: ShownOnce,
}


def lock(application: app.Application) -> None:
    """Take edits of flows out of mitmweb's API, and show what we know in its page."""
    for rule in application.wildcard_router.rules:
        rule.target = INSTEAD.get(rule.target, rule.target)
    app.flow_to_json = shown_json


class Memory:
    """The command bar's history, which mitmproxy also writes to a file."""

    def __init__(self, history: CommandHistory) -> None:
        """Stand before mitmproxy's own."""
        self.history = history

    def add(self, command: str) -> None:
        """Remember a command, unless it is one of ours: those carry the operator's code."""
        if "tollkeeper." not in command:
            self.history.add_command(command)


def install() -> None:
    """Add the view to mitmproxy's registry; may be called twice."""
    if not any(isinstance(view, DecisionView) for view in contentviews.registry.values()):
        contentviews.add(DecisionView())
