"""Resident memory of the proxy after 1,000 governed calls and after many, headless and with mitmweb.

``python tests/bench/bench_memory.py [--calls 30000] [--connections 16]`` prints both and their ratio;
``--web`` or ``--headless`` measures one of them. About a thousand calls take two seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_proxy import memory_mb, spawn, start_tollkeeper
from load import BODY, answered, connect, request

HERE = Path(__file__).parent

FIRST = 1_000
"""Calls before the first reading; everything has been loaded and used by then."""


async def ask(plan: dict[str, Any], calls: int) -> None:
    """Make so many calls over a few keep-alive connections, as agents do."""

    async def one(share: int) -> None:
        reader, writer = await connect(plan)
        wire = request(plan["target"], BODY)
        for _ in range(share):
            writer.write(wire)
            await answered(reader)
        writer.close()

    lanes = plan["connections"]
    await asyncio.gather(*(one(calls // lanes + (lane < calls % lanes)) for lane in range(lanes)))


def measure(folder: Path, upstream_port: int, calls: int, connections: int, *, web: bool) -> None:
    """One proxy from its start to its last call."""
    process, port, auth = start_tollkeeper(folder, upstream_port, folder.parent / "lab-ca.pem", web)
    plan = {
        "proxy": port,
        "target": "api.openai.com:443",
        "auth": auth,
        "connections": connections,
    }
    name = "mitmweb" if web else "headless"
    try:
        done, before = 0, 0.0
        for stop in (FIRST, *sorted({calls // 4, calls // 2, calls} - {FIRST})):
            asyncio.run(ask(plan, stop - done))
            done = stop
            time.sleep(1.5)  # leases, checkpoints and finished connections come round
            now = memory_mb(process.pid)
            before = before or now
            print(f"{name:>8} {done:>7} calls  {now:6.1f} MB  ratio {now / before:.3f}", flush=True)
    finally:
        process.kill()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--calls", type=int, default=30_000)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--web", action="store_true")
    options.add_argument("--headless", action="store_true")
    asked = options.parse_args()
    both = asked.web == asked.headless
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        upstream = spawn(sys.executable, str(HERE / "upstream.py"), str(folder))
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        try:
            for web in (False, True):
                if both or web == asked.web:
                    own = folder / ("web" if web else "headless")
                    own.mkdir()
                    measure(own, port, asked.calls, asked.connections, web=web)
        finally:
            upstream.kill()


if __name__ == "__main__":
    main()
