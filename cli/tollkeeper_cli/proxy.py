"""`up`, `down`, `status`, `logs`, `script`: the proxy process."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tollkeeper.errors import TollkeeperError
from tollkeeper.home import Home
from tollkeeper_cli import process, reports, state
from tollkeeper_cli.output import escape, print_facts, say
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns, span

if TYPE_CHECKING:
    from tollkeeper.proxy.serve import Listening

WEB_PORT: Final = 8081
LOG_BYTES: Final = 10 * 1024 * 1024
LOG_FILES: Final = 3
_FOLLOW_SECONDS: Final = 0.2

PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="F", help="Use this policy file or folder.", show_default=False
    ),
]


class Escaping(logging.Formatter):
    """Log lines in which nothing from a request can forge a line or reach the terminal raw."""

    def format(self, record: logging.LogRecord) -> str:
        """Escaped; the lines after the first are indented."""
        return escape(super().format(record), lines=True).replace("\n", "\n    ")


def up(
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", help="Listen here; 0 takes a free port.")
    ] = (process.DEFAULT_PORT),
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen on this address.")
    ] = "127.0.0.1",
    web: Annotated[
        bool, typer.Option("--web", help="Open mitmweb beside it, on loopback.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    policy: PolicyOption = None,
    detached: Annotated[bool, typer.Option("--detached", hidden=True)] = False,
) -> None:
    """Start the proxy."""
    at = state.made_home()
    found = process.running(at)
    if found is not None:
        raise TollkeeperError(f"A proxy runs already on {found.address} (pid {found.pid}).")
    if detach:
        with process.starting(at):
            found = process.start(at, host=host, port=port, web=web, policy=policy)
        print(f"Tollkeeper listens on {found.address} (pid {found.pid}).")
        _print_web(found.web)
        return
    from tollkeeper.proxy.serve import serve

    _log_to(at, terminal=not detached)

    def announce(listening: Listening) -> None:
        if detached:
            return
        print(
            f"Tollkeeper listens on {listening.host}:{listening.port}. Ctrl-C stops it.", flush=True
        )
        _print_web(listening.web_url)

    code = serve(
        at, host=host, port=port, policy=policy, web=_web_port() if web else None, announce=announce
    )
    raise typer.Exit(code)


def _web_port() -> int:
    """The usual one, or a free one where that is taken."""
    return 0 if process.reachable("127.0.0.1", WEB_PORT) else WEB_PORT


def _print_web(url: str | None) -> None:
    if url:
        base, question, token = url.partition("?")
        print(f"mitmweb: {escape(url)}", flush=True)
        cockpit = f"{base.rstrip('/')}/tollkeeper{question}{token}"
        print(f"cockpit: {escape(cockpit)}", flush=True)


def _log_to(at: Home, *, terminal: bool) -> None:
    at.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        RotatingFileHandler(at.log, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    ]
    at.log.chmod(0o600)
    if terminal:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(Escaping("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("tollkeeper").setLevel(logging.INFO)


def down() -> None:
    """Stop the proxy."""
    found = process.stop(state.made_home())
    if found is None:
        say("No proxy runs.")
        return
    print(f"Stopped the proxy on {found.address} (pid {found.pid}).")


def status(json_: Json = False) -> None:
    """Is it running, with which policy, what waits for you?

    Exit code 1 when it is down.
    """
    at = state.made_home()
    found = process.running(at)
    facts: dict[str, Any] = {"running": found is not None}
    if found is not None:
        facts |= {
            "address": found.address,
            "pid": found.pid,
            "up_since_ns": found.started_ns,
            "uptime": span(now_ns() - found.started_ns),
            "reachable": process.reachable(*_split(found.address)),
            "web": found.web,
        }
    facts["policy"] = str(state.policy_path(at))
    facts |= _from_the_books(at, up=found is not None)
    print_facts(facts, json_=json_)
    if found is None:
        say("The proxy is down: start it with `tollkeeper up`.")
        raise typer.Exit(1)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _from_the_books(at: Home, *, up: bool) -> dict[str, Any]:
    with state.open_ledger(at) as ledger:
        loaded = reports.policy_in_force(ledger) if up else None
        facts: dict[str, Any] = {}
        if loaded is not None:
            facts = {"digest": str(loaded.get("digest"))[:12], "mode": loaded.get("mode")}
            if loaded.get("problem"):
                facts["newest edit not in force"] = loaded["problem"]
        return facts | {
            "open_approvals": len(ledger.approvals()),
            "spent_today_nano_usd": reports.spent_since(ledger, reports.start_of_day(at, now_ns())),
        }


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many from the end.")
    ] = 40,
) -> None:
    """Show the proxy's log."""
    at = state.made_home()
    if not at.log.exists() and not follow:
        say("No log yet: the proxy has not run.")
        return
    for line in process.last_lines(at.log, lines):
        print(line)
    if follow:
        for line in _new_lines(at.log):
            print(line, flush=True)


def _new_lines(path: Path) -> Iterator[str]:
    """Lines as they are written, over rotations of the file."""
    rest = ""
    position = path.stat().st_size if path.exists() else 0
    inode = path.stat().st_ino if path.exists() else 0
    while True:
        try:
            now = path.stat()
        except FileNotFoundError:
            time.sleep(_FOLLOW_SECONDS)
            continue
        if now.st_ino != inode or now.st_size < position:
            position, inode = 0, now.st_ino
        if now.st_size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += len(data)
            *whole, rest = (rest + data.decode(errors="replace")).split("\n")
            yield from (escape(line) for line in whole)
        time.sleep(_FOLLOW_SECONDS)


def script() -> None:
    """Print the path of the addon for your own mitmproxy.

    Use it as: mitmdump -s "$(tollkeeper script)"
    """
    import importlib.util

    found = importlib.util.find_spec("tollkeeper.proxy")
    assert found is not None
    assert found.submodule_search_locations
    print(os.path.join(found.submodule_search_locations[0], "script.py"))
