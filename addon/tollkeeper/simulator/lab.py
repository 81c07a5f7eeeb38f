"""The simulator beside a test or a demo: in a thread or in a process of its own.

with in_thread(tmp_path) as lab:
    …                                  # lab.port, lab.certificate
    calls = lab.calls(received=1)      # waits for the first
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tollkeeper.errors import UsageError
from tollkeeper.simulator.server import Simulator

_START_S = 30.0
_SLACK_S = 30.0  # beyond what the watcher itself waits
# The watcher is on loopback: whatever proxy the environment names must not be asked.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Lab:
    """A running simulator, watched and steered over its control port.

    Attributes:
        port: Of the providers (TLS, any name).
        certificate: PEM file of their CA.
    """

    port: int
    control_port: int
    certificate: Path

    def calls(
        self, *, received: int = 0, ended: int = 0, seconds: float = 10.0
    ) -> list[dict[str, Any]]:
        """All calls, after so many came in and so many are over, or the time is up."""
        query = urlencode({"received": received, "ended": ended, "timeout": seconds})
        listed: list[dict[str, Any]] = self._ask("GET", f"/calls?{query}", seconds=seconds)
        return listed

    def bill(self) -> dict[str, Any]:
        """Totals of what was billed."""
        totals: dict[str, Any] = self._ask("GET", "/bill")
        return totals

    def order(self, words: str, *, times: int = 1, host: str | None = None) -> None:
        """Steers the next calls: directives as in ``[sim …]``."""
        self._ask("POST", "/order", {"words": words, "times": times, "host": host})

    def expect_keys(self, keys: Mapping[str, Sequence[str]]) -> None:
        """Only these keys are accepted from now on, by host."""
        self._ask("POST", "/keys", {host: list(values) for host, values in keys.items()})

    def reset(self) -> None:
        """Forgets calls, orders and keys."""
        self._ask("POST", "/reset", {})

    def _ask(self, method: str, path: str, body: Any = None, *, seconds: float = 0.0) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control_port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        with _OPENER.open(request, timeout=seconds + _SLACK_S) as answer:
            return json.load(answer)


def body_of(call: Mapping[str, Any]) -> bytes:
    """The request body of a listed call."""
    return base64.b64decode(call["body_base64"])


@contextmanager
def in_thread(folder: Path) -> Iterator[Lab]:
    """Runs the simulator in a thread; quick to start, shares the interpreter."""
    loop = asyncio.new_event_loop()
    simulator = Simulator(folder)
    loop.run_until_complete(simulator.start())
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        yield Lab(simulator.port, simulator.control_port, simulator.certificate)
    finally:
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(_START_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_S)
        loop.close()


@contextmanager
def in_process(folder: Path, *, port: int = 0) -> Iterator[Lab]:
    """Runs the simulator in a process of its own; for load, and to be killed.

    Raises:
        UsageError: It did not start.
    """
    command = [sys.executable, "-m", "tollkeeper.simulator"]
    command += ["--port", str(port), "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise UsageError(f"The simulator did not start (exit code {process.wait()}).")
            ready = json.loads(line)
            yield Lab(ready["port"], ready["control"], Path(ready["certificate"]))
        finally:
            process.terminate()
