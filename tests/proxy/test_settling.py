"""What a call came to, and that the books hear of it whatever breaks."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mitmproxy import http

from proxy.house import ANSWER, COST_NANO_USD, House, answered, proxy_authorization, run
from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook, PriceSheet
from tollkeeper.domain import (
    Basis,
    Billing,
    Call,
    Decision,
    Dialect,
    Effect,
    Mode,
    Outcome,
    Policy,
    Price,
    Settlement,
    Usage,
)
from tollkeeper.ledger.spool import FILE_NAME
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy import settling, writer

STREAM = {
    "model": "gpt-4o-mini",
    "max_tokens": 10,
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}


def event(**data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


WORD = event(choices=[{"index": 0, "delta": {"content": "word"}}])
USAGE = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 5})
DONE = b"data: [DONE]\n\n"


def streamed(house: House, *chunks: bytes, cut: bool, status: int = 200) -> dict:
    """The row of a call whose answer was so many chunks."""
    flow = house.judged(body=STREAM)
    flow.server_conn.timestamp_tls_setup = time.time()
    flow.response = answered(b"", status, content_type="text/event-stream")
    house.enforcer.responseheaders(flow)
    for chunk in chunks:
        flow.response.stream(chunk)
    if cut:
        asyncio.run(house.enforcer.error(flow))
    else:
        flow.response.stream(b"")
        asyncio.run(house.end(flow))
    return house.calls()[-1]


def buffered(house: House, response: http.Response, **asked: object) -> dict:
    flow = house.judged(**asked)
    asyncio.run(house.give(flow, response))
    return house.calls()[-1]


def test_whole_stream_is_measured(house: House) -> None:
    row = streamed(house, WORD, USAGE, DONE, cut=False)

    assert (row["outcome"], row["basis"]) == ("complete", "measured")
    assert row["cost_nano_usd"] == COST_NANO_USD


def test_cut_stream_is_estimated_and_never_below_what_was_seen(house: House) -> None:
    row = streamed(house, WORD, WORD, cut=True)

    assert (row["outcome"], row["basis"]) == ("cut", "estimated")
    assert 2 * 600 <= row["cost_nano_usd"] <= row["worst_nano_usd"]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (b": keep-alive\n\n",),
        (b"<html>Service", b" is busy</html>"),
        (b"data: busy\n\n",),
        (b"\x1f\x8b\x08\x00garbage",),
    ],
)
def test_stream_of_which_nothing_could_be_read_is_booked_whole(
    house: House, chunks: tuple[bytes, ...], cut: bool
) -> None:
    """The model may have answered all the same, and its provider bills that."""
    row = streamed(house, *chunks, cut=cut)

    assert (row["outcome"], row["basis"]) == ("cut", "reserved")
    assert row["cost_nano_usd"] == row["worst_nano_usd"] > 0


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"choices": ['])
def test_whole_answer_that_cannot_be_read_is_booked_whole(house: House, body: bytes) -> None:
    row = buffered(house, answered(body))

    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])


def test_cut_answer_that_never_named_its_tier_is_estimated_at_the_dearest(house: House) -> None:
    plain = streamed(house, WORD, cut=True)
    flow = house.judged(body=STREAM | {"service_tier": "auto"})
    flow.server_conn.timestamp_tls_setup = time.time()
    flow.response = answered(b"", content_type="text/event-stream")
    house.enforcer.responseheaders(flow)
    flow.response.stream(WORD)
    asyncio.run(house.enforcer.error(flow))

    row = house.calls()[-1]

    assert plain["cost_nano_usd"] < row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_stream_that_ends_without_its_end_is_cut(house: House) -> None:
    row = streamed(house, WORD, cut=False)

    assert (row["outcome"], row["basis"]) == ("cut", "estimated")


def test_stream_cut_after_its_usage_is_not_cheaper_than_that(house: House) -> None:
    row = streamed(house, WORD, USAGE, cut=True)

    assert row["cost_nano_usd"] >= COST_NANO_USD


def test_cut_answer_of_a_model_that_thinks_unseen_is_booked_whole(house: House) -> None:
    body = STREAM | {"model": "o3-mini", "max_completion_tokens": 100}
    del body["max_tokens"]
    flow = house.judged(body=body)
    assert flow.response is None, flow.response and flow.response.text
    flow.server_conn.timestamp_tls_setup = time.time()
    flow.response = answered(b"", content_type="text/event-stream")
    house.enforcer.responseheaders(flow)
    flow.response.stream(WORD)

    asyncio.run(house.enforcer.error(flow))

    row = house.calls()[-1]
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])


def test_whole_answer_that_breaks_off_is_booked_as_reserved(house: House) -> None:
    """Providers bill an answer in one piece when they begin to send it."""
    flow = house.judged()
    flow.server_conn.timestamp_tls_setup = time.time()
    flow.response = answered(b"")
    house.enforcer.responseheaders(flow)

    asyncio.run(house.enforcer.error(flow))

    row = house.calls()[-1]
    assert (row["outcome"], row["basis"]) == ("cut", "reserved")
    assert row["cost_nano_usd"] == row["worst_nano_usd"]


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_error_of_the_provider_costs_nothing(house: House, status: int) -> None:
    row = buffered(house, answered({"error": {}}, status))

    assert (row["outcome"], row["cost_nano_usd"]) == ("provider_error", 0)


def test_error_that_names_its_usage_is_booked(house: House) -> None:
    row = buffered(house, answered(ANSWER, 500))

    assert row["cost_nano_usd"] == COST_NANO_USD


def test_usage_without_what_was_read_does_not_make_that_free(house: House) -> None:
    row = buffered(house, answered(ANSWER | {"usage": {"completion_tokens": 5}}))

    assert row["basis"] == "estimated"
    assert row["input_tokens"] >= 9
    assert COST_NANO_USD <= row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_answer_without_usage_is_never_free(house: House) -> None:
    row = buffered(house, answered({k: v for k, v in ANSWER.items() if k != "usage"}))

    assert row["basis"] in ("estimated", "reserved")
    assert row["cost_nano_usd"] > 0


def test_call_without_a_known_price_has_no_known_cost(house: House) -> None:
    row = buffered(house, answered(ANSWER), body={
        "model": "made-up-model", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}],
    })  # fmt: skip

    assert row["cost_nano_usd"] in (None, 0) or row["state"] == "refused"


SHEET = PriceSheet("catalogue", None, None, {})


@pytest.mark.parametrize(
    ("ours", "theirs", "sheet", "booked", "told"),
    [
        (100, None, SHEET, 100, False),
        (100, 100, SHEET, 100, False),
        (1000, 1001, SHEET, 1001, False),
        (1000, 995, SHEET, 1000, False),
        (1000, 2000, SHEET, 2000, True),
        (1000, 400, SHEET, 1000, True),
        (None, 400, None, 400, True),
        (1000, 2000, replace(SHEET, any_tier=True), 1000, False),
    ],
)
def test_the_dearer_of_our_figure_and_the_providers_is_booked_and_told(
    ours: int | None, theirs: int | None, sheet: PriceSheet | None, booked: int, told: bool
) -> None:
    cost, note = settling.reckoned(ours, Usage(provider_cost_nano_usd=theirs), sheet)

    assert (cost, bool(note)) == (booked, told)


def test_a_use_of_unknown_price_books_the_whole_reservation(house: House) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "num_sources_used": 2}
    answer = json.dumps({"choices": [], "usage": usage}).encode()

    row = buffered(house, answered(answer))

    assert (row["outcome"], row["basis"]) == ("complete", "reserved")
    assert row["cost_nano_usd"] == row["worst_nano_usd"]


def test_searches_beyond_the_allowance_are_booked_in_full_as_an_overrun(house: House) -> None:
    house.govern_by({"ceilings": {"server_tools_usd": 0.005}})
    asked = {
        "model": "gpt-4.1",
        "input": "tides?",
        "max_output_tokens": 16,
        "tools": [{"type": "web_search"}],
    }
    searches = [{"type": "web_search_call", "id": f"ws_{n}"} for n in range(3)]
    usage = {"input_tokens": 9, "output_tokens": 5}
    answer = {"id": "r", "object": "response", "output": searches, "usage": usage}

    row = buffered(house, answered(answer), path="/v1/responses", body=asked)

    assert (row["outcome"], row["basis"]) == ("complete", "measured")
    assert row["cost_nano_usd"] == 3 * 10_000_000 + 9 * 2_000 + 5 * 8_000
    assert row["cost_nano_usd"] > row["worst_nano_usd"] > 5_000_000
    ledger = house.ledger()
    [told] = [one["data"] for one in ledger.audit(limit=100) if one["kind"] == "settled"]
    ledger.close()
    assert told["overrun_nano_usd"] == row["cost_nano_usd"] - row["worst_nano_usd"]


def test_cut_answer_of_a_call_with_tools_of_the_providers_is_booked_whole(house: House) -> None:
    house.govern_by({"ceilings": {"server_tools_usd": 0.005}})
    flow = house.judged(body=STREAM | {"web_search_options": {}})
    flow.server_conn.timestamp_tls_setup = time.time()
    flow.response = answered(b"", content_type="text/event-stream")
    house.enforcer.responseheaders(flow)
    flow.response.stream(WORD)

    asyncio.run(house.enforcer.error(flow))

    row = house.calls()[-1]
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])


def test_nothing_sent_is_settled_as_nothing() -> None:
    assert settling.NOT_SENT.outcome is Outcome.NOT_SENT
    assert settling.NOT_SENT.basis is Basis.MEASURED
    assert settling.NOT_SENT.cost_nano_usd == 0


# ------------------------------------------------------------------ books


def admitted(house: House) -> str:
    flow = house.judged()
    return str(flow.metadata["tollkeeper"]["decision"])


def test_books_settle_now_or_in_the_spool_and_only_once(house: House) -> None:
    call, books = admitted(house), house.enforcer.books

    books.settle_now(call, settling.NOT_SENT)
    books.settle_now(call, settling.NOT_SENT)

    assert [row["outcome"] for row in house.calls()] == ["not_sent"]
    assert not (house.home.spool / FILE_NAME).exists()


def test_books_never_raise_in_the_middle_of_a_fault(house: House) -> None:
    call, books = admitted(house), house.enforcer.books
    house.station.ledger.close()
    house.home.spool.rmdir()
    house.home.spool.touch()

    books.settle_now(call, settling.NOT_SENT)
    books.let_go_now(call)
    books.note_now("fault", "atlas", {})


def test_settlement_of_a_call_nobody_knows_is_recorded_as_such(house: House) -> None:
    house.enforcer.books.settle_now("call_unknown", settling.NOT_SENT)

    assert "spool_refused" in house.kinds()


def test_settlement_lingers_until_the_next_admission_which_finds_its_money(house: House) -> None:
    call, books = admitted(house), house.enforcer.books

    async def story() -> None:
        books.settle(call, settling.NOT_SENT)
        assert house.station.writer.wishes
        await house.judge(house.flow())

    run(story())

    first, second = house.calls()
    assert (first["state"], second["state"]) == ("settled", "forwarded")
    records = [one for one in house.ledger().audit() if one["call"]]
    assert [one["kind"] for one in records] == ["admitted", "settled", "admitted"]


def test_settlement_that_nobody_waits_for_is_written_soon(house: House) -> None:
    call, books = admitted(house), house.enforcer.books
    other = SqliteLedger(house.home.database)

    async def story() -> None:
        books.settle(call, settling.NOT_SENT)
        async with asyncio.timeout(20):
            while next(other.rows("SELECT state FROM calls"))["state"] != "settled":
                await asyncio.sleep(0.005)

    run(story())
    other.close()


def test_settlement_that_the_ledger_does_not_take_goes_to_the_spool(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, books = admitted(house), house.enforcer.books
    monkeypatch.setattr(writer, "PATIENCE_NS", 20_000_000)

    async def story() -> None:
        other = sqlite3.connect(house.home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        books.settle(call, settling.NOT_SENT)
        await house.station.writer.idle()
        other.close()

    run(story())

    assert (house.home.spool / FILE_NAME).exists()
    assert house.open_calls() == 0


def test_settlement_that_breaks_is_booked_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, books = admitted(house), house.enforcer.books

    def broken(*_: object) -> bool:
        raise RuntimeError("a bug of ours")

    async def story() -> None:
        monkeypatch.setattr(SqliteLedger, "settle", broken)
        books.settle(call, settling.NOT_SENT)
        await house.station.writer.idle()
        monkeypatch.undo()

    run(story())

    [row] = house.calls()
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])
    assert "fault" in house.kinds()


def test_usage_beyond_all_sense_counts_as_none(house: House) -> None:
    usage = {"prompt_tokens": 2**62, "completion_tokens": 5}

    asyncio.run(house.give(house.judged(), answered(ANSWER | {"usage": usage})))

    [row] = house.calls()
    assert row["cost_nano_usd"] == row["worst_nano_usd"] > 0


def test_settlement_that_nothing_takes_leaves_the_call_reserved(house: House) -> None:
    call, books = admitted(house), house.enforcer.books
    house.station.ledger.close()
    house.home.spool.rmdir()
    house.home.spool.touch()

    async def story() -> None:
        books.settle(call, settling.NOT_SENT)
        await house.station.writer.idle()

    run(story())
    house.home.spool.unlink()
    house.home.spool.mkdir()

    assert [row["state"] for row in house.calls()] == ["forwarded"]


def test_spooled_settlement_keeps_its_usage(house: House) -> None:
    flow = house.judged()
    call = flow.metadata["tollkeeper"]["decision"]
    passage = house.enforcer.passages[flow]
    flow.response = answered()
    house.enforcer.responseheaders(flow)
    passage.answer(json.dumps(ANSWER).encode())
    passage.answer(b"")
    made = settling.settlement(
        flow, passage.call, passage.admission.decision, passage.sheet, passage.answer, cut=False
    )

    settling.spool(house.home.spool, call, made, time.time_ns())

    [row] = house.calls()
    assert (row["input_tokens"], row["output_tokens"]) == (9, 5)
    assert row["cost_nano_usd"] == COST_NANO_USD


CLAIM = {"anthropic-ratelimit-unified-representative-claim": "five_hour"}
OVERAGE = CLAIM | {"anthropic-ratelimit-unified-overage-in-use": "true"}
FLAT, COUNTED, MONEY = Billing.FLAT, Billing.FLAT_COUNTED, Billing.METERED


@pytest.mark.parametrize(
    ("billing", "provider", "headers", "cost", "notional", "told"),
    [
        (MONEY, "anthropic", {"x": "y"}, 60, None, None),
        (FLAT, "anthropic", CLAIM, 0, 60, None),
        (COUNTED, "anthropic", CLAIM, 60, 60, None),
        (FLAT, "anthropic", OVERAGE, 60, None, MONEY),
        (COUNTED, "anthropic", OVERAGE, 60, None, MONEY),
        (FLAT, "anthropic", {"x": "y"}, 60, None, MONEY),
        (FLAT, "anthropic", {}, 0, 60, None),  # no answer came, so that nobody said anything
        (FLAT, "chatgpt", {"x": "y"}, 0, 60, None),
    ],
)
def test_cost_is_booked_as_who_pays_has_it(
    billing: Billing,
    provider: str,
    headers: dict[str, str],
    cost: int,
    notional: int | None,
    told: Billing | None,
) -> None:
    decision = Decision(Effect.ALLOW, billing=billing, worst_nano_usd=100)
    made = Settlement(Outcome.COMPLETE, Basis.MEASURED, 60)

    settled = settling.by_payer(made, decision, provider, headers)

    assert (settled.cost_nano_usd, settled.notional_nano_usd) == (cost, notional)
    assert settled.billing is told


def test_cut_answer_that_the_plan_did_not_pay_is_booked_at_its_worst() -> None:
    decision = Decision(Effect.ALLOW, billing=FLAT, reserve_nano_usd=0, worst_nano_usd=100)
    made = Settlement(Outcome.CUT, Basis.RESERVED, 0)

    money = settling.by_payer(made, decision, "anthropic", OVERAGE)
    plan = settling.by_payer(made, decision, "anthropic", CLAIM)

    assert (money.cost_nano_usd, money.billing) == (100, MONEY)
    assert (plan.cost_nano_usd, plan.notional_nano_usd) == (0, 100)


@pytest.mark.parametrize(
    ("begun", "ended", "basis", "cost"),
    [
        ((0, 50), (0, 59), Basis.MEASURED, 150),
        ((0, 50), (1, 1), Basis.MEASURED, 300),
        ((3, 50), (4, 1), Basis.MEASURED, 300),
        ((0, 50), (1, 1), Basis.RESERVED, 150),
    ],
)
def test_call_that_ends_in_a_dearer_hour_than_it_began_in_costs_that_hours_price(
    begun: tuple[int, int], ended: tuple[int, int], basis: Basis, cost: int
) -> None:
    prices = PriceBook(Policy("", Mode.ENFORCE, "UTC", facts.providers()))
    call = Call("deepseek", Dialect.OPENAI_CHAT, "chat", True, "deepseek-flash")
    at, later = (
        int(datetime(2026, 11, 20, *moment, tzinfo=UTC).timestamp()) * 10**9
        for moment in (begun, ended)
    )
    sheet = prices.sheet("deepseek", "deepseek-flash", at)
    assert sheet is not None
    usage = Usage(input_tokens=1, output_tokens=0)
    made = Settlement(Outcome.COMPLETE, basis, sheet.cost_nano_usd(usage, call), usage)

    assert settling.at_the_end(made, call, sheet, prices, later).cost_nano_usd == cost


@pytest.mark.parametrize(
    ("deployment", "told", "cost"),
    [
        ("prod", "gpt-4o-mini-2024-07-18", 1),
        ("prod", "gpt-4o", 2_500 * 100),
        ("prod", "nobody-knows", 1),
        ("prod", None, 1),
        (None, "gpt-4o", 1),
    ],
)
def test_deployment_that_ran_a_dearer_model_costs_what_that_costs(
    deployment: str | None, told: str | None, cost: int
) -> None:
    policy = Policy("", Mode.ENFORCE, "UTC", facts.providers())
    call = Call("azure", Dialect.OPENAI_CHAT, "chat", True, "gpt-4o-mini", deployment=deployment)
    usage = Usage(input_tokens=100 if told == "gpt-4o" else 0, output_tokens=0, model=told)
    made = Settlement(Outcome.COMPLETE, Basis.MEASURED, 1, usage)

    assert settling.as_told(made, call, PriceBook(policy), 0).cost_nano_usd == cost


def test_whole_reservation_stays_whole_whatever_a_deployment_ran() -> None:
    policy = Policy("", Mode.ENFORCE, "UTC", facts.providers())
    call = Call("azure", Dialect.OPENAI_CHAT, "chat", True, "gpt-4o-mini", deployment="prod")
    usage = Usage(input_tokens=100, output_tokens=0, model="gpt-4o")
    made = Settlement(Outcome.CUT, Basis.RESERVED, 1, usage)

    assert settling.as_told(made, call, PriceBook(policy), 0) is made


def test_owners_price_of_a_deployment_stands_whatever_it_ran() -> None:
    azure = replace(
        facts.providers()["azure"], prices={"prod": (Price({"input": 1, "output": 1}),)}
    )
    policy = Policy("", Mode.ENFORCE, "UTC", {"azure": azure})
    call = Call("azure", Dialect.OPENAI_CHAT, "chat", True, "prod", deployment="prod")
    usage = Usage(input_tokens=100, output_tokens=0, model="gpt-4o")
    made = Settlement(Outcome.COMPLETE, Basis.MEASURED, 1, usage)

    assert settling.as_told(made, call, PriceBook(policy), 0) is made


UNBOUNDED = {"model": "llama-3.1-8b", "stream": True, "messages": STREAM["messages"]}
"""A model of which no longest answer is known, asked without a limit: nothing bounds its output."""


def unbounded(house: House, *chunks: bytes) -> dict:
    """The row of a broken call that passed because no budget stands over it; its price is known."""
    host = "llm.corp.example"
    prices = {"*": {"input": 1, "output": 2}}
    house.govern_by({"providers": {"corp": {"hosts": [host], "api": "openai", "prices": prices}}})
    connect = house.connecting(host)
    told = proxy_authorization("free", house.agent("free")).decode()
    connect.request.headers["proxy-authorization"] = told
    house.doorkeeper.http_connect(connect)
    flow = house.judged(
        client=connect.client_conn, body=UNBOUNDED, host=host, fields=[("Host", host)]
    )
    assert flow.response is None, flow.response and flow.response.text
    flow.server_conn.timestamp_tls_setup = time.time()
    if chunks:
        flow.response = answered(b"", content_type="text/event-stream")
        house.enforcer.responseheaders(flow)
        for chunk in chunks:
            flow.response.stream(chunk)
    asyncio.run(house.enforcer.error(flow))
    return house.calls()[-1]


def test_call_that_nothing_bounds_and_of_which_nothing_was_seen_costs_nobody_knows_what(
    house: House,
) -> None:
    row = unbounded(house)

    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", None)
    [settled] = house.ledger().rows("select data from audit where kind = 'settled'")
    assert json.loads(settled["data"])["cost_nano_usd"] is None
    assert "nothing bounds it" in json.loads(settled["data"])["note"]


def test_cut_stream_that_nothing_bounds_costs_all_that_was_seen_of_it(house: House) -> None:
    row = unbounded(house, event(choices=[{"index": 0, "delta": {"content": "x" * 999}}]))

    assert row["basis"] == "estimated"
    assert row["cost_nano_usd"] >= 999 * 2_000


@pytest.mark.parametrize(
    ("seen", "cost"), [(Usage(), None), (Usage(100, 10), 100 * 150 + 10 * 600)]
)
def test_what_nothing_bounds_is_booked_at_what_was_seen_or_as_unknown(
    seen: Usage, cost: int | None
) -> None:
    policy = Policy("", Mode.ENFORCE, "UTC", facts.providers())
    sheet = PriceBook(policy).sheet("openai", "gpt-4o-mini", 0)

    made = settling.reserved(Decision(Effect.ALLOW), sheet, None, None, seen)

    assert (made.basis, made.cost_nano_usd) == (Basis.RESERVED, cost)
    assert "nothing bounds it" in made.note
