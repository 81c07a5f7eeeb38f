"""What an answer leaves with its provider, behind one listener."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from mitmproxy import http

from proxy.house import House, answered

BODY = {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 50, "background": True}
USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}


def response(status: str, **more: Any) -> http.Response:
    plain = {"id": "resp_1", "object": "response", "status": status, "output": []}
    return answered(plain | more)


def begin(house: House, **more: Any) -> None:
    start(house, house.judged(path="/v1/responses", body=BODY), **more)


def start(house: House, flow: http.HTTPFlow, **more: Any) -> None:
    assert flow.response is None, flow.response.text
    flow.server_conn.timestamp_tls_setup = time.time()
    asyncio.run(house.give(flow, response("queued", **more)))


def poll(house: House, told: http.Response) -> None:
    flow = house.judged(path="/v1/responses/resp_1", method="GET", body=b"")
    assert flow.response is None, flow.response.text
    asyncio.run(house.give(flow, told))


def states(house: House) -> list[tuple[str, str | None]]:
    return [
        (row["state"], row["basis"])
        for row in house.calls()
        if row["operation"] == "responses"
    ]  # fmt: skip


def test_queued_call_stays_open_and_its_end_settles_it_once(house: House) -> None:
    begin(house)
    assert states(house) == [("forwarded", None)]

    poll(house, response("in_progress"))
    assert states(house) == [("forwarded", None)]

    poll(house, response("completed", usage=USAGE))
    poll(house, response("completed", usage=USAGE | {"output_tokens": 50}))
    assert states(house) == [("settled", "measured")]
    [row] = [row for row in house.calls() if row["operation"] == "responses"]
    assert row["cost_nano_usd"] == 9 * 150 + 5 * 600


def test_end_without_usage_is_booked_whole(house: House) -> None:
    begin(house)

    poll(house, response("failed", usage=None))

    assert states(house) == [("settled", "reserved")]


@pytest.mark.parametrize(
    ("ran", "cost"), [("gpt-4o-mini", 9 * 150 + 5 * 600), ("gpt-4o", 9 * 2_500 + 5 * 10_000)]
)
def test_end_of_a_deployment_that_ran_a_dearer_model_costs_what_that_costs(
    house: House, ran: str, cost: int
) -> None:
    house.govern_by({"providers": {"azure": {"deployments": {"prod": "gpt-4o-mini"}}}})
    host, path = "corp.openai.azure.com", "/openai/v1/responses"
    at = {"host": host, "fields": [("Host", host), ("api-key", "az")]}
    start(house, house.judged(path=path, body=BODY | {"model": "prod"}, **at))

    flow = house.judged(path=f"{path}/resp_1", method="GET", body=b"", **at)
    asyncio.run(house.give(flow, response("completed", usage=USAGE, model=ran)))

    [row] = [row for row in house.calls() if row["operation"] == "responses"]
    assert (row["basis"], row["cost_nano_usd"]) == ("measured", cost)


def test_error_instead_of_an_answer_settles_nothing(house: House) -> None:
    begin(house)

    poll(house, answered({"error": {"message": "slow down"}}, 429))

    assert states(house) == [("forwarded", None)]


def test_another_response_settles_nothing(house: House) -> None:
    begin(house)

    poll(house, response("completed", id="resp_2", usage=USAGE))

    assert states(house) == [("forwarded", None)]


def test_end_of_a_call_that_a_plan_pays_is_notional(house: House) -> None:
    house.govern_by({"providers": {"openai": {"billing": "flat", "counts": False}}})
    begin(house)

    poll(house, response("completed", usage=USAGE))

    [row] = [row for row in house.calls() if row["operation"] == "responses"]
    assert row["billing"] == "flat"
    assert row["cost_nano_usd"] == 0
    assert row["notional_nano_usd"] == 9 * 150 + 5 * 600


def test_end_of_a_call_that_used_what_has_no_price_is_never_below_its_reservation(
    house: House,
) -> None:
    begin(house)

    poll(house, response("completed", usage=USAGE | {"service_tier": "moonlit"},
                         service_tier="moonlit"))  # fmt: skip

    [row] = [row for row in house.calls() if row["operation"] == "responses"]
    assert row["basis"] == "reserved"
    assert row["cost_nano_usd"] == row["worst_nano_usd"]


def test_end_of_a_call_costs_what_its_own_kind_of_tool_costs(house: House) -> None:
    house.govern_by({"ceilings": {"server_tools_usd": 1}})
    container = {"type": "auto", "memory_limit": "64g"}
    asked = {"tools": [{"type": "code_interpreter", "container": container}]}
    used = [{"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}]
    costs = []
    for more in ({}, {"background": True}):
        flow = house.judged(path="/v1/responses", body=BODY | {"background": False} | asked | more)
        assert flow.response is None, flow.response.text
        flow.server_conn.timestamp_tls_setup = time.time()
        end = response("completed", usage=USAGE, output=used)
        asyncio.run(house.give(flow, response("queued") if more else end))
        if more:
            poll(house, end)
        costs.append([row for row in house.calls() if row["operation"] == "responses"][-1])

    direct, later = costs
    assert direct["cost_nano_usd"] > 9 * 150 + 5 * 600
    assert (later["cost_nano_usd"], later["basis"]) == (direct["cost_nano_usd"], direct["basis"])


def test_background_call_that_nobody_can_ask_for_is_booked_at_once_where_it_is_only_observed(
    house: House,
) -> None:
    house.govern_by({"mode": "observe"})
    host = "api.groq.com"
    flow = house.judged(
        host=host, path="/openai/v1/responses", fields=[("Host", host)],
        body=BODY | {"model": "openai/gpt-oss-20b"},
    )  # fmt: skip
    assert flow.response is None, flow.response.text
    flow.server_conn.timestamp_tls_setup = time.time()
    asyncio.run(house.give(flow, response("queued")))

    [row] = house.calls()
    assert (row["state"], row["basis"]) == ("settled", "reserved")
    assert row["cost_nano_usd"] == row["worst_nano_usd"] > 0
