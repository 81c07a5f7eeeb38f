"""One of several processes that race for the same limit: ``racer.py DATABASE OWNER ADMISSIONS LIMIT``.

LIMIT is ``budget``, ``rpm`` or ``quota``, each for exactly five calls; ``forever`` admits and settles
without a limit until the process is killed, writing the id of each call once it stands.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ledger.scripted import ATLAS, PRINCIPAL, ScriptedCase, measured
from tollkeeper.domain import Effect
from tollkeeper.ledger.sqlite import SqliteLedger

FIVE = {
    "budget": {"budgets": {ATLAS: 500}},
    "rpm": {"rpm": 5},
    "quota": {"quotas": {ATLAS: 5}},
    "forever": {"budgets": {ATLAS: 10**12}},
}


def main(database: str, owner: str, admissions: int, limit: str) -> None:
    ledger = SqliteLedger(Path(database), owner=owner, busy_timeout_ms=30_000)
    sys.stdin.readline()  # all begin together
    allowed = 0
    for number in range(admissions):
        now_ns = time.time_ns()
        case = ScriptedCase(now_ns=now_ns, **FIVE[limit])
        admission = ledger.admit(case, PRINCIPAL, now_ns)
        if admission.effect is Effect.ALLOW:
            allowed += 1
            # Half of them are settled at their full price, so that posted and pending both count.
            if number % 2:
                ledger.settle(admission.id, measured(100), time.time_ns())
            if limit == "forever":
                sys.stdout.write(f"{admission.id}\n")
                sys.stdout.flush()
    ledger.close()
    if limit != "forever":
        sys.stdout.write(str(allowed))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
