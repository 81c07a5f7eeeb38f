"""``python -m fuzz [TARGET SECONDS [SEED]]``: look for bytes that break a parser's promise.

A finding is printed with its bytes and ends the run with exit code 1. ``all`` goes through every target.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from fuzz.mutations import mutated
from fuzz.targets import TARGETS, Target

SLOW_SECONDS = 5.0
LONGEST_BYTES = 64 * 1024
MOST_MEMORY_MB = 2048


def blindly(name: str, target: Target, seconds: float, seed: int) -> int:
    """Mutations of the seeds, without knowing what they reach."""
    dice, tried, ends = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        data = mutated(target.seeds or (b"",), dice)
        began = time.process_time()
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            print(f"{name}: {type(error).__name__}: {error}\n{data!r}")
            return 1
        if time.process_time() - began > SLOW_SECONDS:
            print(f"{name}: slower than {SLOW_SECONDS} s\n{data!r}")
            return 1
        tried += 1
    print(f"{name}: {tried} tried, nothing found (seed {seed}, not guided)")
    return 0


def guided(name: str, target: Target, seconds: float, seed: int) -> int:
    """By libFuzzer, through atheris, which must import the parsers itself to see their branches."""
    import atheris

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as folder:
        for n, body in enumerate(target.seeds):
            Path(folder, str(n)).write_bytes(body)
        options = [
            f"-max_total_time={seconds:.0f}", f"-seed={seed}", f"-max_len={LONGEST_BYTES}",
            f"-rss_limit_mb={MOST_MEMORY_MB}", f"-timeout={SLOW_SECONDS:.0f}", "-print_final_stats=1",
            "-verbosity=0", folder,
        ]  # fmt: skip
        atheris.Setup([name, *options], target.check)
        atheris.Fuzz()
    return 0


def main(arguments: list[str]) -> int:
    """Fuzz what was asked for; without arguments, name the targets."""
    if not arguments:
        print("\n".join(TARGETS))
        return 0
    name, seconds, seed = arguments[0], float(arguments[1]), int((*arguments[2:], "1")[0])
    if name == "all":
        codes = [
            subprocess.run([sys.executable, "-m", "fuzz", one, str(seconds), str(seed)], check=False)
            for one in TARGETS
        ]  # fmt: skip
        return int(any(done.returncode for done in codes))
    way = guided if find_spec("atheris") else blindly
    return way(name, TARGETS[name], seconds, seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
