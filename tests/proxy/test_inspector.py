"""mitmweb: what it shows of a decision, and what it may not do."""

from __future__ import annotations

from mitmproxy import contentviews
from mitmproxy.contentviews import Metadata
from mitmproxy.test import tflow
from mitmproxy.tools.web import app

from proxy.house import House
from tollkeeper.proxy import inspector
from tollkeeper.proxy.inspector import DecisionView


def test_view_shows_the_decision_above_the_body(house: House) -> None:
    flow = house.judged()
    view = DecisionView()

    shown = view.prettify(b'{"a": 1}', Metadata(flow=flow))

    head, _, body = shown.partition("\n---\n")
    assert "agent: atlas" in head
    assert "reserved_usd:" in head
    assert body == '{\n  "a": 1\n}'


def test_view_shows_any_bytes(house: House) -> None:
    shown = DecisionView().prettify(b"\xff\x00", Metadata(flow=house.judged()))

    assert shown.endswith("---\n\ufffd\x00")


def test_view_is_the_first_choice_for_judged_flows_only(house: House) -> None:
    view = DecisionView()

    assert view.render_priority(b"", Metadata(flow=house.judged())) > 1
    assert view.render_priority(b"", Metadata(flow=tflow.tflow())) < 0
    assert view.render_priority(b"", Metadata(flow=tflow.ttcpflow())) < 0
    assert view.render_priority(b"", Metadata()) < 0


def test_view_is_added_once() -> None:
    inspector.install()
    inspector.install()

    names = [view.name for view in contentviews.registry.values()]
    assert names.count("Tollkeeper") == 1
    assert DecisionView().syntax_highlight == "yaml"


def test_every_endpoint_of_mitmweb_that_writes_is_known() -> None:
    writing = {
        (rule[1].__name__, method)
        for rule in app.handlers
        for method in ("post", "put", "delete", "patch")
        if method in {m for base in rule[1].__mro__[:-3] for m in vars(base)}
        and isinstance(rule[1], type)
    }

    assert writing <= {
        ("ClearAll", "post"),
        ("DumpFlows", "post"),
        ("DuplicateFlow", "post"),
        ("ExecuteCommand", "post"),  # the commands that are left are harmless
        ("IndexHandler", "post"),  # logging in
        ("FlowContent", "post"),  # replaced by ours
        ("FlowHandler", "delete"),
        ("FlowHandler", "put"),  # replaced by ours
        ("KillFlow", "post"),
        ("KillFlows", "post"),
        ("Options", "put"),  # the locks answer
        ("ReplayFlow", "post"),  # its command is gone
        ("ResumeFlow", "post"),  # nothing of ours waits for it
        ("ResumeFlows", "post"),
        ("RevertFlow", "post"),
        ("SaveOptions", "post"),  # does nothing
    }
