"""Where `run` runs a program: beside us, or in a sandbox with nothing but its workspace and the proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper_cli import process
from tollkeeper_cli.output import escape, say

if TYPE_CHECKING:
    from tollkeeper.domain import Policy
    from tollkeeper.launch.sandbox import Sandbox


class Beside:
    """No sandbox: the program runs as its user does."""

    apart: Final = False

    def __init__(self, proxy: process.Running) -> None:
        """Reach the proxy where it is."""
        self.proxy = proxy

    def start(
        self, program: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Start it there.

        Raises:
            OSError: When it cannot be run.
        """
        return subprocess.Popen(program, env=environment, cwd=folder)  # noqa: S603 - what was asked for

    def send(self, child: subprocess.Popen[bytes], number: int) -> None:
        """Hand it a signal."""
        child.send_signal(number)

    def shares_terminal(self) -> bool:
        """Whether what is typed to end a program (Ctrl-C) reaches it without us."""
        return sys.stdin.isatty()


class Apart:
    """A sandbox, with its way to the proxy open."""

    apart: Final = True

    def __init__(self, proxy: process.Running, sandbox: Sandbox, bubblewrap: str) -> None:
        """Reach the proxy through the sandbox's bridge."""
        from tollkeeper.launch.sandbox import LOOPBACK

        self.proxy = replace(proxy, host=LOOPBACK)
        self.sandbox, self.bubblewrap = sandbox, bubblewrap
        self.reading, self.writing = os.pipe()

    def start(
        self, program: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Start it there.

        Raises:
            OSError: When bubblewrap cannot be run.
        """
        shown = _below(self.sandbox.state, environment)
        command = replace(self.sandbox, shown=shown).command(self.bubblewrap, program, self.reading)
        return subprocess.Popen(  # noqa: S603 - what was asked for
            command, env=environment, cwd=folder, pass_fds=[self.reading]
        )

    def send(self, child: subprocess.Popen[bytes], number: int) -> None:
        """Hand it a signal, through the pipe: bubblewrap would end without it."""
        os.write(self.writing, bytes([number]))

    def shares_terminal(self) -> bool:
        """Whether what is typed to end a program (Ctrl-C) reaches it without us."""
        from tollkeeper.launch.sandbox import can_type_for_others

        return sys.stdin.isatty() and not can_type_for_others()

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.reading)
        os.close(self.writing)


type Place = Beside | Apart


@contextmanager
def sandboxed(
    at: Home, policy: Policy, proxy: process.Running, workspace: Path, writable: Sequence[Path]
) -> Iterator[Apart]:
    """A sandbox for as long as it is entered; ``check_sandbox`` has been passed."""
    from tollkeeper.launch.bridge import Bridge
    from tollkeeper.launch.home_copy import copy_home
    from tollkeeper.launch.sandbox import Sandbox

    home, bubblewrap = Path.home().resolve(), find_bubblewrap()
    with (
        tempfile.TemporaryDirectory(prefix="tollkeeper-home-", ignore_cleanup_errors=True) as own,
        Bridge(proxy.host, proxy.port) as bridge,
    ):
        copy = copy_home(home, Path(own))
        for path in copy.too_large:
            say(f"tollkeeper: ~/{escape(path)} is too large to copy: it can be read, not written.")
        place = Apart(
            proxy,
            Sandbox(
                home=home,
                copy=copy,
                workspace=workspace.resolve(),
                writable=tuple(folder.resolve() for folder in writable),
                state=at.root.resolve(),
                hidden=key_files(policy),
                bridge=bridge.folder,
                port=proxy.port,
            ),
            bubblewrap,
        )
        try:
            yield place
        finally:
            place.close()


def check_sandbox(at: Home, folders: Sequence[Path]) -> None:
    """Refuse what could not become a sandbox, before anything is begun.

    Args:
        folders: That the program may write. What it writes to the home folder would run outside one
            day, and the state folder is what it is kept from.

    Raises:
        UsageError: With what to do.
    """
    find_bubblewrap()
    home = Path.home().resolve()
    if not home.is_dir() or home == Path(home.anchor):
        raise UsageError(f"--sandbox needs a home folder to stand in for, and HOME is {home}.")
    kept = {"your home folder": home, "the state folder": at.root.resolve()}
    for folder in folders:
        real = folder.resolve()
        if not real.is_dir():
            raise UsageError(f"{folder} is no folder.")
        for what, path in kept.items():
            if path.is_relative_to(real):
                raise UsageError(
                    f"{folder} holds {what}, which a sandbox must not write: name a project's folder."
                )


def find_bubblewrap() -> str:
    """The path of bubblewrap.

    Raises:
        UsageError: When it is not there, or may not make a sandbox.
    """
    from tollkeeper.launch.sandbox import PROGRAM, objection

    found = shutil.which(PROGRAM)
    if found is None:
        raise UsageError(
            "--sandbox needs bubblewrap (Linux), and there is no command `bwrap`: install the package"
            " `bubblewrap`."
        )
    why = objection(found)
    if why is not None:
        raise UsageError(
            f"bubblewrap cannot make a sandbox here ({why}): the system must allow user namespaces."
        )
    return found


def key_files(policy: Policy) -> tuple[Path, ...]:
    """The files from which the proxy reads secrets."""
    sources = [provider.key for provider in policy.providers.values()]
    named = [Path(source.file) for source in sources if source is not None and source.file]
    return tuple(sorted({path.resolve() for path in named if path.is_file()}))


def _below(state: Path, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files of the state folder that the environment names: roots to trust, nothing secret."""
    named = {Path(value).resolve() for value in environment.values() if value.startswith("/")}
    return tuple(sorted(path for path in named if path.is_relative_to(state) and path.is_file()))
