"""A home folder of its own for a program in a sandbox, made anew for every run.

Files that stand in the home folder itself, and what agents keep there, are copies; the other folders
are the real ones, to be read only. Whatever the program writes there is gone when it ends, so that it
leaves no shell profile and no agent's setting behind that would later run outside.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tollkeeper.facts.tables import read_table

LARGEST_FILE_BYTES: Final = 1024 * 1024
"""A larger one standing in the home folder itself is no setting: it is shown, not copied."""

LARGEST_FOLDER_BYTES: Final = 64 * 1024 * 1024
"""An agent's folder beyond this (old conversations) would keep its user waiting."""

MOST_ENTRIES: Final = 2_000

_OPENED: Final = (".config", ".local", ".local/share", ".local/state")
"""Folders in which each program has one of its own: these are gone through, not shown whole."""

_EMPTY: Final = (".cache", ".npm")
"""Caches begin empty, because a program that reads them later would trust what was put there."""


@dataclass(slots=True)
class HomeCopy:
    """What came of a home folder.

    Attributes:
        folder: Stands in for it.
        shown: What is to be seen there as it is, relative to it, without being written.
        too_large: Agents' folders that were too large to copy; they are shown.
    """

    folder: Path
    shown: list[Path] = field(default_factory=list)
    too_large: list[Path] = field(default_factory=list)


def copy_home(home: Path, folder: Path) -> HomeCopy:
    """Fill ``folder`` to stand in for ``home``; what cannot be read is left out.

    Args:
        folder: Empty, and this user's alone.
    """
    made = HomeCopy(folder)
    kept = {Path(path) for entry in read_table("agent_state")["folders"] for path in entry["paths"]}
    opened = [Path(), *map(Path, _OPENED)]
    for inner in opened:
        if (home / inner).is_dir() and not (home / inner).is_symlink():
            (folder / inner).mkdir(exist_ok=True)
            for name in _names(home / inner):
                if inner / name not in opened or (home / inner / name).is_symlink():
                    _lay(home, inner / name, made, kept=inner / name in kept)
    for path in (*kept, *map(Path, _EMPTY)):
        if not path.suffix:
            _make(folder, path)
    return made


def _make(folder: Path, path: Path) -> None:
    """An empty folder where there is nothing; never by way of a link, which leads outside."""
    for ancestor in (*reversed(path.parents[:-1]), path):
        if (folder / ancestor).is_symlink():
            return
        (folder / ancestor).mkdir(exist_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())[:MOST_ENTRIES]
    except OSError:
        return []


def _lay(home: Path, path: Path, made: HomeCopy, *, kept: bool) -> None:
    """One entry of a folder that was opened."""
    source, target = home / path, made.folder / path
    if path in map(Path, _EMPTY):
        return
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        if kept and _copied(source, target):
            return
        if kept:
            made.too_large.append(path)
        target.mkdir()
        made.shown.append(path)
    elif source.is_file():
        _lay_file(source, target, path, made)


def _lay_file(source: Path, target: Path, path: Path, made: HomeCopy) -> None:
    try:
        if source.stat().st_size <= LARGEST_FILE_BYTES:
            shutil.copy2(source, target)
            return
    except OSError:
        return
    target.touch()
    made.shown.append(path)


def _copied(source: Path, target: Path) -> bool:
    """Copy a folder, unless it is too large; sockets and what cannot be read stay behind."""
    if sum(_sizes(source)) > LARGEST_FOLDER_BYTES:
        return False

    def passed_over(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if not _is_plain(Path(folder, name))]

    shutil.copytree(source, target, symlinks=True, ignore=passed_over)
    return True


def _sizes(folder: Path) -> Iterator[int]:
    for inner, _, names in folder.walk():
        for name in names:
            try:
                yield (inner / name).lstat().st_size
            except OSError:
                continue


def _is_plain(path: Path) -> bool:
    """Whether it is a link, or a folder or file that can be read."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
        elif stat.S_ISDIR(mode):
            next(path.iterdir(), None)
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
