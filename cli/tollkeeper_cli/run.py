"""`run` and `env`: a program, or a shell, as an agent."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tollkeeper.core.layers import entry_of
from tollkeeper.core.snapshot import AgentRecord, RunRecord
from tollkeeper.domain import Limits, Window
from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper.proxy.addresses import LOOPBACK, Address
from tollkeeper_cli import agent as agents
from tollkeeper_cli import levels, process, reports, setup, state
from tollkeeper_cli.announce import announced
from tollkeeper_cli.lineage import Tree
from tollkeeper_cli.output import escape, say
from tollkeeper_cli.sandboxed import Beside, Place, check_sandbox, sandboxed
from tollkeeper_cli.units import dollars, now_ns, parse_duration_ns, parse_limit_usd

if TYPE_CHECKING:
    from tollkeeper.domain import Policy
    from tollkeeper.ledger.port import Ledger

_NOT_FOUND: Final = 127
_FIRST_BYTES: Final = 128  # enough for the line that names a script's interpreter
_NODE_SECONDS: Final = 5
_SETTLING_SECONDS: Final = 0.25  # a program may end before its last answer is settled
_KEPT_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_BASE32: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""Letters and digits that nobody mistakes for each other."""


def run(
    command: Annotated[list[str], typer.Argument(metavar="CMD…", help="The program to run.")],
    agent: Annotated[str, typer.Option(metavar="A", help="As this agent; made when new.")] = (
        state.DEFAULT_AGENT
    ),
    name: Annotated[
        str | None, typer.Option("--run", metavar="R", help="Name of the run.", show_default=False)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="All this run may spend.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="F", help="Policy of a proxy that this starts.")
    ] = None,
    goal: Annotated[str | None, typer.Option(metavar="TEXT", help="Kept with the run.")] = None,
    priority: Annotated[
        str | None, typer.Option(metavar="P", help="For rules: what it is worth.")
    ] = None,
    sla: Annotated[
        str | None, typer.Option(metavar="T", help="Kept with the run: how fast it must be.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="P", help="For rules: what it is for.")
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="$WORKSPACE; where it runs.", show_default="here"),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", help="Of a proxy that this starts.")
    ] = (process.DEFAULT_PORT),
    notify: Annotated[
        bool, typer.Option(help="Notify on the desktop, or by the terminal, when a call is held.")
    ] = True,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Let it reach its workspace and the proxy only.")
    ] = False,
    writable: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="May be written in the sandbox too.", show_default=False),
    ] = None,
) -> None:
    """Run a program as an agent, through the proxy.

    Makes the agent and starts a proxy when there is none. Ends with a summary and with the
    program's own exit code.
    """
    if writable and not sandbox:
        raise typer.BadParameter("--writable opens a folder of a sandbox: add --sandbox.")
    agents.check_name(agent)
    if name is not None:
        agents.check_name(name, "run")
    limit = None if budget is None else parse_limit_usd(budget)
    folder = (workspace or Path.cwd()).absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    if shutil.which(command[0]) is None:
        say(f"error: There is no command {escape(command[0])!r}.")
        raise typer.Exit(_NOT_FOUND)
    about = {"goal": goal, "priority": priority, "sla": sla, "project": project,
             "workspace": str(folder), "command": " ".join(command)}  # fmt: skip
    at = state.home()
    levels.check_operator(at)
    if sandbox:
        check_sandbox(at, [folder, *(writable or ())])
    if setup.make_state(at, policy):
        say(f"tollkeeper: made {escape(at.root)}, with the starter policy.")
    proxy = ensure_proxy(at, port=port, policy=policy)
    with state.open_ledger(at) as ledger:
        _ensure_agent(ledger, agent)
        begun = _begin(ledger, agent, name, limit, {k: v for k, v in about.items() if v})
        with _place(at, proxy, folder, writable or (), sandbox=sandbox) as place:
            code = _run(at, ledger, place, begun, command, folder, notify=notify)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has begun."""

    agent: str
    run: str
    token: str = field(repr=False)


def ensure_proxy(at: Home, *, port: int, policy: Path | None) -> process.Running:
    """The proxy that runs, or one started now; on a free port where the usual one is taken.

    Raises:
        UsageError: When one runs with another policy than asked for.
        ProxyError: When it does not start.
    """
    found = process.running(at)
    if found is not None and found.closing is not None:
        process.stop(at)
        found = None
    if found is None:
        with process.starting(at):
            found = process.running(at)
            if found is None:
                free = port if not process.reachable(LOOPBACK, port) else 0
                found = process.start(
                    at, listen=[Address(LOOPBACK, free)], web=False, policy=policy
                )
                say(f"tollkeeper: started a proxy on {found.address}; `tollkeeper down` stops it.")
                return found
    if policy is not None and Path(found.policy).absolute() != policy.absolute():
        raise UsageError(
            f"The running proxy uses {found.policy}: stop it with `tollkeeper down`, or leave out"
            " --policy."
        )
    return found


def _ensure_agent(ledger: Ledger, name: str) -> None:
    def there() -> bool:
        return any(one.name == name and one.state != "deleted" for one in ledger.agents())

    if there():
        return
    others = [one.name for one in ledger.agents() if one.state != "deleted"]
    if any(one.name == name for one in ledger.agents()):  # made again, it would have no limits
        raise UsageError(
            f"The agent {name!r} was deleted: `tollkeeper agent create {name}` makes it again."
        )
    try:
        ledger.create_agent(AgentRecord(name, "active", created_ns=now_ns()), state.operator())
    except UsageError:
        if there():  # another `run` was quicker
            return
        raise
    near = get_close_matches(name, others, n=1, cutoff=0.7)
    there_is = f" There is {near[0]!r} too, with limits of its own." if near else ""
    say(f"tollkeeper: made the agent {name!r}.{there_is}")


def _begin(
    ledger: Ledger, agent: str, name: str | None, limit: int | None, about: dict[str, str]
) -> Begun:
    run = name or f"{agent[:56]}-{''.join(secrets.choice(_BASE32) for _ in range(6))}"
    limits = Limits() if limit is None else Limits(budget_nano_usd={Window.RUN: limit})
    record = RunRecord(run, agent, limits=limits, about=about, created_ns=now_ns())
    ledger.add_run(record, state.operator())
    token, _ = agents.mint(ledger, agent, run=run)
    return Begun(agent, run, token)


def _place(
    at: Home, proxy: process.Running, folder: Path, writable: Sequence[Path], *, sandbox: bool
) -> AbstractContextManager[Place]:
    if not sandbox:
        return nullcontext(Beside(proxy))
    return sandboxed(at, state.load_policy(at), proxy, folder, writable)


def _run(
    at: Home,
    ledger: Ledger,
    place: Place,
    begun: Begun,
    command: list[str],
    folder: Path,
    *,
    notify: bool,
) -> int:
    try:
        child = environment_for(at, place.proxy, lineage_of(ledger, begun.agent), begun.token)
        child["WORKSPACE"] = str(folder)
        say(f"tollkeeper: {begun.agent}, run {begun.run}, through {place.proxy.address}")
        say(f"tollkeeper: {levels.explain(at, sandboxed=place.apart)}")
        if warning := warning_of(command[0], child):
            say(f"tollkeeper: {warning}")
        with announced(at, begun.run, notify=notify):
            code = _wait(command, child, folder, place)
    finally:
        ledger.end_run(begun.run, now_ns(), state.operator())
    say(f"tollkeeper: {summary(ledger, begun.run)}")
    return code


def environment_for(
    at: Home, proxy: process.Running | None, lineage: Sequence[str], token: str
) -> dict[str, str]:
    """The environment of a program that goes through the proxy as the first of a lineage.

    What its user has set stays where it leads past no governed host; what does not is told.
    """
    from tollkeeper.launch.direct import kept_direct
    from tollkeeper.launch.environment import environment
    from tollkeeper.launch.trust import trust_of

    address = proxy.address if proxy else f"{LOOPBACK}:{process.DEFAULT_PORT}"
    policy = state.load_policy(at)
    kept, taken_out = kept_direct(os.environ, policy.providers, policy.other_hosts)
    if taken_out:
        names = ", ".join(escape(name) for name in taken_out)
        say(f"tollkeeper: taken out of NO_PROXY, because governed hosts are there: {names}")
    trust = trust_of(os.environ, at.ca_certificate.absolute(), at.bundle.absolute())
    for path in trust.unread:
        say(f"tollkeeper: {escape(path)} holds no readable certificate; it is left out.")
    return environment(
        os.environ,
        proxy_url=f"http://{lineage[0]}:{token}@{address}",
        ca_certificate=trust.extra,
        bundle=trust.bundle,
        scrub=injected(policy, lineage),
        direct=kept,
    )


def warning_of(program: str, environment: dict[str, str]) -> str | None:
    """A sentence when this program runs on a Node whose ``fetch`` goes past proxies."""
    from tollkeeper.launch.environment import node_warning

    found = shutil.which(program)
    node = shutil.which("node", path=environment.get("PATH"))
    if found is None or node is None:
        return None
    try:
        with Path(found).open("rb") as file:
            first = file.read(_FIRST_BYTES).partition(b"\n")[0]
        if Path(found).name != "node" and not (first.startswith(b"#!") and b"node" in first):
            return None
        asked = subprocess.run(  # noqa: S603 - node as the child's path finds it
            [node, "--version"], env=environment, capture_output=True, text=True,
            timeout=_NODE_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return node_warning(asked.stdout)


def lineage_of(ledger: Ledger, agent: str) -> list[str]:
    """The agent and all above it, by name."""
    return [record.name for record in Tree.of(ledger.agents()).lineage(agent)]


def injected(policy: Policy, lineage: Sequence[str]) -> list[str]:
    """Environment names of the real keys that the proxy puts in for the first of a lineage."""
    entries = [entry_of(policy, lineage[n:]) for n in range(len(lineage))]
    asked = {policy.ceilings.key, *[policy.agents.get(e or "", Limits()).key for e in entries]}
    if "own" in asked and "injected" not in asked:
        return []
    sources = [p.key.env for p in policy.providers.values() if p.key is not None]
    return sorted({name for name in sources if name is not None})


def _wait(command: list[str], environment: dict[str, str], folder: Path, place: Place) -> int:
    """Run it with our terminal; signals go on to it; 128 + n when signal n ended it."""
    child: subprocess.Popen[bytes] | None = None
    pending: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if number in (signal.SIGINT, signal.SIGQUIT) and place.shares_terminal():
            return  # the terminal has sent it to the child as well
        if child is None:
            pending.append(number)
        elif child.poll() is None:
            place.send(child, number)

    before = {number: signal.signal(number, forward) for number in _KEPT_SIGNALS}
    try:
        child = place.start(command, environment, folder)
        for number in pending:
            place.send(child, number)
        code = child.wait()
    except OSError as e:
        say(f"error: {escape(command[0])} cannot be run: {e.strerror}.")
        return 126
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def summary(ledger: Ledger, run: str) -> str:
    """Calls, cost, what reached nobody, refusals, holds."""
    give_up = time.monotonic() + _SETTLING_SECONDS
    while reports.is_under_way(ledger, run) and time.monotonic() < give_up:
        time.sleep(0.01)
    made = reports.summary_of_run(ledger, run)
    parts = [f"{made.calls} call{'' if made.calls == 1 else 's'}", dollars(made.cost_nano_usd)]
    if made.notional_nano_usd:
        parts.append(f"notional {dollars(made.notional_nano_usd)} paid by a plan")
    if made.open_nano_usd:
        parts.append(f"{dollars(made.open_nano_usd)} still reserved")
    if made.unknown_costs:
        parts.append(f"{made.unknown_costs} of unknown cost")
    if made.not_sent:
        parts.append(f"{made.not_sent} that reached no provider")
    for refused, when in ((made.refused, ""), (made.unread, " before they were read")):
        if refused:
            codes = ", ".join(f"{count} {escape(code)}" for code, count in refused.items())
            parts.append(f"{sum(refused.values())} refused{when} ({codes})")
    if made.holds:
        parts.append(f"{made.holds} held")
    return f"{', '.join(parts)} in run {run}"


def env(
    agent: agents.Name,
    ttl: Annotated[str, typer.Option(metavar="24h", help="How long the token holds.")] = "24h",
) -> None:
    """Print variables that make a shell an agent's.

    Use it as: eval "$(tollkeeper env NAME)"
    """
    from tollkeeper.launch.environment import shell_lines

    ttl_ns = parse_duration_ns(ttl)
    at = state.made_home()
    setup.make_trust(at)
    proxy = process.running(at)
    with state.open_ledger(at) as ledger:
        agents.find(ledger, agent)
        token, _ = agents.mint(ledger, agent, ttl_ns=ttl_ns)
        lineage = lineage_of(ledger, agent)
    for line in shell_lines(os.environ, environment_for(at, proxy, lineage, token)):
        print(line)
    if proxy is None:
        say("No proxy runs yet: start it with `tollkeeper up`.")
