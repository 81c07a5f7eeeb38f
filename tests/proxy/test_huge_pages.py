"""Huge pages are asked for where there is room for them, and change nothing that anybody reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tollkeeper.proxy.huge_pages import HUGE_BYTES, are_allowed, regions, use_huge_pages

MAPPED = """\
55d0c0000000-55d0c0001000 r--p 00000000 fe:00 4711                       /usr/bin/python3
55d0c0100000-55d0c0900000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
7f0000201000-7f0000600000 rw-p 00000000 00:00 0 \

7f0001000000-7f0001400000 rw-s 00000000 fe:00 12                         /home/me/ledger.db-shm
7f0002000000-7f0002400000 r-xp 00000000 fe:00 13                         /usr/lib/libpython.so
7f0003000000-7f0003400000 ---p 00000000 00:00 0
7ffe00000000-7ffe00400000 rw-p 00000000 00:00 0                          [stack]
7ffe00500000-7ffe00501000 rw-p 00000000 00:00 0                          [vvar]
"""


def test_whole_huge_pages_of_plain_memory_are_asked_for() -> None:
    assert list(regions(MAPPED)) == [
        (0x55D0C0200000, 3 * HUGE_BYTES),
        (0x7F0000000000, HUGE_BYTES),
        (0x7F0000400000, HUGE_BYTES),
    ]


@pytest.mark.parametrize(
    ("said", "allowed"),
    [("always [madvise] never\n", True), ("[always] madvise never\n", True), ("[never]\n", False)],
)
def test_who_runs_the_machine_decides(tmp_path: Path, said: str, allowed: bool) -> None:
    (tmp_path / "enabled").write_text(said)

    assert are_allowed(tmp_path / "enabled") is allowed
    assert not are_allowed(tmp_path / "missing")


def test_what_is_in_memory_stays_as_it_is() -> None:
    kept = [bytes([n % 251]) * 4096 for n in range(4096)]

    use_huge_pages()

    assert all(one == bytes([n % 251]) * 4096 for n, one in enumerate(kept))
