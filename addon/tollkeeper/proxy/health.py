"""Whether calls would be taken at this moment, and if not, why."""

from __future__ import annotations

import os
import shutil
from typing import Any

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import LedgerError
from tollkeeper.proxy.station import Station

STALE_NS = 15 * NS_PER_SECOND
"""Housekeeping writes to the ledger every three seconds and waits up to five for other processes; what
was not written for as long as this cannot be written."""

LEAST_FREE_BYTES = 1024 * 1024
"""Below it the next transactions may find no space."""


def readiness(station: Station, listeners: int) -> dict[str, Any]:
    """Ready or not, with reasons that tell no secrets; reads the ledger, so call it in a thread.

    Args:
        listeners: How many are open.
    """
    reasons = []
    if station.shut is not None:
        reasons.append("It is shutting down.")
    elif not listeners:
        reasons.append("No listener is open.")
    reasons += ledger_reasons(station)
    file = station.policy_file
    return {
        "ready": not reasons,
        "reasons": reasons,
        "policy": {
            "digest": file.policy.digest,
            "mode": str(file.policy.mode),
            "newest_edit_is_broken": file.broken is not None,
        },
    }


def ledger_reasons(station: Station) -> list[str]:
    """Why the ledger would not take a reservation: seen by writes that happen anyway, and by reading.

    A probe of its own that wrote would stand in the calls' way.
    """
    path = station.home.database
    try:
        list(station.ledger.rows("SELECT max(seq) FROM audit"))
        free_bytes = shutil.disk_usage(path.parent).free
    except (LedgerError, OSError):
        return ["The ledger cannot be read."]
    if not os.access(path, os.W_OK):
        return ["The ledger may not be written."]
    if free_bytes < LEAST_FREE_BYTES:
        return ["No space is left for the ledger."]
    silent_ns = station.now_ns() - station.written_ns
    if silent_ns > STALE_NS:
        return [f"The ledger was last written {silent_ns // NS_PER_SECOND} s ago."]
    return []
