"""Writing to the ledger in groups: everybody gets his own outcome, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from proxy.house import House, run
from tollkeeper.errors import LedgerBusy, LedgerError
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy import writer
from tollkeeper.proxy.writer import LARGEST_GROUP


def noted(house: House, name: str, error: Exception | None = None):
    def work() -> str:
        house.station.ledger.record("note", name, {}, 1)
        if error is not None:
            raise error
        return name

    return work


def actors(house: House) -> list[str]:
    ledger = SqliteLedger(house.home.database)
    found = [row["actor"] for row in ledger.audit(limit=1000) if row["kind"] == "note"]
    ledger.close()
    return sorted(found)


def test_what_comes_together_is_written_together_and_each_gets_his_own_result(house: House) -> None:
    async def story() -> list[str]:
        write = house.station.writer.write
        return list(await asyncio.gather(*(write(noted(house, f"{i:03}")) for i in range(100))))

    names = [f"{i:03}" for i in range(100)]
    assert run(story()) == names
    assert actors(house) == names
    assert LARGEST_GROUP < 100


def test_one_that_fails_fails_alone(house: House) -> None:
    async def story() -> list[object]:
        write = house.station.writer.write
        works = [noted(house, "a"), noted(house, "b", ValueError("b")), noted(house, "c")]
        return list(await asyncio.gather(*map(write, works), return_exceptions=True))

    first, second, third = run(story())

    assert (first, third) == ("a", "c")
    assert isinstance(second, ValueError)
    assert {"a", "c"} <= set(actors(house))


def test_one_that_wants_to_be_alone_is_committed_before_it_ends(house: House) -> None:
    seen: list[list[str]] = []

    def work() -> None:
        noted(house, "first")()
        seen.append(actors(house))

    async def story() -> None:
        write = house.station.writer.write
        await asyncio.gather(write(noted(house, "beside")), write(work, alone=True))

    run(story())

    assert seen == [["beside", "first"]]


def test_one_that_gives_up_waiting_is_not_written_any_more(house: House) -> None:
    async def story() -> None:
        write = house.station.writer.write
        other = sqlite3.connect(house.home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        left = asyncio.create_task(write(noted(house, "left")))
        stays = asyncio.create_task(write(noted(house, "stays")))
        await asyncio.sleep(0.02)
        left.cancel()
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        other.close()
        assert await stays == "stays"

    run(story())

    assert actors(house) == ["stays"]


def test_ledger_that_stays_locked_is_an_error_in_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_NS", 20_000_000)

    async def story() -> None:
        other = sqlite3.connect(house.home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="stayed locked") as caught:
            await house.station.write(noted(house, "late"))
        assert isinstance(caught.value.__cause__, LedgerBusy)
        other.execute("ROLLBACK")
        other.close()
        assert await house.station.write(noted(house, "early")) == "early"

    run(story())


def test_group_that_does_not_come_about_leaves_everybody_to_himself(house: House) -> None:
    async def story() -> list[object]:
        write = house.station.writer.write
        works = [noted(house, f"{i}") for i in range(4)]
        house.home.database.rename(house.root / "moved.db")
        return list(await asyncio.gather(*map(write, works), return_exceptions=True))

    assert [type(one) for one in run(story())] == [LedgerError] * 4


def test_idle_writer_has_nothing_scheduled(house: House) -> None:
    run(house.station.write(noted(house, "one")))

    assert house.station.writer.wishes == []
    assert not house.station.writer.scheduled


def test_idle_is_when_everything_that_was_wanted_is_written(house: House) -> None:
    async def story() -> list[str]:
        write = house.station.writer.write
        wanted = [asyncio.create_task(write(noted(house, f"{i:03}"))) for i in range(100)]
        await asyncio.sleep(0)
        await house.station.writer.idle()
        written = actors(house)
        await asyncio.gather(*wanted)
        return written

    assert run(story()) == [f"{i:03}" for i in range(100)]


def test_what_nobody_waits_for_stays_before_what_is_wanted_later(house: House) -> None:
    failed: list[Exception] = []

    async def story() -> None:
        writer = house.station.writer
        writer.write_behind(noted(house, "a"), failed.append)
        writer.write_behind(noted(house, "b", ValueError("b")), failed.append)
        await writer.write(noted(house, "c"))

    run(story())

    ledger = house.ledger()
    written = [row["actor"] for row in ledger.audit(limit=1000) if row["kind"] == "note"]
    ledger.close()
    assert written[-1] == "c"
    assert written[0] == "a"
    assert [str(error) for error in failed] == ["b"]


def test_what_finds_no_company_is_written_in_the_next_turn(house: House) -> None:
    writer = house.station.writer

    async def story() -> list[str]:
        writer.write_behind(noted(house, "lingers"), pytest.fail)
        writer.write_behind(noted(house, "soon"), pytest.fail, company=False)
        seen = actors(house)
        await asyncio.sleep(0)
        return seen

    assert run(story()) == []
    assert actors(house) == ["lingers", "soon"]
    assert writer.wishes == []


def test_what_nobody_waits_for_leaves_nothing_scheduled(house: House) -> None:
    async def story() -> None:
        house.station.writer.write_behind(noted(house, "one"), pytest.fail)
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while house.station.writer.lingering:
                await asyncio.sleep(0.001)

    run(story())

    assert house.station.writer.wishes == []
    assert not house.station.writer.lingering
    assert actors(house) == ["one"]


def test_what_is_wanted_at_once_is_done_at_once_with_what_lingered_before_it(house: House) -> None:
    async def story() -> bool:
        writer = house.station.writer
        writer.write_behind(noted(house, "lingers"), pytest.fail)
        answer = writer.want(noted(house, "now"), at_once=True)
        return answer.done() and actors(house) == ["lingers", "now"]

    assert run(story())


def test_what_is_wanted_at_once_waits_for_others_who_write(house: House) -> None:
    async def story() -> str:
        other = sqlite3.connect(house.home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = house.station.writer.want(noted(house, "later"), at_once=True)
        assert not answer.done()
        other.execute("ROLLBACK")
        other.close()
        return await answer

    assert run(story()) == "later"


def test_what_is_wanted_at_once_comes_along_where_a_group_is_on_its_way(house: House) -> None:
    async def story() -> list[str]:
        writer = house.station.writer
        answers = [writer.want(noted(house, "a")), writer.want(noted(house, "b"), at_once=True)]
        assert not any(answer.done() for answer in answers)
        return list(await asyncio.gather(*answers))

    assert run(story()) == ["a", "b"]


def test_writer_that_has_ended_writes_at_once_and_waits_for_nobody(house: House) -> None:
    failed: list[Exception] = []

    async def story() -> None:
        writer = house.station.writer
        writer.write_behind(noted(house, "before"), pytest.fail)
        await writer.end()
        assert actors(house) == ["before"]
        writer.write_behind(noted(house, "after"), pytest.fail)
        assert actors(house) == ["after", "before"]
        other = sqlite3.connect(house.home.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writer.write_behind(noted(house, "beside others"), failed.append)
        other.execute("ROLLBACK")
        other.close()

    run(story())

    assert [type(error) for error in failed] == [LedgerError]
    assert house.station.writer.wishes == []


def test_one_whose_loss_breaks_takes_nobody_along(house: House) -> None:
    def breaks(_error: Exception) -> None:
        raise RuntimeError

    async def story() -> str:
        writer = house.station.writer
        writer.write_behind(noted(house, "a", ValueError("a")), breaks)
        return await writer.write(noted(house, "b"))

    assert run(story()) == "b"


def test_what_came_later_lingers_for_its_own_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LINGER_NS", 3600 * 10**9)

    async def story() -> list[list[str]]:
        queue = house.station.writer
        queue.write_behind(noted(house, "early"), pytest.fail)
        await queue.write(noted(house, "company"))
        queue.write_behind(noted(house, "late"), pytest.fail)
        queue.write_lingering()  # the timer of the early one
        seen = [actors(house)]
        monkeypatch.setattr(writer, "LINGER_NS", 0)
        queue.write_lingering()
        return [*seen, actors(house)]

    assert asyncio.run(story()) == [["company", "early"], ["company", "early", "late"]]
