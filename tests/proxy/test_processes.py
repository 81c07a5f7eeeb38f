"""Names of proxy processes that survive a reused pid."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tollkeeper.proxy.processes import is_alive, is_zombie, owner_name, started


def test_this_process_is_alive_under_its_own_name() -> None:
    host, pid, start = owner_name().rsplit("/", 2)

    assert (host, int(pid)) == (socket.gethostname(), os.getpid())
    assert int(start) > 0
    assert is_alive(owner_name())


def test_ended_process_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = f"{socket.gethostname()}/{child.pid}/{started(child.pid)}"
        assert is_alive(owner)

    assert not is_alive(owner)


def test_killed_process_that_nobody_has_collected_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = f"{socket.gethostname()}/{child.pid}/{started(child.pid)}"
        assert not is_zombie(child.pid)

        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and stays

        assert is_zombie(child.pid)
        assert not is_alive(owner)


def test_reused_pid_is_another_process() -> None:
    assert not is_alive(f"{socket.gethostname()}/{os.getpid()}/1")


def test_name_that_no_proxy_gives_itself_is_not_alive() -> None:
    assert not any(map(is_alive, ("", "dead", "a/b", "a/b/c", "17-abc", "//")))


def test_process_of_another_host_is_judged_by_its_lease_alone() -> None:
    assert is_alive("elsewhere/1/1")


def test_process_that_is_not_there_never_started() -> None:
    assert started(2**22 + 1) == "0"
