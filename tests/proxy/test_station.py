"""What the addons of one proxy process share."""

from __future__ import annotations

import gc

from proxy.house import House


def test_callers_are_forgotten_with_their_connection(house: House) -> None:
    client = house.connected()
    assert len(house.station.callers) == 1
    del client
    gc.collect()

    assert len(house.station.callers) == 0


def test_clock_counts_nanoseconds_since_the_epoch(house: House) -> None:
    assert house.station.now_ns() > 1_700_000_000 * 10**9
