"""The file by which a running proxy is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tollkeeper.home import Home
from tollkeeper.proxy.process_file import ProcessFile


def test_file_is_written_whole_for_its_owner_alone_and_removed_by_him(tmp_path: Path) -> None:
    home = Home(tmp_path)
    file = ProcessFile(home)

    file.say(port=1)

    assert home.process.stat().st_mode & 0o777 == 0o600
    assert json.loads(home.process.read_text()) == {"pid": os.getpid(), "port": 1}
    file.remove()
    assert not home.process.exists()
    file.remove()


def test_what_is_said_later_is_added(tmp_path: Path) -> None:
    file = ProcessFile(Home(tmp_path))
    file.say(port=1, closing=None)

    file.say(closing=3)

    said = json.loads(file.home.process.read_text())
    assert (said["port"], said["closing"]) == (1, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["proxy.json"]


def test_file_of_another_process_stays_as_it_is(tmp_path: Path) -> None:
    file = ProcessFile(Home(tmp_path))
    file.say(port=1)
    file.home.process.write_text('{"pid": 1}')

    file.say(closing=1)
    file.remove()

    assert file.home.process.read_text() == '{"pid": 1}'
