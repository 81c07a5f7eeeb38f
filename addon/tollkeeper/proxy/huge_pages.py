"""Linux: what has been loaded lies in huge pages, so that a call needs fewer address translations.

One call touches some three thousand pages of 4 KiB all over the heap, more than a processor keeps
translations of. Measured with ``tests/bench/bench_proxy.py``: a tenth of a call's time, a few megabytes.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

HUGE_BYTES = 2 * 1024 * 1024

MAPPED = Path("/proc/self/maps")

ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""``always``, ``madvise`` or ``never``, the one in force in brackets.

Source: https://docs.kernel.org/admin-guide/mm/transhuge.html
"""

HUGEPAGE, COLLAPSE = 14, 25
"""Advice: huge pages are wanted; make them now, of what is there.

Source: https://man7.org/linux/man-pages/man2/madvise.2.html
"""


def use_huge_pages() -> None:
    """Ask for them once, for all that is there; where they are not to be had, nothing changes."""
    if sys.platform != "linux" or not are_allowed(ALLOWED):
        return
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for first, size_bytes in regions(MAPPED.read_text()):
        libc.madvise(first, size_bytes, HUGEPAGE)
        libc.madvise(first, size_bytes, COLLAPSE)


def are_allowed(enabled: Path) -> bool:
    """Whether this machine gives huge pages to whoever asks."""
    try:
        return "[never]" not in enabled.read_text()
    except OSError:
        return False


def regions(mapped: str) -> Iterator[tuple[int, int]]:
    """Address and size of all whole huge pages in the heap and in other memory that is no file's.

    Args:
        mapped: As in ``/proc/self/maps``: a line each, its range, rights, offset, device, inode, name.
    """
    for line in mapped.splitlines():
        where, rights, _, _, inode, *name = line.split()
        if inode != "0" or not rights.startswith("rw-p") or (name and name != ["[heap]"]):
            continue
        start, end = (int(one, 16) for one in where.split("-"))
        first, last = -(-start // HUGE_BYTES) * HUGE_BYTES, end // HUGE_BYTES * HUGE_BYTES
        if first < last:
            yield first, last - first
