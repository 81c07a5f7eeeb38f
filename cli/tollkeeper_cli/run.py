"""`run` and `env`: a program, or a shell, as an agent."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tollkeeper.core.layers import entry_of
from tollkeeper.core.snapshot import AgentRecord, RunRecord
from tollkeeper.domain import Limits, Window
from tollkeeper.errors import LedgerError, UsageError
from tollkeeper.home import Home
from tollkeeper.proxy.addresses import LOOPBACK, Address
from tollkeeper_cli import agent as agents
from tollkeeper_cli import levels, process, reports, setup, state
from tollkeeper_cli.lineage import Tree
from tollkeeper_cli.output import escape, paint, say
from tollkeeper_cli.units import dollars, now_ns, parse_duration_ns, parse_limit_usd

if TYPE_CHECKING:
    from tollkeeper.domain import Approval, Policy
    from tollkeeper.ledger.port import Ledger

_LOOK_SECONDS: Final = 0.2
_NOT_FOUND: Final = 127
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
) -> None:
    """Run a program as an agent, through the proxy.

    Makes the agent and starts a proxy when there is none. Ends with a summary and with the
    program's own exit code.
    """
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
    if setup.make_state(at, policy):
        say(f"tollkeeper: made {escape(at.root)}, with the starter policy.")
    proxy = ensure_proxy(at, port=port, policy=policy)
    with state.open_ledger(at) as ledger:
        _ensure_agent(ledger, agent)
        begun = _begin(ledger, agent, name, limit, {k: v for k, v in about.items() if v})
        code = _run(at, ledger, proxy, begun, command, folder)
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
    if any(record.name == name and record.state != "deleted" for record in ledger.agents()):
        return
    ledger.create_agent(AgentRecord(name, "active", created_ns=now_ns()))
    say(f"tollkeeper: made the agent {name!r}.")


def _begin(
    ledger: Ledger, agent: str, name: str | None, limit: int | None, about: dict[str, str]
) -> Begun:
    run = name or f"{agent[:56]}-{''.join(secrets.choice(_BASE32) for _ in range(6))}"
    limits = Limits() if limit is None else Limits(budget_nano_usd={Window.RUN: limit})
    ledger.add_run(RunRecord(run, agent, limits=limits, about=about, created_ns=now_ns()))
    token, _ = agents.mint(ledger, agent, run=run)
    return Begun(agent, run, token)


def _run(
    at: Home, ledger: Ledger, proxy: process.Running, begun: Begun, command: list[str], folder: Path
) -> int:
    try:
        child = environment_for(at, proxy, lineage_of(ledger, begun.agent), begun.token)
        child["WORKSPACE"] = str(folder)
        say(f"tollkeeper: {begun.agent}, run {begun.run}, through {proxy.address}")
        say(f"tollkeeper: {levels.explain(at)}")
        with _announced(at, begun.run):
            code = _wait(command, child, folder)
    finally:
        ledger.end_run(begun.run, now_ns())
    say(f"tollkeeper: {summary(ledger, begun.run)}")
    return code


def environment_for(
    at: Home, proxy: process.Running | None, lineage: Sequence[str], token: str
) -> dict[str, str]:
    """The environment of a program that goes through the proxy as the first of a lineage."""
    from tollkeeper.launch.environment import environment

    address = proxy.address if proxy else f"{LOOPBACK}:{process.DEFAULT_PORT}"
    return environment(
        os.environ,
        proxy_url=f"http://{lineage[0]}:{token}@{address}",
        ca_certificate=at.ca_certificate.absolute(),
        bundle=at.bundle.absolute(),
        scrub=injected(state.load_policy(at), lineage),
    )


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


def _wait(command: list[str], environment: dict[str, str], folder: Path) -> int:
    """Run it with our terminal; signals go on to it; 128 + n when signal n ended it."""
    child: subprocess.Popen[bytes] | None = None
    pending: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if number in (signal.SIGINT, signal.SIGQUIT) and sys.stdin.isatty():
            return  # the terminal has sent it to the child as well
        if child is None:
            pending.append(number)
        elif child.poll() is None:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _KEPT_SIGNALS}
    try:
        child = subprocess.Popen(command, env=environment, cwd=folder)  # noqa: S603 - what was asked for
        for number in pending:
            child.send_signal(number)
        code = child.wait()
    except OSError as e:
        say(f"error: {escape(command[0])} cannot be run: {e.strerror}.")
        return 126
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


@contextmanager
def _announced(at: Home, run: str) -> Iterator[None]:
    """Meanwhile tell on standard error when a call of this run is held."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(at, run, over), name="holds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _watch(at: Home, run: str, over: threading.Event) -> None:
    told: dict[str, str] = {}
    try:
        with state.open_ledger(at) as ledger:
            ledger.changed()
            _tell(ledger, run, told)
            while not over.wait(_LOOK_SECONDS):
                if ledger.changed():
                    _tell(ledger, run, told)
            _tell(ledger, run, told)
    except LedgerError as e:
        say(f"tollkeeper: holds cannot be watched: {escape(e)}")


def _tell(ledger: Ledger, run: str, told: dict[str, str]) -> None:
    """Say what is new: answers first, because a program asks again when it has one."""
    still_open = [name for name, known in told.items() if known == "open"]
    for name, approval in ledger.verdicts(still_open).items():
        told[name] = approval.state
        verdict = approval.verdict
        by = f" by {escape(verdict.by)}" if verdict else ""
        note = f": {escape(verdict.note)}" if verdict and verdict.note else ""
        word = "approved" if approval.state == "used" else approval.state
        say(f"tollkeeper: {name} {word}{by}{note}")
    for approval in ledger.approvals(open_only=True):
        if approval.run == run and approval.id not in told:
            told[approval.id] = "open"
            say(held_line(approval))


def held_line(approval: Approval) -> str:
    """That a call waits, what it would cost, and how to answer."""
    worst = approval.summary.get("worst_nano_usd")
    cost = f", at most {dollars(worst)}" if isinstance(worst, int) else ""
    what = escape(approval.summary.get("model") or "a call")
    head = paint(f"tollkeeper: held {approval.id}", "33", sys.stderr)
    return (
        f"{head}: {what}{cost} (rule {escape(approval.rule)}). Answer in another terminal:"
        f" tollkeeper approve {approval.id}  |  reject {approval.id}  |  approval show {approval.id}"
    )


def summary(ledger: Ledger, run: str) -> str:
    """Calls, cost, refusals, holds."""
    made = reports.summary_of_run(ledger, run)
    parts = [f"{made.calls} call{'' if made.calls == 1 else 's'}", dollars(made.cost_nano_usd)]
    if made.unknown_costs:
        parts.append(f"{made.unknown_costs} of unknown cost")
    if made.refused:
        codes = ", ".join(f"{count} {escape(code)}" for code, count in made.refused.items())
        parts.append(f"{sum(made.refused.values())} refused ({codes})")
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
