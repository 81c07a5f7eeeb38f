from __future__ import annotations

import socket
import sys
from pathlib import Path

from tollkeeper.launch.home_copy import HomeCopy
from tollkeeper.launch.sandbox import Sandbox, objection, sockets


def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(
        home=Path("/home/me"),
        copy=HomeCopy(tmp_path, shown=[Path(".ssh")]),
        workspace=Path("/home/me/project"),
        writable=(Path("/srv/cache"),),
        state=Path("/home/me/.tollkeeper"),
        hidden=(Path("/etc/openai.key"),),
        bridge=Path("/tmp/tollkeeper-x"),
        port=8080,
        shown=(Path("/home/me/.tollkeeper/ca/bundle.pem"),),
    )


def position(command: list[str], *words: str) -> int:
    starts = [n for n in range(len(command)) if command[n : n + len(words)] == list(words)]
    assert len(starts) == 1, words
    return starts[0]


def test_what_is_hidden_stands_over_what_may_be_written(tmp_path: Path) -> None:
    command = sandbox(tmp_path).command("/usr/bin/bwrap", ["agent", "--go"], 7)

    order = [
        position(command, "--ro-bind", "/", "/"),
        position(command, "--tmpfs", "/tmp"),
        position(command, "--bind", str(tmp_path), "/home/me"),
        position(command, "--ro-bind-try", "/home/me/.ssh", "/home/me/.ssh"),
        position(command, "--bind", "/srv/cache", "/srv/cache"),
        position(command, "--bind", "/home/me/project", "/home/me/project"),
        position(command, "--tmpfs", "/home/me/.tollkeeper"),
        position(command, "--ro-bind", *["/home/me/.tollkeeper/ca/bundle.pem"] * 2),
        position(command, "--ro-bind", "/dev/null", "/etc/openai.key"),
    ]
    assert order == sorted(order)


def test_nothing_of_the_machine_is_shared_that_is_not_named(tmp_path: Path) -> None:
    command = sandbox(tmp_path).command("/usr/bin/bwrap", ["agent"], 7)

    for kind in ("user", "pid", "net", "ipc", "uts"):
        assert f"--unshare-{kind}" in command
    position(command, "--cap-drop", "ALL")
    assert "--die-with-parent" in command


def test_program_comes_last_behind_its_way_to_the_proxy(tmp_path: Path) -> None:
    command = sandbox(tmp_path).command("/usr/bin/bwrap", ["agent", "--go"], 7)

    start = command.index("--")
    assert command[start + 1 : start + 3] == [sys.executable, "-I"]
    assert command[start + 4 :] == ["8080", "/run/tollkeeper/proxy", "7", "agent", "--go"]


def test_sockets_of_the_file_system_are_found(tmp_path: Path) -> None:
    path = tmp_path / "with a space"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        found = sockets()

    assert str(path) in found


def test_what_cannot_make_a_sandbox_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)

    assert objection(str(broken)) == "No permissions to create a new namespace"
