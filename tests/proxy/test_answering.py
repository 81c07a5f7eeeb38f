"""Who may answer from mitmweb: whoever has the operator's key, once a code, and nobody else."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest
from mitmproxy import command, exceptions

from proxy.house import HOLD_ALL, House
from tollkeeper.core.identity import new_operator_code
from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import ApprovalError
from tollkeeper.proxy import answering
from tollkeeper.proxy.answering import MOST_SESSIONS, MOST_WRONG, Answering, Unproven
from tollkeeper.proxy.station import Station

START_NS = 1_800_000_000 * NS_PER_SECOND


class Clock:
    """The station's, moved by hand."""

    now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(Station, "now_ns", staticmethod(made))
    return made


@pytest.fixture
def office(house: House, clock: Clock) -> Answering:
    return Answering(house.station, house.room)


def code(office: Answering) -> str:
    return new_operator_code(office.key, os.urandom(3), office.station.now_ns())


@pytest.fixture
def approval(house: House, clock: Clock) -> str:
    """An open one whose client has left."""
    house.govern_by(HOLD_ALL)

    async def ask() -> None:
        task = asyncio.create_task(house.judge(house.flow()))
        while not len(house.room):
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(ask())
    [found] = house.approvals()
    return found


def test_code_serves_once(office: Answering) -> None:
    typed = code(office)

    office.open_session(typed)

    with pytest.raises(Unproven, match="used already"):
        office.open_session(typed)


def test_code_that_is_used_up_is_remembered_for_as_long_as_it_would_be_good(
    office: Answering, clock: Clock
) -> None:
    office.open_session(code(office))
    clock.now_ns += 200 * NS_PER_SECOND

    office.open_session(code(office))

    assert len(office.used) == 1


def test_wrong_codes_are_counted_and_the_right_one_must_wait(
    office: Answering, clock: Clock
) -> None:
    for _ in range(MOST_WRONG):
        with pytest.raises(Unproven, match="wrong or too old"):
            office.genuine("aaaa-bbbb-cccc")
        clock.now_ns += NS_PER_SECOND

    with pytest.raises(Unproven, match="Too many"):
        office.genuine(code(office))
    clock.now_ns += (60 - MOST_WRONG) * NS_PER_SECOND
    assert office.genuine(code(office))


def test_session_ends_by_itself_and_when_it_is_closed(office: Answering, clock: Clock) -> None:
    secret, ends_ns = office.open_session(code(office))
    other, _ = office.open_session(code(office))
    office.demand_session(secret)

    office.close_session(other)
    with pytest.raises(Unproven, match="Unlock"):
        office.demand_session(other)
    clock.now_ns = ends_ns - 1
    office.demand_session(secret)
    clock.now_ns = ends_ns
    with pytest.raises(Unproven, match="Unlock"):
        office.demand_session(secret)


def test_sessions_are_bounded_and_the_oldest_goes(office: Answering) -> None:
    secrets = [office.open_session(code(office))[0] for _ in range(MOST_SESSIONS + 1)]

    with pytest.raises(Unproven):
        office.demand_session(secrets[0])
    office.demand_session(secrets[-1])
    assert len(office.sessions) == MOST_SESSIONS


@pytest.mark.parametrize("secret", ["", "\ud800", "x" * 10_000])
def test_no_secret_opens_nothing(office: Answering, secret: str) -> None:
    with pytest.raises(Unproven):
        office.demand_session(secret)


def test_answer_is_sealed_with_its_origin_and_counts(
    house: House, office: Answering, approval: str
) -> None:
    digest = house.station.ledger.approval(approval).digest

    given = asyncio.run(office.answer(approval, digest, "approved", "fine"))

    assert given.verdict is not None
    assert (given.state, given.verdict.origin) == ("approved", "mitmweb")
    assert house.judged().response is None
    with pytest.raises(ApprovalError, match="first counts"):
        asyncio.run(office.answer(approval, digest, "rejected", ""))


def test_answer_to_another_call_than_was_shown_is_none(
    house: House, office: Answering, approval: str
) -> None:
    with pytest.raises(ApprovalError, match="not the call that was shown"):
        asyncio.run(office.answer(approval, "0" * 64, "approved", ""))

    assert house.station.ledger.approval(approval).state == "open"


def test_answer_that_is_neither_yes_nor_no_is_none(
    house: House, office: Answering, approval: str
) -> None:
    digest = house.station.ledger.approval(approval).digest

    with pytest.raises(ApprovalError, match="approved or rejected"):
        asyncio.run(office.answer(approval, digest, "maybe", ""))


def test_row_in_the_database_without_its_origin_under_the_seal_approves_nothing(
    house: House, office: Answering, approval: str
) -> None:
    digest = house.station.ledger.approval(approval).digest
    asyncio.run(office.answer(approval, digest, "approved", ""))

    with sqlite3.connect(house.home.database) as forger:
        forger.execute("UPDATE verdicts SET origin = 'cli'")
    forger.close()

    assert house.station.ledger.approval(approval).state == "open"


def test_command_leaves_its_code_unused_when_it_could_not_answer(
    house: House, office: Answering, approval: str
) -> None:
    typed = code(office)
    writer = sqlite3.connect(house.home.database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(exceptions.CommandError, match="try again"):
        office.approve(approval, typed)
    writer.execute("ROLLBACK")
    writer.close()

    assert office.approve(approval[:4], typed, "go", "on").startswith(f"{approval} approved: atlas")
    given = house.station.ledger.approval(approval).verdict
    assert given is not None
    assert given.note == "go on"
    with pytest.raises(exceptions.CommandError, match="used already"):
        office.reject(approval, typed)


def test_commands_are_named_after_us(office: Answering) -> None:
    manager = command.CommandManager(None)  # type: ignore[arg-type]

    office.add_commands(manager)

    assert set(manager.commands) == {"tollkeeper.approve", "tollkeeper.reject"}
    assert "tollkeeper approval code" in (manager.commands["tollkeeper.approve"].help or "")
    assert answering.ORIGIN == "mitmweb"
