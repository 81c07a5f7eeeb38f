"""A tunnel that nobody reads is in the record: its host, once a day for each agent."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.house import House
from tollkeeper.domain import Principal
from tollkeeper.proxy import sightings
from tollkeeper.proxy.sightings import DAY_NS, Sightings
from tollkeeper.proxy.station import Caller


def caller(host: str, agent: str = "atlas") -> Caller:
    return Caller(agent, "", Principal(agent, "t", "r"), target=(host, 443), decrypted=False)


def records(house: House) -> list[tuple[str, dict[str, Any]]]:
    return [(one["actor"], one["data"]) for one in house.station.ledger.audit(limit=1000)
            if one["kind"] == "tunnelled"]  # fmt: skip


def test_host_is_recorded_once_however_often_it_is_reached(house: House) -> None:
    seen = Sightings(house.station)

    for _ in range(3):
        seen.saw(caller("github.com"))
    seen.saw(caller("pypi.org"))
    seen.saw(caller("github.com", agent="scout"))

    assert records(house) == [
        ("atlas", {"host": "github.com", "run": "r"}),
        ("atlas", {"host": "pypi.org", "run": "r"}),
        ("scout", {"host": "github.com", "run": "r"}),
    ]


def test_next_day_it_is_recorded_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, now_ns = Sightings(house.station), house.station.now_ns()
    seen.saw(caller("github.com"))
    monkeypatch.setattr(type(house.station), "now_ns", staticmethod(lambda: now_ns + DAY_NS))

    seen.saw(caller("github.com"))

    assert len(records(house)) == 2


def test_agent_that_goes_everywhere_fills_no_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sightings, "MOST_HOSTS", 3)
    seen = Sightings(house.station)

    for n in range(10):
        seen.saw(caller(f"host-{n}.example"))

    assert [data.get("more") for _, data in records(house)] == [None, None, True]


def test_tunnel_of_nobody_is_not_recorded(house: House) -> None:
    Sightings(house.station).saw(Caller("atlas", "", target=("github.com", 443), decrypted=False))

    assert records(house) == []
