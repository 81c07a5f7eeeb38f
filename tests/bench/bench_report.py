"""Seconds and bytes of reports over a ledger of many calls.

Run with ``python tests/bench/bench_report.py [CALLS]``; prints one line a figure. The ledger is filled
with plain rows (the proxy would take minutes), as they stand after a year of 20 agents and 12 models.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tollkeeper.core.identity import new_call_id
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger

YEAR_NS = 365 * 86400 * 10**9
MODELS = [f"model-{number}" for number in range(12)]
CODES = ['["budget_exhausted"]', '["rate_limited"]', '["policy_denied","rate_limited"]']
COMMANDS = (
    ["report", "--since", "400d", "--output"],
    ["report", "--since", "400d"],
    ["budget", "spent", "--by", "model,day"],
    ["budget", "spent", "--by", "agent"],
    ["export", "calls", "--output"],
)


def calls(count: int) -> Iterator[dict[str, Any]]:
    """Rows of calls, a tenth of them refused."""
    dice, start_ns = random.Random(7), time.time_ns() - YEAR_NS
    for number in range(count):
        at_ns = start_ns + YEAR_NS * number // count
        refused, agent = dice.random() < 0.1, dice.randrange(20)
        cost = None if refused else dice.randrange(10**5, 10**8)
        yield {
            "id": new_call_id(at_ns, dice.randbytes(16)), "at_ns": at_ns, "booked_ns": at_ns,
            "agent": f"agent-{agent}", "team": f"team-{agent % 4}", "run": f"run-{number // 100}",
            "provider": "openai", "model": dice.choice(MODELS), "operation": "chat", "stream": 1,
            "state": "refused" if refused else "settled", "effect": "deny" if refused else "allow",
            "codes": dice.choice(CODES) if refused else "[]", "subjects": 0 if refused else 2,
            "reservation": None if refused else 4 * number + 1, "worst_nano_usd": 2 * 10**8,
            "bound_input_tokens": 1000, "bound_output_tokens": 1000, "cost_nano_usd": cost,
            "basis": None if refused else dice.choice(["measured"] * 9 + ["estimated"]),
            "outcome": None if refused else "complete", "status": 200,
            "input_tokens": None if refused else 800, "output_tokens": None if refused else 200,
            "settled_ns": at_ns + dice.randrange(10**8, 10**10), "model_key": "openai/x",
            "owner": "p1:x", "rated": 0,
        }  # fmt: skip


def fill(database: Path, count: int) -> None:
    """Write the calls, their transfers and their records."""
    SqliteLedger(database, operator_key=b"k" * 32).close()
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")
    agents = [(f"agent-{n}", f"agent-{n - 10}" if n >= 10 else None) for n in range(20)]
    connection.executemany("INSERT INTO agents VALUES (?, 'active', ?, '{}', 0)", agents)
    batch: list[dict[str, Any]] = []
    for row in calls(count):
        batch.append(row)
        if len(batch) == 20_000:
            write(connection, batch)
            batch = []
    write(connection, batch)
    connection.close()


def write(connection: sqlite3.Connection, batch: list[dict[str, Any]]) -> None:
    if not batch:
        return
    names = list(batch[0])
    marks = ", ".join(f":{name}" for name in names)
    connection.executemany(f"INSERT INTO calls ({', '.join(names)}) VALUES ({marks})", batch)
    connection.executemany(
        "INSERT INTO transfers (id, call, subject, kind, amount_nano_usd, released_nano_usd, calls,"
        " resolves, booked_ns, at_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [transfer for row in batch if row["reservation"] for transfer in transfers(row)],
    )
    connection.executemany(
        "INSERT INTO audit (at_ns, kind, actor, call, data, previous, hash)"
        " VALUES (?, ?, ?, ?, ?, 'x', 'x')",
        [
            (row["at_ns"], kind, row["agent"], row["id"], '{"model":"x"}' + " " * 200)
            for row in batch
            for kind in ("admitted", "settled")
        ],
    )
    connection.commit()


def transfers(row: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    first, at_ns, worst = row["reservation"], row["at_ns"], row["worst_nano_usd"]
    for place, subject in enumerate((f"agent:{row['agent']}", f"team:{row['team']}")):
        yield first + place, row["id"], subject, "pending", worst, 0, 1, None, at_ns, at_ns
        yield (first + 2 + place, row["id"], subject, "post", row["cost_nano_usd"], worst, 0,
               first + place, at_ns, at_ns)  # fmt: skip


def main(count: int) -> None:
    """Fill, and time each command in a process of its own, as a user starts it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.make()
        home.policy.write_text("version: 1\nagents:\n  default: {budget_usd: {month: 100}}\n")
        fill(home.database, count)
        print(f"{count} calls, {home.database.stat().st_size / 2**20:.0f} MiB")
        for number, words in enumerate(COMMANDS):
            target = [str(Path(folder) / f"out{number}.html")] if words[-1] == "--output" else []
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "tollkeeper_cli", *words, *target], check=True,
                capture_output=True, env={**os.environ, "TOLLKEEPER_HOME": str(home.root)},
            )  # fmt: skip
            seconds = time.perf_counter() - started
            size = Path(target[0]).stat().st_size if target else len(done.stdout)
            print(f"{' '.join(words):45} {seconds:7.2f} s {size / 1024:10.1f} KiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
