from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tollkeeper.launch import home_copy
from tollkeeper.launch.home_copy import LARGEST_FILE_BYTES, HomeCopy, copy_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def copied(home: Path) -> HomeCopy:
    folder = home.parent / "copy"
    folder.mkdir()
    return copy_home(home, folder)


def test_files_of_the_home_folder_and_of_agents_are_copies(home: Path) -> None:
    (home / ".claude" / "commands").mkdir(parents=True)
    for name in (".bashrc", ".claude.json", ".claude/settings.json", ".claude/commands/a.md"):
        (home / name).write_text(name)

    made = copied(home)

    assert made.shown == []
    for name in (".bashrc", ".claude.json", ".claude/settings.json", ".claude/commands/a.md"):
        assert (made.folder / name).read_text() == name
        assert not (made.folder / name).is_symlink()


def test_other_folders_are_shown_and_not_copied(home: Path) -> None:
    for name in (".ssh", "work", ".config/gh", ".local/bin"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text("large")

    made = copied(home)

    assert sorted(map(str, made.shown)) == [".config/gh", ".local/bin", ".ssh", "work"]
    assert list((made.folder / "work").iterdir()) == []


def test_agents_find_a_folder_to_write_to_where_there_was_none(home: Path) -> None:
    made = copied(home)

    for name in (".claude", ".codex", ".gemini", ".config/opencode", ".cache"):
        assert (made.folder / name).is_dir()


def test_caches_begin_empty(home: Path) -> None:
    (home / ".cache" / "pip").mkdir(parents=True)

    made = copied(home)

    assert list((made.folder / ".cache").iterdir()) == []
    assert made.shown == []


def test_links_stay_links_and_nothing_is_made_behind_them(home: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (home / ".config").symlink_to(dotfiles)
    (home / ".claude").symlink_to(dotfiles / "claude")

    made = copied(home)

    assert (made.folder / ".config").readlink() == dotfiles
    assert (made.folder / ".claude").readlink() == dotfiles / "claude"
    assert list(dotfiles.iterdir()) == []


def test_large_file_is_shown(home: Path) -> None:
    with (home / "disk.img").open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)

    made = copied(home)

    assert made.shown == [Path("disk.img")]
    assert (made.folder / "disk.img").stat().st_size == 0


def test_agents_folder_that_is_too_large_is_shown_and_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_copy, "LARGEST_FOLDER_BYTES", 10)
    (home / ".codex").mkdir()
    (home / ".codex" / "history.jsonl").write_text("more than ten bytes")

    made = copied(home)

    assert made.too_large == made.shown == [Path(".codex")]


def test_sockets_pipes_and_what_cannot_be_read_stay_behind(home: Path) -> None:
    (home / ".gemini").mkdir()
    os.mkfifo(home / ".gemini" / "pipe")
    os.mkfifo(home / "pipe")
    (home / ".gemini" / "kept").write_text("kept")
    with socket.socket(socket.AF_UNIX) as made_socket:
        made_socket.bind(str(home / ".gemini" / "s"))

        made = copied(home)

    assert [path.name for path in (made.folder / ".gemini").iterdir()] == ["kept"]
    assert not (made.folder / "pipe").exists()
