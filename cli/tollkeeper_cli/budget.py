"""`budget …`: what may be spent, what was, and how long the rest lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from tollkeeper.core.budget import account_for
from tollkeeper.core.snapshot import AgentRecord
from tollkeeper.domain import NS_PER_SECOND, Account, Balance, Limits, Policy, Window
from tollkeeper.errors import UsageError
from tollkeeper_cli import agent as agents
from tollkeeper_cli import reports, state
from tollkeeper_cli.output import Column, Row, print_rows
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import dollars, now_ns, parse_limit_usd, parse_usd, span

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

app = typer.Typer(help="Balances: limits, spending, credits.", invoke_without_command=True)

_COLUMNS = [
    Column("subject", "who"), Column("window", "window"), Column("limit_nano_usd", "limit"),
    Column("credit_nano_usd", "credit"), Column("spent_nano_usd", "spent"),
    Column("reserved_nano_usd", "reserved"), Column("left_nano_usd", "left"),
    Column("resets_ns", "resets"), Column("burn_nano_usd", "per hour"),
    Column("empty_in", "empty in"), Column("source", "limit from"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limited:
    """One account with the least limit that stands on it, if any."""

    subject: str
    window: Window
    limit_nano_usd: int | None
    source: str | None


@app.callback()
def balances(context: typer.Context, json_: Json = False) -> None:
    """Balances: limits, spending, credits."""
    if context.invoked_subcommand is None:
        _show(None, json_=json_)


@app.command()
def show(
    who: Annotated[
        str | None,
        typer.Argument(metavar="[WHO]", help="An agent, team:NAME or run:ID; all without it."),
    ] = None,
    json_: Json = False,
) -> None:
    """Show what is left of each budget."""
    _show(who, json_=json_)


def _show(who: str | None, *, json_: bool) -> None:
    at = state.made_home()
    policy = state.load_policy(at)
    with state.open_ledger(at) as ledger:
        wanted = subject_of(who) if who else None
        if wanted:
            _demand_subject(ledger, policy, wanted)
        limits = limited(ledger, policy, wanted)
        at_ns = now_ns()
        rows = [_row(ledger, one, at_ns, policy.timezone) for one in limits]
    columns = [
        one for one in _COLUMNS
        if one.key != "credit_nano_usd" or any(row["credit_nano_usd"] for row in rows)
    ]  # fmt: skip
    print_rows(rows, columns, json_=json_, empty="No agents yet: tollkeeper agent create NAME")


def subject_of(who: str) -> str:
    """``agent:…`` for a bare name; ``team:…`` and ``run:…`` as they are."""
    kind, colon, name = who.partition(":")
    if not colon:
        return f"agent:{who}"
    if kind not in ("agent", "team", "run") or not name:
        raise typer.BadParameter(f"{who!r} is no agent, team:NAME or run:ID")
    return who


def _demand_subject(ledger: Ledger, policy: Policy, subject: str) -> None:
    kind, _, name = subject.partition(":")
    if kind == "agent":
        agents.find(ledger, name)
    elif kind == "team" and name not in policy.teams:
        raise UsageError(f"The policy has no team {name!r}.")
    elif kind == "run" and not reports.run_ids(ledger, name):
        raise UsageError(f"There is no run {name!r}: see `tollkeeper runs`.")


def limited(ledger: Ledger, policy: Policy, wanted: str | None = None) -> list[Limited]:
    """The accounts worth showing: of agents, teams and started runs, each with its least limit."""
    found: list[Limited] = []
    for record in ledger.agents():
        if record.state != "deleted" and wanted in (None, f"agent:{record.name}"):
            found += _of_agent(record, policy)
    for name, limits in policy.teams.items():
        if wanted in (None, f"team:{name}"):
            found += _least(f"team:{name}", [(f"teams.{name}", limits)])
    found += _of_runs(ledger, policy, wanted)
    return found


def _of_agent(record: AgentRecord, policy: Policy) -> list[Limited]:
    subject = f"agent:{record.name}"
    return _least(subject, _layers(record, policy)) or [Limited(subject, Window.TOTAL, None, None)]


def _layers(record: AgentRecord, policy: Policy) -> list[tuple[str, Limits]]:
    """The sets of limits whose accounts are this agent's own."""
    entry = record.name if record.name in policy.agents else "default"
    return [
        ("ceilings", policy.ceilings),
        (f"agents.{entry}", policy.agents.get(entry, Limits())),
        (f"agent {record.name}", record.limits),
    ]


def _lineage(records: Mapping[str, AgentRecord], name: str | None) -> list[AgentRecord]:
    """The agent and all above it."""
    found: list[AgentRecord] = []
    record = records.get(name or "")
    while record is not None and record not in found:
        found.append(record)
        record = records.get(record.parent or "")
    return found


