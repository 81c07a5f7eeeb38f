"""Whatever breaks, wherever, ends in a refusal and a record, and reserves nothing that was not sent."""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.hooks import all_hooks

from proxy.faults import FOLDER, Strike, striking
from proxy.house import HOLD_ALL, House, answered, run
from tollkeeper.domain import Reason
from tollkeeper.ledger.spool import FILE_NAME
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.enforcer import Enforcer
from tollkeeper.proxy.fail_closed import (
    books_closed,
    fail_closed,
    frames_closed,
    unless_answered,
)
from tollkeeper.proxy.process_file import ProcessFile
from tollkeeper.proxy.serve import our_addons
from tollkeeper.proxy.serving import Announcer, Serving
from tollkeeper.proxy.station import Station
from tollkeeper.proxy.tunnels import Trust

STREAM = {
    "model": "gpt-4o-mini",
    "max_tokens": 10,
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}
ERRORS: list[type[BaseException]] = [RuntimeError, asyncio.CancelledError]

# ------------------------------------------------------------------ every hook has its guard

GUARDS: dict[str, Callable[..., Any]] = {
    "http_connect": fail_closed,
    "requestheaders": fail_closed,
    "request": fail_closed,
    "still_held": fail_closed,
    "body_too_large": fail_closed,
    "answer_too_large": books_closed,
    "responseheaders": books_closed,
    "response": books_closed,
    "error": books_closed,
    "websocket_start": books_closed,
    "websocket_message": frames_closed,
    "websocket_end": books_closed,
}

CANNOT_LET_TRAFFIC_PASS = {
    ("Locks", "configure"): "mitmproxy rolls the change back",
    ("Locks", "running"): "an error at the start ends the proxy",
    ("Connections", "client_connected"): "closes connections and opens none",
    ("Connections", "client_disconnected"): "forgets a stranger and closes what is left",
    ("Connections", "server_connected"): "remembers what has to be closed",
    ("Connections", "server_disconnected"): "closes what is left",
    ("Connections", "tls_failed_client"): "counts a connection that has failed already",
    ("Doorkeeper", "client_connected"): "forgets a caller",
    ("Tunnels", "client_connected"): "raises a bound of mitmproxy's",
    ("Tunnels", "next_layer"): "closes the connection itself; tested below",
    ("Tunnels", "server_connect"): "writes its refusal first; tested below",
    ("Tunnels", "server_connected"): "runs after the checked address was dialled",
    ("Tunnels", "server_connect_error"): "runs when nothing was dialled",
    ("Housekeeping", "running"): "an error at the start ends the proxy",
    ("Housekeeping", "done"): "the proxy has stopped",
    ("Trust", "tls_start_server"): "without it the handshake fails",
    ("Announcer", "running"): "an error at the start ends the proxy",
    ("Upstream", "http_connect_upstream"): "without it the upstream proxy refuses",
}


def hooks_of(addon: object) -> list[str]:
    names = {*all_hooks, "body_too_large", "answer_too_large", "load", "configure"}
    return [name for name in names if callable(getattr(addon, name, None))]


def nothing_asked_for(station: Station) -> Serving:
    return Serving(station, (), None, None, 0, lambda listening: None)


def test_every_hook_of_ours_has_its_guard_or_a_reason(house: House) -> None:
    addons = [
        *our_addons(house.station),
        Trust(house.station),
        Announcer(house.station, ProcessFile(house.home), nothing_asked_for(house.station)),
    ]
    unexplained = []
    for addon in addons:
        for name in hooks_of(addon):
            guard = getattr(getattr(addon, name), "guarded_by", None)
            known = (type(addon).__name__, name) in CANNOT_LET_TRAFFIC_PASS
            if not known and (guard is None or guard is not GUARDS.get(name)):
                unexplained.append(f"{type(addon).__name__}.{name}")

    assert unexplained == []


def test_every_stream_callable_of_ours_is_the_latch() -> None:
    assigned = []
    for path in sorted(Path(FOLDER).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Assign):
                continue
            assigned += [
                f"{path.name}: {ast.unparse(node)}"
                for target in node.targets
                if isinstance(target, ast.Attribute) and target.attr == "stream"
            ]

    assert assigned == [
        "enforcer.py: flow.request.stream = False",
        "enforcer.py: flow.response.stream = True",
        "enforcer.py: flow.response.stream = passage.answer",
    ]


