"""The way of one call through the enforcing addon, hook by hook."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from proxy.house import ANSWER, COST_NANO_USD, HOLD_ALL, House, answered, run


def error_of(flow) -> dict:
    return json.loads(flow.response.content)["error"]


def test_allowed_call_goes_on_as_it_came_and_is_settled_by_its_usage(house: House) -> None:
    flow = house.judged()
    assert flow.response is None
    before = flow.request.raw_content

    asyncio.run(house.give(flow, answered()))

    [row] = house.calls()
    assert before == flow.request.raw_content
    assert (row["state"], row["basis"]) == ("settled", "measured")
    assert row["cost_nano_usd"] == COST_NANO_USD
    assert flow.response.headers["x-tollkeeper-cost-usd"] == "0.00000435"
    assert flow.response.headers["x-tollkeeper-id"] == row["id"]


def test_denied_call_is_refused_in_the_providers_shape_and_reserves_nothing(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"models": ["gpt-4o"]}}})

    flow = house.judged()

    assert flow.response.status_code == 403
    assert error_of(flow)["code"] == "policy_denied"
    assert house.open_calls() == 0


def test_refusal_runs_through_the_way_back_untouched(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"models": ["gpt-4o"]}}})
    flow = house.judged()
    before = flow.response.get_state()

    house.enforcer.responseheaders(flow)
    asyncio.run(house.end(flow))

    assert flow.response.get_state() == before


def test_second_response_or_error_books_nothing_more(house: House) -> None:
    flow = house.judged()
    asyncio.run(house.give(flow, answered()))

    asyncio.run(house.end(flow))
    asyncio.run(house.enforcer.error(flow))

    [row] = house.calls()
    assert row["cost_nano_usd"] == COST_NANO_USD
    assert house.kinds().count("settled") == 1


def test_broken_connection_before_any_byte_left_costs_nothing(house: House) -> None:
    flow = house.judged()

    asyncio.run(house.enforcer.error(flow))

    [row] = house.calls()
    assert (row["outcome"], row["cost_nano_usd"]) == ("not_sent", 0)


def test_broken_connection_after_the_call_left_is_booked_whole(house: House) -> None:
    flow = house.judged()
    flow.server_conn.timestamp_tls_setup = time.time()

    asyncio.run(house.enforcer.error(flow))

    [row] = house.calls()
    assert row["basis"] == "reserved"
    assert row["cost_nano_usd"] == row["worst_nano_usd"] > 0


def test_refused_call_whose_client_leaves_books_nothing(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"models": ["gpt-4o"]}}})
    flow = house.judged()

    asyncio.run(house.enforcer.error(flow))

    assert house.kinds().count("settled") == 0


def test_alt_svc_is_taken_out_of_a_governed_answer(house: House) -> None:
    flow = house.judged()

    asyncio.run(house.give(flow, answered(alt_svc='h3=":443"')))

    assert "alt-svc" not in flow.response.headers


def test_stream_gets_the_meter_and_a_buffered_answer_does_not(house: House) -> None:
    streamed = house.judged(body={"model": "gpt-4o-mini", "max_tokens": 9, "stream": True,
                                  "messages": [{"role": "user", "content": "x"}]})  # fmt: skip
    buffered = house.judged()
    for flow in (streamed, buffered):
        flow.response = answered(content_type="text/event-stream", content_length="5")
        house.enforcer.responseheaders(flow)

    assert streamed.response.stream is house.enforcer.passages[streamed].answer
    assert "content-length" not in streamed.response.headers
    assert not buffered.response.stream


def test_error_answer_of_a_stream_is_buffered_and_costs_nothing(house: House) -> None:
    flow = house.judged(body={"model": "gpt-4o-mini", "max_tokens": 9, "stream": True,
                              "messages": [{"role": "user", "content": "x"}]})  # fmt: skip

    asyncio.run(house.give(flow, answered(b'{"error":{}}', 529)))

    [row] = house.calls()
    assert (row["outcome"], row["cost_nano_usd"]) == ("provider_error", 0)


def test_free_endpoint_passes_and_costs_nothing(house: House) -> None:
    flow = house.judged(method="GET", path="/v1/models", body=b"")
    assert flow.response is None

    asyncio.run(house.give(flow, answered({"data": []})))

    [row] = house.calls()
    assert (row["state"], row["cost_nano_usd"]) == ("settled", 0)


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"path": "/v1/fine_tuning/jobs"}, 403, "unknown_endpoint"),
        ({"body": b'{"model":"gpt-4o","model":"o3","messages":[]}'}, 400, "unreadable_request"),
        ({"body": b"\xff\xfe"}, 400, "unreadable_request"),
        ({"body": b""}, 400, "unreadable_request"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_a_record(
    house: House, asked: dict, status: int, code: str
) -> None:
    flow = house.judged(**asked)

    assert flow.response.status_code == status
    assert error_of(flow)["code"] == code
    assert "refused" in house.kinds()
    assert house.calls() == []


def test_unknown_endpoint_passes_in_observe_mode_with_a_record(house: House) -> None:
    house.govern_by({"mode": "observe"})

    flow = house.judged(path="/v1/fine_tuning/jobs")

    assert flow.response is None
    assert "refused" in house.kinds()


def test_unreadable_body_is_refused_in_observe_mode_too(house: House) -> None:
    house.govern_by({"mode": "observe"})

    assert house.judged(body=b"{").response.status_code == 400


def test_body_that_grows_over_the_limit_is_refused_in_the_providers_shape(house: House) -> None:
    flow = house.flow()
    house.enforcer.requestheaders(flow)

    house.enforcer.body_too_large(flow)

    assert flow.response.status_code == 400
    assert error_of(flow)["code"] == "unreadable_request"


def test_refused_token_is_asked_about_again_once_it_is_good(house: House) -> None:
    ledger = house.ledger()
    ledger.set_agent_state("atlas", "paused", time.time_ns(), "tester")
    client = house.connected()
    paused = asyncio.run(house.judge(house.flow(client=client)))
    ledger.set_agent_state("atlas", "active", time.time_ns(), "tester")
    ledger.close()

    active = asyncio.run(house.judge(house.flow(client=client)))

    assert paused.response.status_code == 403
    assert active.response is None


def test_paused_agent_is_refused_inside_an_open_tunnel(house: House) -> None:
    client = house.connected()
    assert asyncio.run(house.judge(house.flow(client=client))).response is None
    ledger = house.ledger()
    ledger.set_agent_state("atlas", "paused", time.time_ns(), "tester")
    ledger.close()

    flow = asyncio.run(house.judge(house.flow(client=client)))

    assert flow.response.status_code == 403
    assert error_of(flow)["code"] == "agent_paused"


def test_held_call_shows_as_held_and_goes_on_when_approved(house: House) -> None:
    house.govern_by(HOLD_ALL)
    seen = []

    async def held() -> object:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        await house.waits()
        seen.append((flow.marked, flow.comment, flow.response.status_code))
        house.verdict(house.approvals()[0])
        return await task

    flow = run(held())

    assert flow.response is None
    [(marked, comment, standing)] = seen
    assert (marked, standing) == (":hourglass:", 503)
    assert "held" in comment
    assert [row["state"] for row in house.calls()] == ["forwarded"]


def test_rejected_hold_reserves_nothing_any_more(house: House) -> None:
    house.govern_by(HOLD_ALL)

    async def held() -> object:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        await house.waits()
        house.verdict(house.approvals()[0], "rejected")
        return await task

    flow = run(held())

    assert flow.response.status_code == 403
    assert error_of(flow)["code"] == "approval_rejected"
    assert house.open_calls() == 0


def test_answer_whose_meter_breaks_is_booked_whole(house: House) -> None:
    flow = house.judged()

    response = answered(b"no gzip at all")
    response.headers["content-encoding"] = "gzip"

    asyncio.run(house.give(flow, response))

    [row] = house.calls()
    assert row["basis"] == "reserved"
    assert ANSWER["usage"]["prompt_tokens"] * 150 < row["cost_nano_usd"]


def test_call_that_is_alone_is_decided_on_the_spot_and_others_come_together(house: House) -> None:
    async def story() -> None:
        first, second, third = house.flow(), house.flow(), house.flow()
        house.enforcer.requestheaders(first)
        assert house.enforcer.request(first) is None
        assert house.open_calls() == 1
        for flow in (second, third):
            house.enforcer.requestheaders(flow)
        waits = [house.enforcer.request(flow) for flow in (second, third)]
        assert None not in waits
        await asyncio.gather(*[one for one in waits if one is not None])
        for flow in (first, second, third):
            await house.give(flow, answered())
        assert house.enforcer.request(third) is None  # it has its answer

    run(story())

    assert [row["state"] for row in house.calls()] == ["settled"] * 3
    assert not house.enforcer.under_way
