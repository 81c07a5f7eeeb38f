"""A program that can reach nothing but its workspace and the proxy, by bubblewrap.

It sees the file system as it is, to be read only; no process and no network of the machine; none of the
state folder, and none of the files with real keys. It may write to its workspace, to folders that are
named, and to copies that are gone when it ends (``home_copy``).

Source: https://github.com/containers/bubblewrap
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tollkeeper.launch import inside
from tollkeeper.launch.bridge import SOCKET
from tollkeeper.launch.home_copy import HomeCopy

PROGRAM: Final = "bwrap"

LOOPBACK: Final = "127.0.0.1"

_PRIVATE: Final = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - places that are made empty
"""Sockets of other programs, which would run commands outside for whoever asks, stand in these."""

_KERNEL: Final = ("/proc/sys", "/proc/sysrq-trigger")

_SOCKETS: Final = Path("/proc/net/unix")
_PATH: Final = 7  # the field of a line; sockets without a name have none

_SECONDS: Final = 10

_BRIDGE: Final = "/run/tollkeeper"

_TIOCSTI: Final = Path("/proc/sys/dev/tty/legacy_tiocsti")


_DEAF: Final = ("/bin/sh", "-c", 'trap "" INT TERM HUP QUIT; exec "$@"', "sh")
"""bubblewrap ends at a signal, and the program with it before it can say goodbye."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a sandbox is made of; all paths are absolute.

    Attributes:
        home: The user's home folder.
        copy: What stands in for it.
        workspace: May be written, and the program starts there.
        writable: Other folders that may be written.
        state: The state folder, which is not there inside.
        hidden: Files with real keys.
        bridge: The folder of the bridge's socket.
        port: Where the proxy seems to be, on loopback.
        shown: Files of the state folder that the program needs (roots to trust).
    """

    home: Path
    copy: HomeCopy
    workspace: Path
    writable: tuple[Path, ...]
    state: Path
    hidden: tuple[Path, ...]
    bridge: Path
    port: int
    shown: tuple[Path, ...] = ()

    def command(self, bubblewrap: str, program: Sequence[str], signals: int) -> list[str]:
        """The command line that runs ``program`` inside.

        Args:
            bubblewrap: Its path.
            signals: A file descriptor that is inherited: the reading end of a pipe of signals.
        """
        made = [*_DEAF, bubblewrap, *self._apart(), *self._files()]
        made += ["--chdir", str(self.workspace), "--", sys.executable, "-I", inside.__file__]
        return [*made, str(self.port), f"{_BRIDGE}/{SOCKET}", str(signals), *program]

    def _apart(self) -> Iterator[str]:
        yield from ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc")
        yield from ("--unshare-uts", "--unshare-cgroup-try", "--die-with-parent")
        yield from (
            "--cap-drop",
            "ALL",
        )  # root would keep them, and make all of this writable again
        if can_type_for_others():
            yield "--new-session"

    def _files(self) -> Iterator[str]:
        """Later ones stand over earlier ones."""
        yield from ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
        for figure in _KERNEL:  # root's to write, in whatever namespace
            yield from ("--ro-bind-try", figure, figure)
        for place in _PRIVATE:
            if Path(place).is_dir() and not Path(place).is_symlink():
                yield from ("--tmpfs", place)
        for needed in _interpreter():
            yield from ("--ro-bind", needed, needed)
        yield from ("--bind", str(self.copy.folder), str(self.home))
        for inner in self.copy.shown:
            yield from ("--ro-bind-try", str(self.home / inner), str(self.home / inner))
        for folder in (*self.writable, self.workspace):
            yield from ("--bind", str(folder), str(folder))
        yield from ("--tmpfs", str(self.state))
        for path in self.shown:
            yield from ("--ro-bind", str(path), str(path))
        for hidden in (*map(str, self.hidden), *sockets()):
            yield from ("--ro-bind", "/dev/null", hidden)
        yield from ("--ro-bind", str(self.bridge), _BRIDGE)


def _interpreter() -> list[str]:
    """What our own first process inside needs, where that stands in a place that is made empty."""
    needed = (sys.prefix, sys.base_prefix, os.path.dirname(inside.__file__))
    return [path for path in needed if path.startswith(tuple(f"{place}/" for place in _PRIVATE))]


def sockets() -> list[str]:
    """Sockets in the file system at which other programs listen.

    One of a container engine or a terminal runs commands outside for whoever connects, and a mount
    that is read-only keeps nobody from connecting.
    Source: https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
    """
    seen: set[str] = set()
    for line in _SOCKETS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]:
        path = line.split(maxsplit=7)[_PATH:]
        if path and path[0].startswith("/") and Path(path[0]).is_socket():
            seen.add(str(Path(path[0]).resolve()))
    return sorted(seen)


def objection(bubblewrap: str) -> str | None:
    """Why bubblewrap cannot make a sandbox on this machine, in its own words; None when it can."""
    asked = subprocess.run(  # noqa: S603 - as found on the path
        [bubblewrap, "--unshare-user", "--unshare-net", "--unshare-pid", "--ro-bind", "/", "/", "true"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_SECONDS,
    )  # fmt: skip
    return None if asked.returncode == 0 else asked.stderr.strip() or "it says nothing"


def can_type_for_others() -> bool:
    """Whether a program may put characters into the terminal as if its user had typed them.

    Then it must not share the terminal's session, though that costs it job control.
    Source: https://docs.kernel.org/admin-guide/sysctl/index.html (``legacy_tiocsti``),
    https://nvd.nist.gov/vuln/detail/CVE-2017-5226
    """
    try:
        return _TIOCSTI.read_text(encoding="ascii").strip() != "0"
    except OSError:
        return True
