"""mitmweb's list stays as long as it is allowed to be, and nothing that runs is taken out of it."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.addons.view import View
from mitmproxy.test import tflow

from proxy.house import mitmproxy_context
from tollkeeper.proxy import pruning
from tollkeeper.proxy.pruning import Pruning, body_bytes


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> tuple[View, Pruning]:
    monkeypatch.setattr(pruning, "KEPT_FLOWS", 3)
    monkeypatch.setattr(pruning, "KEPT_BYTES", 1000)
    with mitmproxy_context():
        view = View()
    return view, Pruning(view)


def begun(view: View, body_bytes: int = 10, *, live: bool = True) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.live = live
    flow.request.content = b"x" * body_bytes
    flow.response.content = b""
    view.add([flow])
    return flow


def finish(pruning: Pruning, flow: http.HTTPFlow) -> None:
    """As mitmproxy does: the flow is live until its last hook has returned."""
    pruning.response(flow)
    flow.live = False


def test_oldest_finished_flows_go_and_what_runs_stays(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    held = begun(view)
    flows = [begun(view) for _ in range(6)]

    for flow in flows:
        finish(pruning, flow)

    assert list(view) == [held, *flows[-3:]]
    assert held.live
    assert held.error is None


def test_bodies_count_as_well(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    flows = [begun(view, 600), begun(view, 300), begun(view, 400)]

    for flow in flows:
        finish(pruning, flow)

    assert list(view) == flows[1:]
    assert pruning.body_bytes == 700


def test_flow_whose_last_hook_still_runs_is_not_killed(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    large = begun(view, 2000)

    pruning.response(large)

    assert list(view) == [large]
    assert large.error is None
    large.live = False
    finish(pruning, small := begun(view))
    assert list(view) == [small]


def test_flow_that_is_long_in_its_last_hook_holds_nothing_up(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    slow = begun(view)
    pruning.response(slow)
    flows = [begun(view) for _ in range(9)]

    for flow in flows:
        finish(pruning, flow)

    assert list(view) == [slow, *flows[-2:]]


def test_each_flow_counts_once_however_it_ended(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    flow = begun(view)

    pruning.response(flow)
    pruning.error(flow)

    assert pruning.body_bytes == 10


def test_websocket_counts_when_it_was_closed(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    flow = tflow.twebsocketflow()
    view.add([flow])

    pruning.response(flow)
    assert not pruning.finished
    pruning.websocket_end(flow)

    assert pruning.body_bytes == body_bytes(flow) > 0


def test_raw_connections_count_too(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    ended, broken = tflow.ttcpflow(), tflow.ttcpflow(err=True)
    view.add([ended, broken])

    pruning.tcp_end(ended)
    pruning.tcp_error(broken)

    assert len(pruning.finished) == 2
    assert pruning.body_bytes == 2 * body_bytes(ended) > 0


def test_what_a_person_takes_out_is_forgotten(kept: tuple[View, Pruning]) -> None:
    view, pruning = kept
    flows = [begun(view, live=False) for _ in range(3)]
    for flow in flows:
        pruning.response(flow)

    view.remove([flows[0]])
    assert pruning.body_bytes == 20
    flows[1].marked = ":grapes:"
    view.clear_not_marked()
    assert list(pruning.finished) == [flows[1].id]
    view.clear()

    assert (pruning.finished, pruning.body_bytes) == ({}, 0)


def test_flow_that_is_not_in_the_list_is_not_counted(kept: tuple[View, Pruning]) -> None:
    _, pruning = kept

    pruning.response(tflow.tflow(resp=True))

    assert not pruning.finished
