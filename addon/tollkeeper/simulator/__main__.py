"""``python -m tollkeeper.simulator``: the simulated providers as a process of their own.

Prints one JSON line when ready: ``{"port": …, "control": …, "certificate": …, "pid": …}``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tollkeeper.simulator.server import Simulator


async def serve(folder: Path, port: int, control_port: int) -> None:
    """Runs until SIGTERM or SIGINT."""
    simulator = Simulator(folder, port=port, control_port=control_port)
    await simulator.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ready = {
        "port": simulator.port,
        "control": simulator.control_port,
        "certificate": str(simulator.certificate),
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await simulator.stop()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m tollkeeper.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the providers; 0 chooses one")
    parser.add_argument("--control", type=int, default=0, help="of the watcher; 0 chooses one")
    parser.add_argument(
        "--folder", "--ca-folder", type=Path, required=True, help="where lab-ca.pem is written"
    )
    given = parser.parse_args()
    asyncio.run(serve(given.folder, given.port, given.control))


if __name__ == "__main__":
    main()
