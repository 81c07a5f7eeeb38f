"""What happens by itself, in which order, and that nothing ends it."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from ledger.scripted import PRINCIPAL, ScriptedCase, measured
from proxy.house import HOLD_ALL, House, answered, run
from tollkeeper.errors import LedgerError
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy import housekeeping
from tollkeeper.proxy.connections import Connections
from tollkeeper.proxy.housekeeping import Housekeeping
from tollkeeper.proxy.settling import NOT_SENT, spool


def keeping(house: House) -> Housekeeping:
    connections = Connections(house.station, house.doorkeeper)
    return Housekeeping(house.station, house.room, connections)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEASE_SECONDS", "LAPSE_SECONDS", "POLICY_SECONDS", "TIDY_SECONDS"):
        monkeypatch.setattr(housekeeping, name, 0.01)


def test_what_a_dead_process_left_in_the_spool_is_booked_at_what_it_cost(house: House) -> None:
    now_ns = time.time_ns()
    dead = SqliteLedger(house.home.database, owner=f"{socket.gethostname()}/999999999/0")
    settled, lost = (dead.admit(ScriptedCase(), PRINCIPAL, now_ns).id for _ in range(2))
    dead.close()
    spool(house.home.spool, settled, measured(7), now_ns)

    run(keeping(house).recover())

    booked = {call["id"]: (call["outcome"], call["cost_nano_usd"]) for call in house.calls()}
    assert booked == {settled: ("complete", 7), lost: ("recovered", 100)}


def test_log_is_moved_into_the_database_beside_the_calls(house: House) -> None:
    run(keeping(house).checkpoint())

    assert b"atlas" in house.home.database.read_bytes()


@pytest.mark.parametrize("error", [LedgerError, RuntimeError, OSError, RecursionError])
def test_work_that_breaks_is_done_again(house: House, error: type[Exception]) -> None:
    times: list[int] = []

    async def work() -> None:
        times.append(1)
        raise error("once more")

    async def story() -> None:
        keeper = keeping(house)
        keeper.every(0.005, work)
        while len(times) < 4:
            await asyncio.sleep(0.005)
        await keeper.done()

    run(asyncio.wait_for(story(), 60))


@pytest.mark.usefixtures("hasty")
def test_everything_starts_and_everything_stops(house: House) -> None:
    async def story() -> set[str]:
        keeper = keeping(house)
        await keeper.running()
        while house.station.owner not in leases(house):
            await asyncio.sleep(0.01)
        names = {task.get_name() for task in keeper.tasks}
        await keeper.done()
        return names

    work = {"renew", "recover", "lapse", "look_at_policy", "look_at_tunnels", "tidy", "checkpoint"}
    assert run(asyncio.wait_for(story(), 60)) == {f"tollkeeper {name}" for name in work}


def leases(house: House) -> list[str]:
    """Who is known to be alive."""
    ledger = house.ledger()
    owners = [str(row["owner"]) for row in ledger.rows("select owner from leases")]
    ledger.close()
    return owners


@pytest.mark.usefixtures("hasty")
def test_edit_of_the_policy_is_in_force_and_on_record(house: House) -> None:
    async def story() -> None:
        keeper = keeping(house)
        await keeper.running()
        house.policy({"mode": "observe"})
        while house.station.policy_file.policy.mode != "observe":
            await asyncio.sleep(0.01)
        broken = house.home.root / "policy.new"
        broken.write_text("nonsense: [")
        broken.replace(house.home.root / "policy.yaml")
        while "policy_broken" not in house.kinds():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # a few more looks
        await keeper.done()

    run(asyncio.wait_for(story(), 60))

    kinds = house.kinds()
    assert kinds.count("policy_loaded") == 1
    assert kinds.count("policy_broken") == 1


def test_start_takes_in_the_spool(house: House) -> None:
    flow = house.judged()
    spool(house.home.spool, flow.metadata["tollkeeper"]["decision"], NOT_SENT, time.time_ns())

    asyncio.run(keeping(house).recover())

    ledger = house.ledger()
    [row] = list(ledger.rows("select state, outcome from calls"))
    assert (row["state"], row["outcome"]) == ("settled", "not_sent")


def test_approval_that_lapses_wakes_who_waits_on_it(house: House) -> None:
    hold = {"rules": [HOLD_ALL["rules"][0] | {"hold": {"lapses_after": "1s"}}], "examples": []}
    house.govern_by(hold)

    async def story() -> object:
        keeper = keeping(house)
        task = asyncio.create_task(house.judge(house.flow()))
        while not task.done():
            await asyncio.sleep(0.1)
            await keeper.lapse()
        return await task

    flow = run(asyncio.wait_for(story(), 60))

    assert flow.response.json()["error"]["code"] == "approval_lapsed"
    assert house.open_calls() == 0


def test_who_was_turned_away_is_written_in_one_record(house: House) -> None:
    house.station.turned_away.update({"no credentials": 500, "connect 403": 2})
    keeper = keeping(house)

    asyncio.run(keeper.tidy())
    asyncio.run(keeper.tidy())

    ledger = house.ledger()
    [record] = [row for row in ledger.audit(limit=100) if row["kind"] == "turned_away"]
    assert "500" in str(record["data"])


def test_live_calls_are_never_recovered(house: House) -> None:
    flow = house.judged()

    asyncio.run(keeping(house).recover())

    asyncio.run(house.give(flow, answered()))
    assert house.calls()[0]["basis"] == "measured"


def test_who_was_turned_away_is_recorded_once_at_the_end(house: House, hasty: None) -> None:
    async def story() -> None:
        keeper = keeping(house)
        await keeper.running()
        house.station.turned_away["no credentials"] += 2
        await keeper.done()

    run(story())

    told = [row["data"] for row in house.ledger().audit(limit=100) if row["kind"] == "turned_away"]
    assert told == [{"no credentials": 2}]


def test_who_was_turned_away_goes_to_the_spool_when_the_ledger_is_gone(house: House) -> None:
    house.station.turned_away["no credentials"] += 2
    house.station.ledger.close()

    run(keeping(house).record_turned_away())

    assert house.kinds()[-1] == "turned_away"
