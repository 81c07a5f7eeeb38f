"""What is written down on a WebSocket: covered before it leaves, settled as it is billed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.house import House
from proxy.test_websockets import waiting_socket
from tollkeeper.domain import Usage
from tollkeeper.proxy.socket_ears import MOST_STRETCHES, STRETCH_MICROSECONDS, Ears, Hearing
from tollkeeper.proxy.socket_turns import Socket
from tollkeeper.wire.realtime_transcripts import call_for
from tollkeeper.wire.talk import Sound, Told, Written

Covers = Callable[[int], str | None]


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def heard(house: House, ears: Ears) -> tuple[Hearing, Covers]:
    house.govern_by({"websockets": True, "agents": {"atlas": {"budget_usd": {"total": 1}}}})
    made, _, socket = waiting_socket(house)
    hearing = Hearing(made.turns)

    def covers(microseconds: int) -> str | None:
        reason = asyncio.run(hearing.covers(socket, ears, sound(socket, microseconds)))
        return None if reason is None else reason.message

    return hearing, covers


def sound(socket: Socket, microseconds: int) -> Sound:
    provider = socket.upgrade.caller.provider
    assert provider is not None
    asked = {"model": "whisper-1"}
    return Sound(microseconds, lambda most: call_for(provider, "/v1/realtime", asked, most))


def stretches(house: House) -> list[dict[str, Any]]:
    return [row for row in house.calls() if row["operation"] == "transcription"]


def tell(hearing: Hearing, ears: Ears, **said: Any) -> None:
    asyncio.run(hearing.told(ears, Told(**said)))


def test_stretch_covers_much_audio_and_the_next_one_what_is_not_committed_too(
    house: House, ears: Ears, heard: tuple[Hearing, Covers]
) -> None:
    _, covers = heard

    assert covers(20_000) is None
    assert covers(STRETCH_MICROSECONDS) is None
    assert len(stretches(house)) == 1
    assert covers(20_000) is None

    first, second = stretches(house)
    assert second["worst_nano_usd"] > 1.9 * first["worst_nano_usd"]
    assert ears.buffered == STRETCH_MICROSECONDS + 40_000


def test_stretch_is_settled_when_all_of_it_is_written_down_and_the_next_has_begun(
    house: House, ears: Ears, heard: tuple[Hearing, Covers]
) -> None:
    hearing, covers = heard
    covers(2_000_000)
    tell(hearing, ears, committed="item_1", buffered=0)
    covers(STRETCH_MICROSECONDS + 1)
    assert [row["state"] for row in stretches(house)] == ["forwarded", "forwarded"]

    tell(hearing, ears, written=Written("item_1", Usage(audio_milliseconds=2000)))

    first, second = stretches(house)
    assert (first["cost_nano_usd"], first["basis"]) == (200_000, "measured")
    assert second["state"] == "forwarded"
    asyncio.run(hearing.close(ears))
    assert stretches(house)[1]["cost_nano_usd"] == 0
    assert house.open_calls() == 0


@pytest.mark.parametrize("told", [False, True])
def test_what_is_not_known_when_the_connection_ends_is_booked_whole(
    house: House, ears: Ears, heard: tuple[Hearing, Covers], told: bool
) -> None:
    hearing, covers = heard
    covers(2_000_000)
    tell(hearing, ears, committed="item_1", buffered=0)
    if told:
        tell(hearing, ears, written=Written("item_1", None))

    asyncio.run(hearing.close(ears))

    [row] = stretches(house)
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])


@pytest.mark.parametrize(("committing", "basis"), [(1, "reserved"), (0, "measured")])
def test_audio_that_was_committed_at_the_very_end_is_not_free(
    house: House, ears: Ears, heard: tuple[Hearing, Covers], committing: int, basis: str
) -> None:
    hearing, covers = heard
    covers(2_000_000)
    ears.committing = committing

    asyncio.run(hearing.close(ears))

    assert stretches(house)[0]["basis"] == basis


def test_fault_books_whole_what_has_left(
    house: House, ears: Ears, heard: tuple[Hearing, Covers]
) -> None:
    hearing, covers = heard
    covers(2_000_000)

    hearing.give_up(ears)

    [row] = stretches(house)
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])


def test_audio_that_nothing_covers_is_refused_and_the_ledger_is_not_asked_for_each_piece(
    house: House, ears: Ears, heard: tuple[Hearing, Covers]
) -> None:
    _, covers = heard
    house.govern_by({"websockets": True, "agents": {"atlas": {"budget_usd": {"total": 0.0001}}}})

    assert [covers(20_000) is None for _ in range(50)] == [False] * 50
    assert len(stretches(house)) < 5
    assert house.open_calls() == 0


def test_transcripts_cannot_wait_for_a_person(
    house: House, ears: Ears, heard: tuple[Hearing, Covers]
) -> None:
    _, covers = heard
    rule = {"name": "ask", "call": {"operation": "transcription"}, "hold": {}}
    house.govern_by({"websockets": True, "rules": [rule]})

    assert "wait for a person" in str(covers(20_000))
    assert house.open_calls() == 0


def test_unsettled_stretches_have_a_bound_and_what_is_never_written_down_ends_no_session(
    house: House, ears: Ears, heard: tuple[Hearing, Covers]
) -> None:
    hearing, covers = heard

    for number in range(MOST_STRETCHES + 1):
        assert covers(STRETCH_MICROSECONDS + 1) is None
        tell(hearing, ears, committed=f"item_{number}", buffered=0)

    first, *later = stretches(house)
    assert (first["basis"], first["cost_nano_usd"]) == ("reserved", first["worst_nano_usd"])
    assert [row["state"] for row in later] == ["forwarded"] * MOST_STRETCHES
    assert len(ears.stretches) == MOST_STRETCHES
