"""Flows that mitmproxy saved, read back for trying a policy on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from proxy.house import House
from tollkeeper.errors import UsageError
from tollkeeper.proxy.recorded import recorded


def test_saved_requests_to_providers_come_back_in_order_and_others_are_passed_over(
    house: House, tmp_path: Path
) -> None:
    late, early = house.judged(), house.judged()
    late.request.timestamp_start, early.request.timestamp_start = 200.5, 100.0
    path = tmp_path / "flows"
    with path.open("wb") as file:
        for flow in (late, tflow.tflow(), tflow.ttcpflow(), early):
            FlowWriter(file).add(flow)

    found = list(recorded(path, house.station.policy_file.policy, "someone"))

    assert [one.agent for one in found] == ["atlas", "atlas"]
    assert [one.inbound.path for one in found] == ["/v1/chat/completions"] * 2
    assert b"gpt-4o-mini" in found[0].inbound.body


def test_flow_that_tells_no_agent_gets_the_one_that_was_named(house: House, tmp_path: Path) -> None:
    flow = house.flow()
    path = tmp_path / "flows"
    with path.open("wb") as file:
        FlowWriter(file).add(flow)

    [one] = recorded(path, house.station.policy_file.policy, "someone")

    assert one.agent == "someone"


@pytest.mark.parametrize("content", [None, b"no flows", b"4:oops"])
def test_file_without_flows_is_an_error_that_names_it(
    house: House, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "flows"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError, match="flows"):
        list(recorded(path, house.station.policy_file.policy, "someone"))
