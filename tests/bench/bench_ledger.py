"""Medians of one admission and one settlement, with budgets on four accounts, in microseconds.

Run with ``python tests/bench/bench_ledger.py [CALLS]``; prints one line a figure.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parents[1]))

from ledger.scripted import ATLAS, ATLAS_TODAY, HOUR, PRINCIPAL, ScriptedCase, measured, with_atlas
from tollkeeper.domain import Account, Window
from tollkeeper.ledger.sqlite import SqliteLedger

ACCOUNTS = (
    ATLAS,
    ATLAS_TODAY,
    Account("team:research", Window.MONTH, 0, ATLAS_TODAY.resets_ns),
    Account("run:nightly", Window.RUN),
)
SUBJECTS = ("agent:atlas", "team:research", "run:nightly")


def measure(calls: int, durability: str) -> None:
    """One process, one call after the other, each settled before the next."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = with_atlas(SqliteLedger(Path(folder) / "bench.db", durability=durability))
        admitted, settled = [], []
        now_ns = ATLAS_TODAY.starts_ns + HOUR
        for number in range(calls):
            now_ns += 10_000_000
            case = ScriptedCase(
                budgets=dict.fromkeys(ACCOUNTS, 10**15), subjects=SUBJECTS, rpm=100_000,
                tpm=10**9, prefixes=tuple(f"{number - back:064x}" for back in range(8)),
                now_ns=now_ns,
            )  # fmt: skip
            started = time.perf_counter_ns()
            admission = ledger.admit(case, PRINCIPAL, now_ns)
            between = time.perf_counter_ns()
            ledger.settle(admission.id, measured(60), now_ns + 1_000_000)
            settled.append(time.perf_counter_ns() - between)
            admitted.append(between - started)
            if number % 2000 == 1999:
                ledger.tidy(now_ns)
        ledger.close()
    for name, times in (("admit", admitted), ("settle", settled)):
        p99 = quantiles(times, n=100)[98]
        print(
            f"{durability:8} {name:7} median {median(times) / 1000:7.1f} µs  p99 {p99 / 1000:7.1f} µs"
        )


if __name__ == "__main__":
    for how in ("process", "power"):
        measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5000, how)