def _of_runs(ledger: Ledger, policy: Policy, wanted: str | None) -> list[Limited]:
    from tollkeeper.ledger.records import limits_from_json

    records = {record.name: record for record in ledger.agents()}
    found: list[Limited] = []
    for run in reports.runs(ledger, limit=200):
        subject = f"run:{run['id']}"
        made = reports.run_record(ledger, run["id"])
        going_on = made is not None and made["ended_ns"] is None and made["state"] != "stopped"
        if wanted != subject and not (wanted is None and going_on):
            continue
        over = [
            (source, Limits(budget_nano_usd=_run_window(limits)))
            for record in _lineage(records, run["agent"])
            for source, limits in _layers(record, policy)
        ]
        if made is not None:
            over.append((f"run {run['id']}", limits_from_json(made["limits"])))
        of_run = _least(subject, over)
        found += of_run or ([Limited(subject, Window.RUN, None, None)] if wanted else [])
    return found


def _run_window(limits: Limits) -> dict[Window, int]:
    return {w: nano for w, nano in limits.budget_nano_usd.items() if w is Window.RUN}


def _least(subject: str, layers: Iterable[tuple[str, Limits]]) -> list[Limited]:
    least: dict[Window, tuple[int, str]] = {}
    for source, limits in layers:
        for window, nano in limits.budget_nano_usd.items():
            if window is Window.RUN and not subject.startswith("run:"):
                continue
            if window not in least or nano < least[window][0]:
                least[window] = (nano, source)
    ordered = [window for window in Window if window in least]
    return [Limited(subject, w, *least[w]) for w in ordered]


def _row(ledger: Ledger, one: Limited, at_ns: int, timezone: str) -> Row:
    account = account_for(one.subject, one.window, at_ns, timezone)
    balance = ledger.balance(account)
    burn = reports.burn_nano_usd(ledger, one.subject, at_ns - reports.HOUR_NS)
    left = None if one.limit_nano_usd is None else _left(one.limit_nano_usd, balance)
    return {
        "subject": one.subject.removeprefix("agent:"), "window": str(one.window),
        "limit_nano_usd": one.limit_nano_usd, "credit_nano_usd": balance.credit_nano_usd,
        "spent_nano_usd": balance.spent_nano_usd, "reserved_nano_usd": balance.reserved_nano_usd,
        "left_nano_usd": left, "calls": balance.calls, "resets_ns": account.resets_ns,
        "burn_nano_usd": burn, "empty_in": _empty_in(left, burn, account, at_ns),
        "source": one.source,
    }  # fmt: skip


def _left(limit: int, balance: Balance) -> int:
    return limit + balance.credit_nano_usd - balance.spent_nano_usd - balance.reserved_nano_usd


def _empty_in(left: int | None, burn: int, account: Account, at_ns: int) -> str | None:
    """When the rest is gone at the last hour's pace; None when that is never, after the reset or years away."""
    if left is None:
        return None
    if left <= 0:
        return "empty"
    if burn <= 0:
        return None
    lasts_ns = left * reports.HOUR_NS // burn
    if account.resets_ns is not None and at_ns + lasts_ns >= account.resets_ns:
        return None
    if lasts_ns > _SOON_NS:
        return None
    return span(max(lasts_ns, NS_PER_SECOND))


_SOON_NS = 366 * 24 * reports.HOUR_NS
"""Nobody plans by the last hour's pace beyond a year."""

_WINDOWS = "total, hour, day, week, month or run"


def _window(text: str) -> Window:
    try:
        return Window(text)
    except ValueError:
        raise typer.BadParameter(f"a window is {_WINDOWS}, not {text!r}") from None


@app.command(context_settings={"ignore_unknown_options": True})
def add(
    who: Annotated[str, typer.Argument(metavar="WHO", help="An agent, team:NAME or run:ID.")],
    amount: Annotated[str, typer.Argument(metavar="USD", help="Negative takes a credit back.")],
    window: Annotated[
        str | None,
        typer.Option(metavar="W", help=f"Which budget: {_WINDOWS}.", show_default="total"),
    ] = None,
) -> None:
    """Give a credit, on top of a limit."""
    subject, nano = subject_of(who), parse_usd(amount)
    kind = _window(window or ("run" if subject.startswith("run:") else "total"))
    at = state.made_home()
    policy = state.load_policy(at)
    with state.open_ledger(at) as ledger:
        _demand_subject(ledger, policy, subject)
        account = account_for(subject, kind, now_ns(), policy.timezone)
        ledger.credit(account, nano, now_ns(), state.operator())
        balance = ledger.balance(account)
    print(f"{who} has a credit of {dollars(balance.credit_nano_usd)} ({kind}).")


@app.command("set")
def set_(
    name: agents.Name,
    amount: Annotated[
        str, typer.Argument(metavar="USD", help="The new limit; `none` takes it away.")
    ],
    window: Annotated[str, typer.Option(metavar="W", help=f"Which budget: {_WINDOWS}.")] = "total",
) -> None:
    """Set an agent's own limit; the policy's still holds."""
    kind = _window(window)
    nano = None if amount == "none" else parse_limit_usd(amount)
    with state.open_ledger() as ledger:
        record = agents.find(ledger, name)
        budgets = dict(record.limits.budget_nano_usd)
        budgets.pop(kind, None)
        if nano is not None:
            budgets[kind] = nano
        limits = replace(record.limits, budget_nano_usd=budgets)
        ledger.set_agent_limits(name, limits, now_ns(), state.operator())
    shown = "no limit of its own" if nano is None else f"a limit of {dollars(nano)}"
    print(f"{name} has {shown} ({kind}).")
