"""Stock ``mitmdump -q`` against Tollkeeper, alternating in one run; prints ratios.

Tollkeeper runs with budgets, rates, a hundred rules and the record on. ``python tests/bench/bench_proxy.py
[--rounds 3] [--seconds 3]``; needs the project installed. Machines are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tollkeeper.core import identity
from tollkeeper.core.snapshot import AgentRecord, TokenRecord
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger

HERE = Path(__file__).parent

RULES = "\n".join(
    f"  - {{name: rule-{i}, call: {{priority: p{i}, expected_cost_usd: {{over: {i}}}}}, deny: no}}"
    for i in range(100)
)


def policy(port: int, trust: Path) -> str:
    """A policy with everything on that one call can meet."""
    return f"""
version: 1
providers:
  openai: {{connect_to: "127.0.0.1:{port}", trust: {trust}}}
teams:
  bench: {{budget_usd: {{month: 1000000}}}}
agents:
  bench:
    team: bench
    budget_usd: {{total: 1000000, day: 1000000}}
    requests: {{month: 100000000}}
    rpm: 10000000
    tpm: 1000000000
    concurrent: 1000
    max_output_tokens: 4096
rules:
{RULES}
examples:
  - given: {{agent: bench, call: {{model: gpt-4o-mini, prompt: hello}}}}
    expect: {{effect: allow}}
"""


def spawn(*command: str, **environment: str) -> subprocess.Popen[str]:
    """A process whose first output line tells that it is ready."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )


def start_tollkeeper(
    folder: Path, port: int, trust: Path, web: bool = False
) -> tuple[subprocess.Popen[str], int, str]:
    """A governed proxy with one agent; its process, port and credentials."""
    home = Home(folder / "home")
    home.make()
    home.policy.write_text(policy(port, trust))
    token = identity.new_token()
    ledger = SqliteLedger(home.database)
    now_ns = time.time_ns()
    ledger.create_agent(AgentRecord(name="bench", state="active", created_ns=now_ns), by="tester")
    ledger.add_token(
        TokenRecord(id="bench", agent="bench", created_ns=now_ns),
        identity.token_sha256(token),
        by="tester",
    )
    ledger.close()
    code = (
        "from tollkeeper.home import Home; from tollkeeper.proxy.serve import serve;"
        f"serve(Home.default(), port=0, web={0 if web else None},"
        " announce=lambda at: print(at.port, flush=True))"
    )
    process = spawn(sys.executable, "-c", code, TOLLKEEPER_HOME=str(home.root))
    assert process.stdout is not None
    return process, int(process.stdout.readline()), f"bench:{token}"


def start_stock(folder: Path, trust: Path) -> tuple[subprocess.Popen[str], int]:
    """mitmdump as it comes, quiet."""
    port = 18555
    mitmdump = Path(sys.executable).with_name("mitmdump")
    process = subprocess.Popen(
        [
            str(mitmdump),
            "-q",
            "-p",
            str(port),
            "--listen-host",
            "127.0.0.1",
            "--set",
            f"confdir={folder / 'stock'}",
            "--set",
            f"ssl_verify_upstream_trusted_ca={trust}",
        ],
        text=True,
    )
    for _ in range(300):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        time.sleep(0.1)
    return process, port


def load(plan: dict[str, Any]) -> dict[str, float]:
    """Run the load generator once."""
    done = subprocess.run(
        [sys.executable, str(HERE / "load.py"), json.dumps(plan)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        upstream = spawn(sys.executable, str(HERE / "upstream.py"), str(folder))
        assert upstream.stdout is not None
        port, trust = int(upstream.stdout.readline()), folder / "lab-ca.pem"
        ours, our_port, auth = start_tollkeeper(folder, port, trust)
        stock, stock_port = start_stock(folder, trust)
        sides = {
            "stock": {"proxy": stock_port, "target": f"localhost:{port}", "auth": "x:y"},
            "tollkeeper": {"proxy": our_port, "target": "api.openai.com:443", "auth": auth},
        }
        try:
            for connections in (1, 16, 64):
                compare(
                    f"{connections} connections",
                    asked.rounds,
                    sides,
                    {"connections": connections, "seconds": asked.seconds},
                )
            compare("100 streams", asked.rounds, sides, {"streams": 100})
            print(
                f"memory: stock {memory_mb(stock.pid):.0f} MB, tollkeeper {memory_mb(ours.pid):.0f} MB"
            )
        finally:
            for process in (ours, stock, upstream):
                process.kill()


def compare(
    title: str, rounds: int, sides: dict[str, dict[str, Any]], plan: dict[str, Any]
) -> None:
    """Alternate the two sides and print medians and the ratio of each figure."""
    got: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, where in sides.items():
            got[side].append(load(where | plan))
    for figure in got["stock"][0]:
        stock = statistics.median(run[figure] for run in got["stock"])
        ours = statistics.median(run[figure] for run in got["tollkeeper"])
        print(
            f"{title:>16}  {figure:7} stock {stock:9.2f}  tollkeeper {ours:9.2f}  ratio {ours / stock:.2f}"
        )


if __name__ == "__main__":
    main()
