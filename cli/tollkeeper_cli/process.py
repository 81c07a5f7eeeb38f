"""The running proxy as seen from outside: found, started in the background, stopped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tollkeeper.errors import TollkeeperError, UsageError
from tollkeeper.home import Home
from tollkeeper.proxy.addresses import Address
from tollkeeper.proxy.processes import is_alive, is_zombie

DEFAULT_PORT: Final = 8080
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.05
_SHOWN_LINES: Final = 10


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that runs, from the file that it writes when it listens.

    Attributes:
        web: mitmweb's address, its token included, or None.
        policy: Path of its policy.
        digest: Of the policy it started with.
        listeners: All of them, ``host:port`` each, as they were opened.
        operator: ``host:port`` of its operator port, or None.
        grace_seconds: What calls under way get when it is told to stop.
        closing: How many calls it waits for, once it is told to stop, else None.
    """

    pid: int
    host: str
    port: int
    started_ns: int
    web: str | None = None
    policy: str = ""
    digest: str = ""
    listeners: tuple[str, ...] = ()
    operator: str | None = None
    grace_seconds: float = 0.0
    closing: int | None = None

    @property
    def address(self) -> str:
        """``host:port`` as a client on this machine reaches it."""
        return str(Address(self.host, self.port).near)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of all listeners, as a client on this machine reaches them."""
        found = (Address.parse(one).near for one in self.listeners)
        return tuple(str(one) for one in found) or (self.address,)


class ProxyError(TollkeeperError):
    """A proxy that would not start or stop."""


def running(home: Home) -> Running | None:
    """The proxy of this state folder, or None; a file left by a killed one is not believed.

    Neither is one from another host: a new container finds its volume with what the last one left.
    """
    try:
        data: dict[str, Any] = json.loads(home.process.read_text())
        found = Running(
            pid=int(data["pid"]),
            host=str(data.get("host") or "127.0.0.1"),
            port=int(data["port"]),
            started_ns=int(data.get("started_ns") or 0),
            web=data.get("web"),
            policy=str(data.get("policy") or ""),
            digest=str(data.get("digest") or ""),
            listeners=tuple(data.get("listeners") or ()),
            operator=data.get("operator"),
            grace_seconds=float(data.get("grace_seconds") or 0),
            closing=data.get("closing"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    owner = str(data.get("owner") or "")
    if owner.count("/") >= 2:
        here = owner.rsplit("/", 2)[0] == socket.gethostname()
        alive = here and is_alive(owner)
    else:
        alive = _runs(found.pid)
    return found if alive else None


def _runs(pid: int) -> bool:
    """Whether the process is there, and not one that has ended and waits to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not is_zombie(pid)


def environment_names(pid: int) -> frozenset[str] | None:
    """Names of a process's environment variables; None where the system does not show them.

    Source: proc_pid_environ(5); only the owner may read it.
    """
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (part.partition(b"=") for part in data.split(b"\0"))
    return frozenset(name.decode(errors="replace") for name, _, value in pairs if value)


def reachable(host: str, port: int, seconds: float = 1.0) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError:
        return False
    return True


@contextmanager
def starting(home: Home) -> Iterator[None]:
    """Held while one process starts a proxy, so that two `run` at once start one."""
    with (home.root / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(
    home: Home,
    *,
    listen: Sequence[Address],
    web: bool,
    policy: Path | None,
    more: Sequence[str] = (),
) -> Running:
    """Start a proxy in the background and wait until it listens.

    Args:
        listen: Port 0 takes a free one.
        more: Further options of ``up``.

    Raises:
        ProxyError: When it does not listen in time; the text ends with its last log lines.
    """
    command = [sys.executable, "-P", "-m", "tollkeeper_cli", "up", "--detached"]
    command += [word for one in listen for word in ("--listen", str(one))]
    command += more
    if web:
        command.append("--web")
    if policy is not None:
        command += ["--policy", str(policy.absolute())]
    output = _start_log(home)
    with output.open("wb") as file:
        output.chmod(0o600)
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            cwd=home.root, env=_environment(home),
        )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = running(home)
        if found is not None and found.pid == process.pid:
            return found
        if process.poll() is not None:
            raise ProxyError(_failure(home, f"The proxy stopped (exit code {process.returncode})"))
        time.sleep(_LOOK_SECONDS)
    process.terminate()
    raise ProxyError(_failure(home, f"The proxy did not listen within {START_SECONDS:.0f} s"))


def _environment(home: Home) -> dict[str, str]:
    """Ours, with names of folders that hold from another working directory too."""
    child = {**os.environ, "TOLLKEEPER_HOME": str(home.root.absolute())}
    if child.get("PYTHONPATH"):
        folders = child["PYTHONPATH"].split(os.pathsep)
        child["PYTHONPATH"] = os.pathsep.join(str(Path(folder).absolute()) for folder in folders)
    return child


def _start_log(home: Home) -> Path:
    """What a proxy prints before and beside its log."""
    return home.log.parent / "start.log"


def _failure(home: Home, what: str) -> str:
    """Its own error as it printed it, else the ends of both logs."""
    printed = last_lines(_start_log(home), 200)
    for number, line in enumerate(printed):
        if line.startswith("error: "):
            rest = "\n".join(printed[number + 1 :])
            return f"The proxy did not start: {line.removeprefix('error: ')}\n{rest}".rstrip()
    lines = [*printed[-_SHOWN_LINES:], *last_lines(home.log, _SHOWN_LINES)]
    return "\n".join([f"{what}:" if lines else f"{what} and said nothing.", *lines])


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log file, as it stands there; nothing when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 256 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = text.removesuffix("\n").split("\n") if text else []
    return lines[-count:] if count else []


def stop(
    home: Home, *, now: bool = False, progress: Callable[[int], None] = lambda calls: None
) -> Running | None:
    """End the proxy and wait for it; None when none ran. One that ends already is not hurried.

    Args:
        now: Do not wait for calls under way.
        progress: Told how many calls it waits for, whenever that changes.

    Raises:
        ProxyError: When it goes on, or belongs to somebody else.
    """
    found = running(home)
    if found is None:
        return None
    try:
        if now or found.closing is None:
            os.kill(found.pid, signal.SIGTERM)
        if now and found.closing is None:
            os.kill(found.pid, signal.SIGINT)  # two equal signals at once may arrive as one
    except PermissionError as e:
        raise UsageError(f"The proxy (pid {found.pid}) belongs to another user.") from e
    except ProcessLookupError:
        return found
    seconds = found.grace_seconds + STOP_SECONDS
    deadline, told = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        still = running(home)
        if still is None and not _runs(found.pid):
            return found
        if still is not None and still.closing and still.closing != told:
            told = still.closing
            progress(still.closing)
        time.sleep(_LOOK_SECONDS)
    raise ProxyError(f"The proxy (pid {found.pid}) still runs {seconds:.0f} s after SIGTERM.")
