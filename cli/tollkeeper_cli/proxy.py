"""`up`, `down`, `status`, `logs`, `script`: the proxy process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import TollkeeperError
from tollkeeper.home import Home
from tollkeeper.proxy.addresses import EXPOSED, LOOPBACK, Address
from tollkeeper_cli import process, records, reports, state
from tollkeeper_cli.output import escape, print_facts, say
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns, parse_duration_ns, span

if TYPE_CHECKING:
    from tollkeeper.proxy.serve import Listening

WEB_PORT: Final = 8081
_FOLLOW_SECONDS: Final = 0.2

PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="F", help="Use this policy file or folder.", show_default=False
    ),
]


def up(
    port: Annotated[
        int | None,
        typer.Option(
            "--port", "-p", metavar="PORT", show_default=str(process.DEFAULT_PORT),
            help="Listen here; 0 takes a free port.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", show_default=LOOPBACK, help="Listen on this address."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="Listen here instead; may be given several times.",
            show_default=False,
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT", show_default=False,
            help="Serve /healthz, /readyz and /metrics here; off when not said.",
        ),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(metavar="20s", help="What calls under way get when it is told to stop."),
    ] = "20s",
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="How the log is written: json, an object a line.")
    ] = "text",
    web: Annotated[
        bool, typer.Option("--web", help="Open mitmweb beside it, on loopback.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    policy: PolicyOption = None,
    detached: Annotated[bool, typer.Option("--detached", hidden=True)] = False,
) -> None:  # fmt: skip
    """Start the proxy."""
    at = state.made_home()
    _demand_none(at)
    addresses = _addresses(host, port, listen or [])
    beside = Address.parse(operator) if operator else None
    grace_seconds = parse_duration_ns(grace) / NS_PER_SECOND
    _demand_free(addresses, "--listen" if listen else "--port")
    _demand_free([beside] if beside else [], "--operator")
    if detach:
        more = ["--grace", grace, "--log-format", log_format]
        more += ["--operator", operator] if operator else []
        with process.starting(at):
            found = process.start(at, listen=addresses, web=web, policy=policy, more=more)
        print(f"Tollkeeper listens on {', '.join(found.addresses)} (pid {found.pid}).")
        _print_beside(found.operator, found.web)
        _warn(found.listeners)
        return
    from tollkeeper.proxy.serve import serve
    from tollkeeper_cli.log_format import log_to

    log_to(at, json_lines=log_format == "json", terminal=not detached)

    def announce(listening: Listening) -> None:
        if detached:
            return
        for_people = log_format == "text"  # programs find it in the log, but for mitmweb's token
        if for_people:
            where = ", ".join(str(one) for one in listening.listeners)
            print(f"Tollkeeper listens on {where}. Ctrl-C stops it.", flush=True)
        _print_beside(listening.operator if for_people else None, listening.web_url)

    code = serve(
        at, listen=addresses, policy=policy, web=_web_port() if web else None,
        operator=beside,
        grace_seconds=grace_seconds, announce=announce,
    )  # fmt: skip
    raise typer.Exit(code)


def _demand_free(addresses: Sequence[Address], option: str) -> None:
    for one in addresses:
        if one.port and process.reachable(one.host, one.port):
            raise TollkeeperError(
                f"{one} is in use by another program: take another port with {option} (0: a free one)."
            )


def _demand_none(at: Home) -> None:
    found = process.running(at)
    if found is None:
        return
    if found.closing is not None:
        raise TollkeeperError(
            f"The proxy (pid {found.pid}) is shutting down: wait, or `tollkeeper down --now`."
        )
    raise TollkeeperError(f"A proxy runs already on {found.address} (pid {found.pid}).")


def _addresses(host: str | None, port: int | None, listen: list[str]) -> list[Address]:
    if listen and (host is not None or port is not None):
        raise typer.BadParameter("--listen stands instead of --host and --port; give one of them")
    if listen:
        return [Address.parse(one) for one in listen]
    return [Address(host or LOOPBACK, process.DEFAULT_PORT if port is None else port)]


def _web_port() -> int:
    """The usual one, or a free one where that is taken."""
    return 0 if process.reachable(LOOPBACK, WEB_PORT) else WEB_PORT


def _print_beside(operator: object, web: str | None) -> None:
    if operator:
        print(f"operator port: http://{operator}/readyz", flush=True)
    if web:
        base, question, token = web.partition("?")
        print(f"mitmweb: {escape(web)}", flush=True)
        cockpit = f"{base.rstrip('/')}/tollkeeper{question}{token}"
        print(f"cockpit: {escape(cockpit)}", flush=True)


def _warn(listeners: Sequence[str]) -> None:
    """What a proxy in the foreground says on the terminal by its log."""
    for one in listeners:
        if not Address.parse(one).is_loopback:
            say(f"warning: {escape(EXPOSED % one)}.")


def down(
    now: Annotated[
        bool, typer.Option("--now", help="Cut calls under way; they are booked as cut.")
    ] = False,
) -> None:
    """Stop the proxy when calls under way are done.

    They get the time that `up --grace` gave them.
    """
    found = process.stop(state.made_home(), now=now, progress=_told_calls)
    if found is None:
        say("No proxy runs.")
        return
    print(f"Stopped the proxy on {found.address} (pid {found.pid}).")


def _told_calls(calls: int) -> None:
    say(f"Waiting for {calls} call{'' if calls == 1 else 's'} under way.")


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
            "listeners": list(found.listeners),
            "operator": found.operator,
            "pid": found.pid,
            "shutting_down": found.closing is not None,
            "up_since_ns": found.started_ns,
            "uptime": span(now_ns() - found.started_ns),
            "reachable": all(_reachable(one) for one in found.addresses),
            "web": found.web,
        }
    facts["policy"] = str(state.policy_path(at))
    facts |= _from_the_books(at, up=found is not None)
    problems = str(facts.get(_NOT_IN_FORCE) or "").splitlines()
    if not json_ and len(problems) > 1:
        facts[_NOT_IN_FORCE] = (
            f"{problems[0]} (and {len(problems) - 1} more: tollkeeper policy check)"
        )
    print_facts(facts, json_=json_)
    if found is None:
        say("The proxy is down: start it with `tollkeeper up`.")
        raise typer.Exit(1)


def _reachable(address: str) -> bool:
    one = Address.parse(address)
    return process.reachable(one.host, one.port)


_NOT_IN_FORCE: Final = "newest edit not in force"


def _from_the_books(at: Home, *, up: bool) -> dict[str, Any]:
    from tollkeeper.ledger.spool import waiting

    with state.open_ledger(at) as ledger:
        loaded = records.policy_in_force(ledger) if up else None
        facts: dict[str, Any] = {}
        if loaded is not None:
            facts = {"digest": str(loaded.get("digest"))[:12], "mode": loaded.get("mode")}
            if loaded.get("problem"):
                facts[_NOT_IN_FORCE] = loaded["problem"]
        if waiting(at.spool):
            facts["records that wait for the ledger"] = waiting(at.spool)
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
    from tollkeeper_cli.log_format import readable

    before = at.log.stat() if at.log.exists() else None
    if before is not None and not before.st_size and not follow:
        say("The log is empty: the proxy had nothing to tell.")
    for line in process.last_lines(at.log, lines):
        print(readable(line), flush=follow)
    if follow:
        ended = _interrupted()
        for line in _new_lines(at.log, before, ended):
            print(readable(line), flush=True)
        raise KeyboardInterrupt


def _interrupted() -> Event:
    """Set by a Ctrl-C as well as raising it: an interrupt that comes in a callback would be lost."""
    ended = Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        ended.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    return ended


def _new_lines(path: Path, before: os.stat_result | None, ended: Event) -> Iterator[str]:
    """Lines as they are written, over rotations of the file.

    Args:
        before: The file as it was when all that stood in it had been read.
        ended: Ends it.
    """
    rest, position, inode = "", 0, 0
    if before is not None:
        position, inode = before.st_size, before.st_ino
    while not ended.wait(_FOLLOW_SECONDS):
        try:
            now = path.stat()
        except FileNotFoundError:
            continue
        if now.st_ino != inode or now.st_size < position:
            position, inode = 0, now.st_ino
        if now.st_size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += len(data)
            *whole, rest = (rest + data.decode(errors="replace")).split("\n")
            yield from whole


def script() -> None:
    """Print the path of the addon for your own mitmproxy.

    Use it as: mitmdump -s "$(tollkeeper script)"
    """
    import importlib.util

    found = importlib.util.find_spec("tollkeeper.proxy")
    assert found is not None
    assert found.submodule_search_locations
    print(os.path.join(found.submodule_search_locations[0], "script.py"))
