"""What one proxy process shares, and that its ledger is the one that all others see."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from proxy.house import House
from tollkeeper.errors import LedgerError
from tollkeeper.proxy.station import file_id


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_ledger_that_lies_elsewhere_now_is_not_written(house: House, how: str) -> None:
    house.home.database.rename(house.root / "moved.db")
    if how == "replaced":
        house.home.database.touch()

    with pytest.raises(LedgerError, match="restart"):
        asyncio.run(house.station.write(lambda: "written"))


def test_missing_file_is_no_file() -> None:
    assert file_id(Path("/nowhere/at/all")) is None


def test_callers_are_forgotten_with_their_connection(house: House) -> None:
    client = house.connected()
    assert len(house.station.callers) == 1
    del client
    gc.collect()

    assert len(house.station.callers) == 0


def test_clock_counts_nanoseconds_since_the_epoch(house: House) -> None:
    assert house.station.now_ns() > 1_700_000_000 * 10**9
