"""mitmweb: what it shows of a decision, and what it may not do."""

from __future__ import annotations

import asyncio
import json

from mitmproxy import contentviews
from mitmproxy.contentviews import Metadata
from mitmproxy.test import tflow
from mitmproxy.tools.web import app

from proxy.house import CHAT, House, answered
from tollkeeper.proxy import inspector
from tollkeeper.proxy.disclose import KEY
from tollkeeper.proxy.fail_closed import STANDING
from tollkeeper.proxy.inspector import MOST_UNSENT, DecisionView, ShownUpdates, shown_json, told


def test_view_shows_the_decision_above_the_body(house: House) -> None:
    flow = house.judged()
    view = DecisionView()

    shown = view.prettify(b'{"a": 1}', Metadata(flow=flow))

    head, _, body = shown.partition("\n---\n")
    assert "agent: atlas" in head
    assert "reserved, the worst case: " in head
    assert body == '{\n  "a": 1\n}'


def test_view_shows_any_bytes(house: House) -> None:
    shown = DecisionView().prettify(b"\xff\x00", Metadata(flow=house.judged()))

    assert shown.endswith("---\nff00")


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
        ("DumpFlows", "post"),  # replaced by ours
        ("DuplicateFlow", "post"),  # replaced by ours
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


def test_facts_stand_under_headings_in_the_order_in_which_one_asks(house: House) -> None:
    flow = house.judged()
    asyncio.run(house.give(flow, answered()))

    lines = list(told(flow.metadata[KEY]))

    assert [line for line in lines if not line.startswith(" ")] == [
        "decision:", "caller:", "money in USD:", "usage:",
    ]  # fmt: skip
    assert lines[1] == "  effect: allowed"
    assert "  cost: 0.00000435" in lines
    assert "  input tokens: 9" in lines
    assert not any("None" in line for line in lines)


def test_refusal_is_told_with_all_its_reasons(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"models": ["gpt-4o"], "streaming": False}}})

    lines = list(told(house.judged(body=CHAT | {"stream": True}).metadata[KEY]))

    assert "  effect: refused" in lines
    at = lines.index("  reasons:")
    assert all(
        line.startswith("    - policy_denied (agents.atlas.") for line in lines[at + 1 : at + 3]
    )


def test_held_flow_tells_how_to_answer(house: House) -> None:
    known = {"effect": "held", "approval": "abcdefghij", "lapses_ns": 3_600_000_000_000}

    lines = list(told(known))

    assert "  lapses: 01:00:00 UTC" in lines
    assert "  terminal: tollkeeper approve abcdefghij" in lines


def test_what_an_agent_wrote_can_neither_hide_nor_look_like_a_fact() -> None:
    lines = list(
        told({"model": "x\u202e\x1b[2J\r  effect: allowed", "why": "a\n  effect: allowed"})
    )

    assert r"  model: x\u202e\x1b[2J\r  effect: allowed" in lines
    assert "    -   effect: allowed" in lines


class Slow(ShownUpdates):
    """A browser that reads nothing."""

    def __init__(self) -> None:
        self._send_queue = asyncio.Queue()


def test_browser_that_reads_slowly_is_told_to_look_anew() -> None:
    browser = Slow()

    for number in range(MOST_UNSENT):
        browser.send(b"%d" % number)
    assert browser._send_queue.qsize() == MOST_UNSENT
    browser.send(b"one too many")

    left = [json.loads(browser._send_queue.get_nowait()) for _ in range(2)]
    assert [one["type"] for one in left] == ["events/reset", "flows/reset"]
    assert browser._send_queue.empty()


def test_refusal_that_stands_while_a_hook_runs_is_not_shown_as_an_answer() -> None:
    flow = tflow.tflow(resp=True)
    assert shown_json(flow)["response"]["status_code"] == 200

    flow.response = STANDING
    assert "response" not in shown_json(flow)
