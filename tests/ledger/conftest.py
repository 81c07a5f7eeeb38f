"""One ledger a test, on every engine that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.scripted import OPERATOR_KEY, with_atlas
from tollkeeper.ledger.sqlite import SqliteLedger

Opener = Callable[..., SqliteLedger]


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    """Opens the same books again and again, as several processes would."""
    opened: list[SqliteLedger] = []

    def another(**how: Any) -> SqliteLedger:
        ledger = SqliteLedger(tmp_path / "tollkeeper.db", **({"operator_key": OPERATOR_KEY} | how))
        opened.append(ledger)
        return ledger

    yield another
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(opener: Opener) -> SqliteLedger:
    """Books with the agent atlas in them."""
    return with_atlas(opener())
