"""How well the operating system keeps an agent from the operator's side; the README tells more."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tollkeeper.core.identity import TOKEN_PREFIX
from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper_cli.output import escape


class Level(StrEnum):
    """What a program started here can reach."""

    SAME_USER = "same-user"
    OTHER_USER = "other-user"
    SANDBOXED = "sandboxed"


_LISTENS: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def level(at: Home) -> Level:
    """The level of a program that this user starts.

    ``other-user`` is said only where the system shows that the proxy of this environment belongs to
    another user than this one, who cannot read the operator's key either.
    """
    port = agents_port()
    if port is None or os.geteuid() == 0 or can_read(at):
        return Level.SAME_USER
    owner = listener_uid(port)
    return Level.SAME_USER if owner in (None, os.geteuid()) else Level.OTHER_USER


def agents_port() -> int | None:
    """The proxy's port where this environment is that of an agent."""
    try:
        proxy = urlsplit(os.environ.get("HTTPS_PROXY", ""))
        return proxy.port if (proxy.password or "").startswith(TOKEN_PREFIX) else None
    except ValueError:
        return None


def listener_uid(port: int) -> int | None:
    """Who listens on a port of this machine; None where the system does not tell.

    Source: https://www.kernel.org/doc/Documentation/networking/proc_net_tcp.txt
    """
    for table in _TABLES:
        if not table.exists():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                return int(fields[7])
    return None


def can_read(at: Home) -> bool:
    """Whether this user can read the operator's key."""
    try:
        with at.operator_key.open("rb"):
            return True
    except OSError:
        return False


def is_closed(at: Home) -> bool:
    """Whether there is a state folder that this user is kept out of."""
    try:
        at.operator_key.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not can_read(at)


def check_operator(at: Home) -> None:
    """Refuse what only the owner of the state folder can do.

    Raises:
        UsageError: With the way that is there for other users.
    """
    if is_closed(at):
        raise UsageError(
            f"{at.root} belongs to another user, and that is well: ask its owner for the lines of "
            "`tollkeeper env NAME`, which make this shell an agent's (level other-user)."
        )


def explain(at: Home, *, sandboxed: bool = False) -> str:
    """The level, and what follows from it, in one line."""
    if sandboxed:
        return (
            f"{Level.SANDBOXED}: the agent reaches nothing of {escape(at.root)} and no network but the"
            " proxy; it writes to its workspace only"
        )
    if level(at) is Level.OTHER_USER:
        return (
            "other-user: programs started here cannot read the operator's key; only a firewall makes"
            " the proxy their only way out"
        )
    who = "as root" if os.geteuid() == 0 else "as you"
    return (
        f"same-user: the agent runs {who}, so it could read {escape(at.root)} and answer its own"
        " holds; `--sandbox`, or another OS user, prevents that."
    )