def test_no_stream_callable_or_layer_method_of_ours_is_async() -> None:
    assert not inspect.iscoroutinefunction(Answer.__call__)


# ------------------------------------------------------------------ faults at every line


def strike_every_line[T](
    prepare: Callable[[], T],
    act: Callable[[T], object],
    check: Callable[[T, Strike], None],
    error: type[BaseException],
) -> int:
    """Act on something new again and again, each time struck one line later, until the end."""
    at = 0
    while True:
        at += 1
        strike, subject = Strike(at, error), prepare()
        with striking(strike), suppress(error):
            act(subject)
        if strike.where == "nowhere":
            return at - 1
        check(subject, strike)


def shows_refusal(flow: http.HTTPFlow) -> bool:
    return flow.response is not None and flow.response.status_code >= 400


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_of_the_connect_leaves_the_tunnel_closed(
    house: House, error: type[BaseException]
) -> None:
    def check(flow: http.HTTPFlow, strike: Strike) -> None:
        assert shows_refusal(flow), strike.where

    assert strike_every_line(house.connecting, house.doorkeeper.http_connect, check, error) > 20


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_of_the_way_in_ends_in_a_refusal_and_gives_everything_back(
    house: House, error: type[BaseException]
) -> None:
    client = house.connected()

    def act(flow: http.HTTPFlow) -> None:
        asyncio.run(asyncio.wait_for(house.judge(flow), 60))

    def check(flow: http.HTTPFlow, strike: Strike) -> None:
        assert shows_refusal(flow), strike.where
        assert house.open_calls() == 0, strike.where

    assert strike_every_line(lambda: house.flow(client=client), act, check, error) > 50
    assert "fault" in house.kinds()


async def answered_while(house: House, hook: Coroutine[Any, Any, object]) -> None:
    """Run a hook that waits for a person, and approve whatever it waits for."""
    task = asyncio.create_task(hook)
    for _ in range(100):
        await asyncio.sleep(0.005)
        if task.done():
            break
        for approval in house.approvals():
            house.verdict(approval)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_of_a_hold_ends_in_a_refusal_and_gives_everything_back(
    house: House, error: type[BaseException]
) -> None:
    house.govern_by(HOLD_ALL)
    client = house.connected()

    def check(flow: http.HTTPFlow, strike: Strike) -> None:
        # Where the looker was struck, the flow waited until it was cancelled or looked at again.
        assert shows_refusal(flow) or strike.where.startswith("waiting_room"), strike.where
        if flow.response is None:
            asyncio.run(house.enforcer.error(flow))
        assert house.open_calls() == 0, strike.where

    def act(flow: http.HTTPFlow) -> None:
        asyncio.run(answered_while(house, house.judge(flow)))

    assert strike_every_line(lambda: house.flow(client=client), act, check, error) > 60


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_between_two_heartbeats_ends_in_a_refusal_and_gives_everything_back(
    house: House, error: type[BaseException]
) -> None:
    house.govern_by(HOLD_ALL)
    client, numbers = house.connected(), itertools.count()

    async def asked() -> http.HTTPFlow:
        said = {"messages": [{"role": "user", "content": f"call {next(numbers)}"}]}
        flow = house.flow(client=client, body=STREAM | said)
        task = asyncio.create_task(house.judge(flow))
        while not house.room.waiting:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        flow.response = None
        return flow

    def act(flow: http.HTTPFlow) -> None:
        asyncio.run(answered_while(house, house.enforcer.still_held(flow)))

    def check(flow: http.HTTPFlow, strike: Strike) -> None:
        assert shows_refusal(flow) or strike.where.startswith("waiting_room"), strike.where
        assert house.open_calls() == 0, strike.where

    assert strike_every_line(lambda: asyncio.run(asked()), act, check, error) > 40


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_of_the_way_back_books_the_call_and_holds_back_the_answer(
    house: House, error: type[BaseException]
) -> None:
    client = house.connected()

    async def way_back(flow: http.HTTPFlow) -> None:
        response = answered()
        body, flow.response = response.data.content, response
        flow.server_conn.timestamp_tls_setup = time.time()
        with suppress(asyncio.CancelledError):
            house.enforcer.responseheaders(flow)
        assert flow.response is not None
        flow.response.data.content = body
        await house.end(flow)

    def check(flow: http.HTTPFlow, strike: Strike) -> None:
        assert house.open_calls() == 0, strike.where
        meter = house.enforcer.passages[flow].answer
        latched = meter is not None and meter.shut
        assert shows_refusal(flow) or latched, strike.where
        assert latched or b"chatcmpl" not in (flow.response.content or b""), strike.where

    def prepare() -> http.HTTPFlow:
        return asyncio.run(house.judge(house.flow(client=client)))

    def act(flow: http.HTTPFlow) -> None:
        asyncio.run(asyncio.wait_for(way_back(flow), 5))

    assert strike_every_line(prepare, act, check, error) > 30
    assert all(row["cost_nano_usd"] for row in house.calls())


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_after_a_cut_books_the_call(
    house: House, error: type[BaseException]
) -> None:
    client = house.connected()

    def prepare() -> http.HTTPFlow:
        flow = asyncio.run(house.judge(house.flow(client=client)))
        flow.server_conn.timestamp_tls_setup = time.time()
        return flow

    def act(flow: http.HTTPFlow) -> None:
        asyncio.run(asyncio.wait_for(house.enforcer.error(flow), 5))

    def check(_flow: http.HTTPFlow, strike: Strike) -> None:
        assert house.open_calls() == 0, strike.where

    assert strike_every_line(prepare, act, check, error) > 15
    assert all(row["cost_nano_usd"] for row in house.calls())


