"""How long a person waits for the command line: median wall time of short commands.

Run with ``python tests/bench/bench_cli.py [--rounds 15]``; needs the project installed. The commands take turns,
so that a noisy moment does not meet one of them alone; ``python -c pass`` stands beside them as what
the interpreter itself needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.raw_client import CHAT
from e2e.world import World
from tollkeeper.simulator.lab import in_process

COMMANDS = {
    "--version": ["--version"],
    "status": ["status"],
    "agent list": ["agent", "list"],
    "approval list": ["approval", "list"],
    "budget show": ["budget", "show"],
    "policy check": ["policy", "check"],
    "model list": ["model", "list"],
}
RULES = {"rules": [{"name": "ask", "call": {"prompt": "*deploy*"}, "hold": {}}]}


def furnish(world: World) -> None:
    """Ten agents with budgets, forty settled calls and one that waits for a person."""
    world.policy(dict(RULES))
    for number in range(10):
        world.agent(f"agent-{number}", budget_nano_usd={"day": 10**9, "total": 10**10})
    proxy = world.proxy()
    for agent in world.tokens:
        world.calls(proxy, 4, agent=agent)
    waiting = CHAT | {"messages": [{"role": "user", "content": "deploy it"}]}
    world.start_clients(proxy, 1, agent="agent-0", body=json.dumps(waiting))
    world.waits_for_approval()


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one command, from start to end."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    return taken


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        world = World(Path(name), stack.enter_context(in_process(Path(name) / "lab")), stack)
        furnish(world)
        environment = os.environ | {"TOLLKEEPER_HOME": str(world.home.root)}
        commands = {"python -c pass": [sys.executable, "-c", "pass"]} | {
            title: [sys.executable, "-m", "tollkeeper_cli", *words]
            for title, words in COMMANDS.items()
        }
        taken: dict[str, list[float]] = {title: [] for title in commands}
        for _ in range(rounds):
            for title, command in commands.items():
                taken[title].append(seconds(command, environment))
    for title, times in taken.items():
        print(f"{title:16} median {statistics.median(times):.3f} s  fastest {min(times):.3f} s")


if __name__ == "__main__":
    main()
