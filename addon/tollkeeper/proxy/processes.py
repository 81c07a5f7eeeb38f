"""Which proxy process owns what: names that survive a reused pid."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner_name() -> str:
    """This process: host, pid and when it started, ``host/pid/start``."""
    return f"{socket.gethostname()}/{os.getpid()}/{started(os.getpid())}"


def started(pid: int) -> str:
    """The kernel's start time of a process, or ``"0"`` where it does not tell.

    Source: proc_pid_stat(5), field 22.
    """
    fields = _fields(pid)
    return fields[19] if fields else "0"


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and only its starter has not collected it yet.

    Some containers have nobody who ever does. Source: proc_pid_stat(5), field 3.
    """
    return _fields(pid)[:1] == ["Z"]


def _fields(pid: int) -> list[str]:
    """What the kernel says of a process, from the third field on; nothing where it says nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def is_alive(owner: str) -> bool:
    """Whether an owner's process still runs; one on another host is judged by its lease alone.

    A name that no proxy gives itself belongs to nobody who is alive.
    """
    host, pid, start = [*owner.rsplit("/", 2), "", ""][:3]
    if not pid.isdecimal():
        return False
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started(int(pid)) == start and not is_zombie(int(pid))