@pytest.mark.parametrize("error", ERRORS)
def test_fault_at_any_line_of_the_stream_callable_lets_nothing_more_pass(
    house: House, error: type[BaseException]
) -> None:
    client = house.connected()
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    passed: list[Any] = []

    def prepare() -> http.HTTPFlow:
        flow = asyncio.run(house.judge(house.flow(client=client, body=STREAM)))
        flow.response = answered(b"", content_type="text/event-stream")
        house.enforcer.responseheaders(flow)
        return flow

    def act(flow: http.HTTPFlow) -> None:
        passed.clear()
        passed.append(flow.response.stream(chunk))

    def check(flow: http.HTTPFlow, strike: Strike) -> None:
        assert passed in ([], [[]]), strike.where
        looked_only = strike.where in beside_the_latch
        assert flow.response.stream(chunk) == [] or looked_only, strike.where
        asyncio.run(house.enforcer.error(flow))

    source, start = inspect.getsourcelines(Answer.__call__)
    words = ("if self.shut or self.cut:", "self.shut = True", "return out or []")
    beside_the_latch = {
        f"answer.py:{start + at}" for at, line in enumerate(source) if line.strip() in words
    }
    assert strike_every_line(prepare, act, check, error) > 3


# ------------------------------------------------------------------ cancels at every await


@pytest.mark.parametrize("turns", range(12))
def test_cancel_at_any_turn_of_the_loop_leaves_no_reservation_behind(
    house: House, turns: int
) -> None:
    async def cancelled() -> http.HTTPFlow:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return flow

    flow = run(cancelled())

    passed = flow.response is None and flow in house.enforcer.passages
    assert house.open_calls() == (1 if passed else 0)


def test_cancel_while_held_gives_the_reservation_back(house: House) -> None:
    house.govern_by(HOLD_ALL)

    async def cancelled() -> http.HTTPFlow:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        await house.waits()
        assert house.open_calls() == 1
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return flow

    flow = run(cancelled())

    assert flow.response.status_code == 503
    assert house.open_calls() == 0


