"""Where held flows wait: verdicts, windows, lost clients, broken ledgers, and nothing left running."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from mitmproxy.proxy.layers import http as mitm_http

from proxy.house import HOLD_ALL, House, run
from tollkeeper.errors import LedgerError
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy import layers
from tollkeeper.proxy.layers import STREAMS
from tollkeeper.proxy.own_hooks import WatchedQueue
from tollkeeper.proxy.waiting_room import WaitingRoom, Wake


async def held(house: House, count: int = 1) -> list[asyncio.Task]:
    """So many flows that wait."""
    client = house.connected()
    tasks = [asyncio.create_task(house.judge(house.flow(client=client))) for _ in range(count)]
    await house.waits(count)
    return tasks


@pytest.fixture
def holding(house: House) -> House:
    house.govern_by(HOLD_ALL)
    return house


def test_verdict_of_another_process_wakes_the_flow(holding: House) -> None:
    async def story() -> None:
        [task] = await held(holding)
        holding.verdict(holding.approvals()[0])
        flow = await task
        assert flow.response is None
        assert len(holding.room) == 0

    run(story())


def test_verdict_given_before_the_first_look_is_seen(house: House) -> None:
    house.govern_by(HOLD_ALL)

    async def story() -> Wake:
        [task] = await held(house)
        approval = house.approvals()[0]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        house.verdict(approval)
        return await house.room.wait(approval, house.flow(), 60)

    assert run(story()) is Wake.DECIDED


def test_verdict_given_between_two_waits_is_seen_though_others_wait_on(holding: House) -> None:
    """As between two heartbeats: whoever looks has seen the change, and found nobody to wake."""

    async def story() -> Wake:
        [task] = await held(holding)
        approval, room = holding.approvals()[0], holding.room
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        other = asyncio.create_task(room.wait("another", holding.flow(), 60))
        await holding.waits()
        look, looked = room.look, asyncio.Event()
        room.look = lambda: (look(), looked.set())[0]
        holding.verdict(approval)
        await looked.wait()
        room.look = look
        woken = await room.wait(approval, holding.flow(), 5)
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        return woken

    assert run(story()) is Wake.DECIDED


@pytest.mark.parametrize("seconds", [0, -1, 0.01])
def test_window_that_ends_wakes_the_flow(holding: House, seconds: float) -> None:
    assert run(holding.room.wait("nobody-asked", holding.flow(), seconds)) is Wake.WINDOW
    assert not holding.room.waiting


def test_client_that_leaves_wakes_its_own_flow_only(holding: House) -> None:
    async def story() -> list[Wake]:
        flows = [holding.flow(), holding.flow()]
        streams = []
        for flow in flows:
            stream = object.__new__(layers.GovernedStream)
            stream._paused_event_queue = WatchedQueue((), lambda: None)
            STREAMS[flow.id] = stream
            streams.append(stream)
        waits = [
            asyncio.create_task(holding.room.wait("one", flow, window))
            for flow, window in zip(flows, (60, 0.2), strict=True)
        ]
        await asyncio.sleep(0.02)
        gone = mitm_http.RequestProtocolError(1, "gone", mitm_http.ErrorCode.CLIENT_DISCONNECTED)
        streams[0]._paused_event_queue.append(gone)
        return list(await asyncio.gather(*waits))

    assert run(story()) == [Wake.GONE, Wake.WINDOW]


def test_client_that_left_before_the_wait_began_wakes_it_at_once(holding: House) -> None:
    async def story() -> Wake:
        flow = holding.flow()
        stream = object.__new__(layers.GovernedStream)
        gone = mitm_http.RequestProtocolError(1, "gone", mitm_http.ErrorCode.CLIENT_DISCONNECTED)
        stream._paused_event_queue = WatchedQueue([gone], lambda: None)
        STREAMS[flow.id] = stream
        return await holding.room.wait("one", flow, 60)

    assert run(story()) is Wake.GONE


def test_flow_that_is_killed_wakes_at_once_and_alone(holding: House) -> None:
    async def story() -> list[Wake]:
        flows = [holding.flow(), holding.flow()]
        waits = [
            asyncio.create_task(holding.room.wait("one", flow, window))
            for flow, window in zip(flows, (60, 0.2), strict=True)
        ]
        await asyncio.sleep(0.02)
        flows[0].live = True
        flows[0].kill()
        return list(await asyncio.gather(*waits))

    assert run(story()) == [Wake.GONE, Wake.WINDOW]


def test_whoever_shows_flows_is_told_when_one_begins_to_wait(holding: House) -> None:
    shown: list[str] = []
    holding.room.show = lambda flow: shown.append(flow.comment)

    async def story() -> None:
        [task] = await held(holding)
        holding.verdict(holding.approvals()[0])
        await task

    run(story())

    assert len(shown) == 1
    assert " · held until " in shown[0]


def test_all_who_wait_on_one_approval_are_woken_and_one_goes_on(holding: House) -> None:
    async def story() -> list[int]:
        tasks = await held(holding, 5)
        [approval] = holding.approvals()
        ledger = holding.ledger()
        holding.verdict(approval)
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while [ledger.approval(one).waiting for one in holding.approvals()] != [4]:
            await asyncio.sleep(0.005)
        assert all(task.result().response is None for task in done)
        assert not [task for task in waiting if task.done()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        ledger.close()
        return [len(done), len(waiting)]

    assert run(story()) == [1, 4]
    assert holding.open_calls() == 1


def test_rejection_wakes_all_and_none_goes_on(holding: House) -> None:
    async def story() -> set[int]:
        tasks = await held(holding, 5)
        holding.verdict(holding.approvals()[0], "rejected")
        return {flow.response.status_code for flow in await asyncio.gather(*tasks)}

    assert run(story()) == {403}
    assert holding.open_calls() == 0


def test_flows_that_wait_on_several_approvals_are_told_apart(holding: House) -> None:
    async def story() -> None:
        others = [
            asyncio.create_task(holding.room.wait(name, holding.flow(), 60)) for name in ("a", "b")
        ]
        task = asyncio.create_task(holding.judge(holding.flow()))
        await holding.waits(3)
        holding.verdict(holding.approvals()[0])
        await task
        assert not [one for one in others if one.done()]
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    run(story())


def test_ledger_that_another_process_writes_delays_no_verdict_for_good(holding: House) -> None:
    async def story() -> None:
        [task] = await held(holding)
        other = sqlite3.connect(holding.home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(0.1)
        other.execute("ROLLBACK")
        other.close()
        holding.verdict(holding.approvals()[0])
        assert (await task).response is None

    run(story())


class Sulking(SqliteLedger):
    """A ledger that cannot be read for a while."""

    sulks = 0

    def changed(self) -> bool:
        self.sulk()
        return super().changed()

    def verdicts(self, approvals):
        self.sulk()
        return super().verdicts(approvals)

    def sulk(self) -> None:
        if self.sulks > 0:
            self.sulks -= 1
            raise LedgerError("The disk is away.")


@pytest.mark.parametrize("error", [LedgerError, RuntimeError])
def test_ledger_that_cannot_be_read_for_a_while_is_asked_again(
    holding: House, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sulk(self: Sulking) -> None:
        if self.sulks > 0:
            self.sulks -= 1
            raise error("The disk is away.")

    monkeypatch.setattr(Sulking, "sulk", sulk)
    ledger = Sulking(holding.home.database, operator_key=holding.home.read_operator_key())

    async def story() -> None:
        [task] = await held(holding)
        holding.station.ledger.close()
        holding.station.ledger = ledger
        ledger.sulks = 5
        holding.verdict(holding.approvals()[0])
        flow = await asyncio.wait_for(task, 60)
        assert flow.response is None or flow.response.status_code == 503

    run(story())
    assert ledger.sulks == 0
    ledger.close()


def test_thousand_flows_wait_at_once_and_leave_nothing_behind(house: House) -> None:
    async def story() -> list[Wake]:
        room = house.room
        flow = house.flow()
        waits = [
            asyncio.create_task(room.wait(f"approval-{i % 700}", flow, 60)) for i in range(1000)
        ]
        await asyncio.sleep(0.1)
        assert len(room) == 1000
        assert room.look()
        for futures in room.waiting.values():
            for future in futures:
                future.set_result(Wake.DECIDED)
        return list(await asyncio.gather(*waits))

    assert set(run(story())) == {Wake.DECIDED}
    assert not house.room.waiting
    assert house.room.looker is None


def test_cancelled_wait_leaves_nothing_behind(house: House) -> None:
    async def story() -> None:
        task = asyncio.create_task(house.room.wait("one", house.flow(), 60))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story())

    assert len(house.room) == 0


def test_nobody_looks_while_nobody_waits(house: House) -> None:
    assert WaitingRoom(house.station).looker is None
