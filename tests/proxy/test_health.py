"""Whether calls would be taken, and if not, why."""

from __future__ import annotations

import os
from collections import namedtuple

import pytest

from proxy.house import House
from tollkeeper.proxy import health
from tollkeeper.proxy.closing import SHUT
from tollkeeper.proxy.health import STALE_NS, readiness


@pytest.fixture
def kept(house: House) -> House:
    house.station.written_ns = house.station.now_ns()
    return house


def reasons(house: House, listeners: int = 1) -> list[str]:
    found = readiness(house.station, listeners)
    assert found["ready"] == (not found["reasons"])
    return list(found["reasons"])


def test_house_in_order_is_ready(kept: House) -> None:
    assert reasons(kept) == []


def test_no_listener_is_a_reason(kept: House) -> None:
    assert reasons(kept, 0) == ["No listener is open."]


def test_shutting_down_is_the_reason_and_not_its_closed_listeners(kept: House) -> None:
    kept.station.shut = SHUT

    assert reasons(kept, 0) == ["It is shutting down."]


def test_ledger_that_took_no_write_for_long_is_a_reason(kept: House) -> None:
    kept.station.written_ns -= STALE_NS + 10**9

    [reason] = reasons(kept)

    assert reason.startswith("The ledger was last written ")


def test_ledger_that_cannot_be_read_is_a_reason(kept: House) -> None:
    kept.station.ledger.close()
    kept.home.database.unlink()

    assert reasons(kept) == ["The ledger cannot be read."]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_ledger_that_may_not_be_written_is_a_reason(kept: House) -> None:
    kept.home.database.chmod(0o400)

    assert reasons(kept) == ["The ledger may not be written."]


def test_full_disk_is_a_reason(kept: House, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(health.shutil, "disk_usage", lambda path: usage(1, 1, 0))

    assert reasons(kept) == ["No space is left for the ledger."]


def test_nothing_in_it_is_a_secret_or_a_path(kept: House) -> None:
    kept.station.ledger.close()

    text = str(readiness(kept.station, 0))

    assert str(kept.root) not in text
    assert kept.token not in text