@pytest.mark.parametrize("turns", range(5))
def test_cancel_while_settling_books_the_call(house: House, turns: int) -> None:
    flow = house.judged()

    async def cancelled() -> None:
        task = asyncio.create_task(house.give(flow, answered()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run(cancelled())

    started = house.enforcer.passages[flow].answer is not None
    assert house.open_calls() == (0 if started else 1)


# ------------------------------------------------------------------ ledgers that fail


class Locked:
    """Another process that holds the write lock."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self.connection.execute("ROLLBACK")
        self.connection.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollkeeper.proxy.writer.PATIENCE_NS", 10_000_000)


@pytest.mark.usefixtures("impatient")
def test_locked_ledger_refuses_the_call_and_the_record_is_taken_in_later(house: House) -> None:
    client = house.connected()
    with Locked(house.home.database):
        flow = asyncio.run(house.judge(house.flow(client=client)))

        assert flow.response.status_code == 503
        assert b"policy_unavailable" in flow.response.content
        assert (house.home.spool / FILE_NAME).stat().st_size > 0

    assert "fault" in house.kinds()
    assert house.open_calls() == 0


@pytest.mark.usefixtures("impatient")
def test_admission_that_was_undone_is_not_settled(house: House) -> None:
    """Two come together, their group breaks, and alone each finds the ledger locked."""
    writer, other = house.station.writer, Locked(house.home.database)
    flows = [house.flow(client=house.connected()) for _ in range(2)]
    tries: list[str] = []

    def lock_the_second_time() -> None:
        if tries:
            other.__enter__()
        tries.append("lock")

    def break_the_first_time() -> None:
        if len(tries) == 1:
            raise ValueError

    async def story() -> None:
        for flow in flows:
            house.enforcer.requestheaders(flow)
        first = writer.want(lock_the_second_time)
        rests = [house.enforcer.request(flow) for flow in flows]
        last = writer.want(break_the_first_time)
        await asyncio.gather(first, *filter(None, rests), last, return_exceptions=True)

    asyncio.run(story())
    other.__exit__()

    assert [flow.response.status_code for flow in flows] == [503, 503]
    assert house.kinds().count("fault") == 2
    assert "spool_refused" not in house.kinds()


@pytest.mark.usefixtures("impatient")
def test_settlement_that_meets_a_locked_ledger_is_taken_in_later(house: House) -> None:
    flow = house.judged()

    async def given() -> None:
        await house.give(flow, answered())
        await house.station.writer.idle()

    with Locked(house.home.database):
        asyncio.run(given())

    [row] = house.calls()
    assert flow.response.status_code == 200
    assert (row["state"], row["basis"]) == ("settled", "measured")


@pytest.mark.usefixtures("impatient")
def test_hold_that_ends_while_the_ledger_is_locked_gives_its_reservation_back(house: House) -> None:
    house.govern_by(HOLD_ALL)

    async def cancelled() -> http.HTTPFlow:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        await house.waits()
        with Locked(house.home.database):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return flow

    flow = run(cancelled())

    assert flow.response.status_code == 503
    assert house.open_calls() == 0


@pytest.mark.usefixtures("impatient")
def test_second_admission_that_meets_a_locked_ledger_gives_the_reservation_back(
    house: House,
) -> None:
    house.govern_by(HOLD_ALL)

    async def approved() -> http.HTTPFlow:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        await house.waits()
        house.verdict(house.approvals()[0])
        with Locked(house.home.database):
            return await task

    flow = run(approved())

    assert flow.response.status_code == 503
    assert house.open_calls() == 0


def test_connect_and_request_meet_a_damaged_ledger_with_a_refusal(house: House) -> None:
    client = house.connected()
    house.station.ledger.close()

    flow = asyncio.run(house.judge(house.flow(client=client)))
    with pytest.raises(AssertionError):
        house.connected()

    assert flow.response.status_code == 503
    assert (house.home.spool / FILE_NAME).stat().st_size > 0


def damage(path: Path) -> None:
    """Overwrite every page behind the first, in the file and in its log."""
    for one in (path, path.with_name(path.name + "-wal")):
        if one.exists():
            size = one.stat().st_size
            with one.open("r+b") as file:
                file.seek(min(4096, size))
                file.write(os.urandom(max(size - 4096, 0)))


def test_corrupt_ledger_refuses_every_call_and_keeps_the_record(house: House) -> None:
    client = house.connected()
    house.station.ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(house.home.database)

    flow = asyncio.run(house.judge(house.flow(client=client)))

    assert flow.response.status_code == 503
    assert (house.home.spool / FILE_NAME).stat().st_size > 0


def test_ledger_that_may_only_be_read_refuses_every_call(house: House) -> None:
    client = house.connected()
    house.station.ledger._connection.execute("PRAGMA query_only = ON")

    flow = asyncio.run(house.judge(house.flow(client=client)))

    assert flow.response.status_code == 503
    assert "fault" in house.kinds()
    assert house.open_calls() == 0


def test_full_ledger_refuses_every_call_and_the_record_is_taken_in_later(house: House) -> None:
    client = house.connected()
    connection = house.station.ledger._connection
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    flows = [asyncio.run(house.judge(house.flow(client=client))) for _ in range(40)]

    assert flows[-1].response is not None
    assert flows[-1].response.status_code == 503
    assert (house.home.spool / FILE_NAME).stat().st_size > 0
    connection.execute("PRAGMA max_page_count = 1073741823")
    assert "fault" in house.kinds()


def test_ledger_whose_file_was_taken_away_admits_nothing_that_the_new_one_does_not_know(
    house: House,
) -> None:
    client = house.connected()
    house.station.ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("", "-wal", "-shm"):
        house.home.database.with_name(house.home.database.name + suffix).unlink(missing_ok=True)

    flow = asyncio.run(house.judge(house.flow(client=client)))

    assert flow.response is not None
    assert flow.response.status_code == 503


def test_neither_ledger_nor_spool_still_ends_in_a_refusal(house: House) -> None:
    client = house.connected()
    house.station.ledger.close()
    house.home.spool.rmdir()
    house.home.spool.write_text("no folder")

    flow = asyncio.run(house.judge(house.flow(client=client)))

    assert flow.response.status_code == 503


# ------------------------------------------------------------------ the guard alone


class Gate:
    """An addon of a few lines under the real guards."""

    def __init__(self, error: type[BaseException] | None = None, *, wordless: bool = False) -> None:
        self.error, self.wordless = error, wordless
        self.faults: list[str] = []
        self.lost: list[str] = []

    def fault(self, flow: http.HTTPFlow) -> http.Response:
        if self.wordless:
            raise RuntimeError("no words")
        return http.Response.make(503, b"in the provider's words")

    def faulted(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        self.faults.append(hook)

    def broke_off(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        self.lost.append(hook)

    @fail_closed
    def http_connect(self, flow: http.HTTPFlow) -> None:
        flow.response = None
        if self.error:
            raise self.error()

    @unless_answered
    @fail_closed
    async def request(self, flow: http.HTTPFlow) -> None:
        flow.response = None
        await asyncio.sleep(0)
        if self.error:
            raise self.error()

    @books_closed
    async def response(self, flow: http.HTTPFlow) -> None:
        if self.error:
            raise self.error()


@pytest.mark.parametrize("error", [*ERRORS, MemoryError, SystemExit, GeneratorExit])
def test_guard_refuses_even_after_the_hook_cleared_the_refusal(
    house: House, error: type[BaseException]
) -> None:
    gate, connect, request = Gate(error), house.flow(), house.flow()
    with suppress(BaseException):
        gate.http_connect(connect)
    with suppress(BaseException):
        asyncio.run(gate.request(request))

    assert connect.response.content == request.response.content == b"in the provider's words"
    assert gate.faults == ["http_connect", "request"]


def test_guard_has_a_bare_refusal_where_even_its_words_break(house: House) -> None:
    flow = house.flow()
    with suppress(RuntimeError):
        Gate(RuntimeError, wordless=True).http_connect(flow)

    assert flow.response.status_code == 503


def test_guard_lets_nothing_pass_that_was_refused_before(house: House) -> None:
    flow = house.flow()
    flow.response = http.Response.make(403)

    assert Gate().request(flow) is None

    assert flow.response.status_code == 403


def test_cancel_goes_on_after_the_guard(house: House) -> None:
    with pytest.raises(asyncio.CancelledError):
        Gate(asyncio.CancelledError).http_connect(house.flow())


def test_answer_side_guard_reports_and_swallows_errors_but_not_cancels(house: House) -> None:
    broken, cancelled = Gate(RuntimeError), Gate(asyncio.CancelledError)

    asyncio.run(broken.response(house.flow()))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled.response(house.flow()))

    assert broken.lost == cancelled.lost == ["response"]


def test_fault_shows_the_providers_own_error_shape(house: House) -> None:
    shapes = {}
    for host, path in [
        ("api.openai.com", "/v1/chat/completions"),
        ("api.anthropic.com", "/v1/messages"),
        ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent"),
    ]:
        flow = house.flow(host=host, path=path, body={})
        house.enforcer.requestheaders(flow)
        shapes[host] = house.enforcer.fault(flow).json()

    assert set(shapes["api.openai.com"]["error"]) == {"message", "type", "param", "code"}
    assert shapes["api.anthropic.com"]["type"] == "error"
    assert shapes["generativelanguage.googleapis.com"]["error"]["status"]


def test_fault_refusal_is_a_new_object_each_time(house: House) -> None:
    flow = house.flow()
    house.enforcer.requestheaders(flow)
    first = house.enforcer.fault(flow)
    first.data.content = b"mitmproxy wrote into it"

    assert b"mitmproxy" not in (house.enforcer.fault(flow).content or b"")


def test_reason_of_a_refusal_is_a_value_and_never_raised() -> None:
    assert not issubclass(Reason, BaseException)
    assert not issubclass(Enforcer, BaseException)
