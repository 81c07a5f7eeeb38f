"""A short slice of ``fuzz_door.py``, the same each time."""

from __future__ import annotations

from pathlib import Path

from e2e.fuzz_door import ATTEMPTS_A_ROUND, fuzz
from tollkeeper.simulator.lab import Lab


def test_proxy_bears_a_fuzzer_and_every_forward_is_on_the_books(
    session_lab: Lab, tmp_path: Path
) -> None:
    session_lab.reset()

    done = fuzz(session_lab, tmp_path, 20261121, seconds=600, rounds=2)

    assert done.attempts.total() == 2 * ATTEMPTS_A_ROUND
