"""From a person's answer to the bytes at the provider, with 200 held flows on one proxy.

Run with ``python tests/bench/bench_hold.py [--held 200]``; needs the project installed. Another process
answers at random moments, then (a fresh 200) one after the other without a pause. Each figure is the
time in milliseconds from just before a verdict's transaction to the last byte of its request at the
simulated provider; all processes read the clock of one machine. Beside it, what a held flow adds to the
proxy's resident memory (Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.raw_client import CHAT, call
from e2e.world import Proxy, World
from tollkeeper.core import identity
from tollkeeper.domain import Verdict
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.simulator.lab import body_of, in_process

ASK = {"rules": [{"name": "ask", "call": {"model": "*"}, "hold": {}}]}
PATIENCE_SECONDS = 120
HELD_BY_ONE = 50  # below what one agent may have before a person at once
PAUSES_SECONDS = {"at random moments": 0.05, "one after the other": 0.0}


def text_of(body: bytes) -> str:
    """The prompt, which tells the calls apart."""
    text: str = json.loads(body)["messages"][0]["content"]
    return text


async def hold(plan: dict[str, Any]) -> None:
    """Make the calls at once, each with a prompt of its own, and wait for all answers."""
    bodies = [
        json.dumps(CHAT | {"messages": [{"role": "user", "content": f"call {number}"}]})
        for number in range(plan["held"])
    ]
    users = plan["users"]
    calls = [
        call(plan | {"body": body, "auth": users[number // HELD_BY_ONE]})
        for number, body in enumerate(bodies)
    ]
    answers = await asyncio.gather(*calls)
    odd = [answer for answer in answers if answer["status"] != 200]
    if odd:
        raise SystemExit(f"{len(odd)} calls were not answered with 200: {odd[0]}")


def answer_all(home: Home, pause_seconds: float) -> None:
    """Approve all that is open; prints by prompt when that began, in nanoseconds."""
    key = home.read_operator_key()
    ledger = SqliteLedger(home.database, operator_key=key)
    given = {}
    for approval in ledger.approvals():
        prompt = text_of(ledger.approval_body(approval.id))
        time.sleep(random.expovariate(1 / pause_seconds) if pause_seconds else 0)
        at_ns = given[prompt] = time.time_ns()
        seal = identity.seal(key, approval.id, approval.digest, "approved", "bench", "", at_ns)
        ledger.give_verdict(Verdict(approval.id, "approved", "bench", "", at_ns, seal))
    print(json.dumps(given))


def again(*arguments: str) -> subprocess.Popen[str]:
    """This program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True
    )


def wait_until_held(world: World, count: int) -> None:
    """Until so many flows are held."""
    ledger, deadline = world.ledger(), time.monotonic() + PATIENCE_SECONDS
    while sum(approval.waiting for approval in ledger.approvals()) < count:
        if time.monotonic() > deadline:
            raise SystemExit("Not all flows were held in time.")
        time.sleep(0.2)
    ledger.close()


def resident_kb(proxy: Proxy) -> int:
    """Resident memory of the proxy."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def measure(title: str, world: World, proxy: Proxy, held: int) -> None:
    """Hold, answer, print."""
    world.lab.reset()
    before = len(world.tokens)
    agents = [f"agent-{before + number}" for number in range(-(-held // HELD_BY_ONE))]
    users = [f"{agent}:{world.agent(agent)}" for agent in agents]
    plan = {"proxy": proxy.port, "users": users, "held": held}
    empty_kb = resident_kb(proxy)
    clients = again("--hold", json.dumps(plan | {"ca": str(world.home.ca_certificate)}))
    wait_until_held(world, held)
    each_kb = (resident_kb(proxy) - empty_kb) / held
    answering = again("--answer", str(world.home.root), str(PAUSES_SECONDS[title]))
    given: dict[str, int] = json.loads(answering.communicate(timeout=PATIENCE_SECONDS)[0])
    calls = world.lab.calls(received=held, seconds=PATIENCE_SECONDS)
    if clients.wait(timeout=PATIENCE_SECONDS):
        raise SystemExit(proxy.log.read_text()[-2000:])
    taken = sorted((one["received_ns"] - given[text_of(body_of(one))]) / 1e6 for one in calls)
    seconds = (max(given.values()) - min(given.values())) / 1e9
    print(
        f"{title:20} {len(taken)} held, answered in {seconds:4.1f} s:  p50 {statistics.median(taken):6.1f} ms"
        f"  p95 {statistics.quantiles(taken, n=20)[18]:6.1f} ms  max {taken[-1]:6.1f} ms  {each_kb:4.0f} kB a flow"
    )


def main() -> None:
    """Measure both ways of answering and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--held", type=int, default=200)
    options.add_argument("--hold", help=argparse.SUPPRESS)
    options.add_argument("--answer", nargs=2, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.hold:
        asyncio.run(hold(json.loads(asked.hold)))
    elif asked.answer:
        answer_all(Home(Path(asked.answer[0])), float(asked.answer[1]))
    else:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            lab = stack.enter_context(in_process(Path(name) / "lab"))
            world = World(Path(name), lab, stack)
            world.policy(dict(ASK))
            proxy = world.proxy()
            for title in PAUSES_SECONDS:
                measure(title, world, proxy, asked.held)


if __name__ == "__main__":
    main()
