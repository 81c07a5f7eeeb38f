"""`budget …`: what may be spent, what was, and how long the rest lasts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper.core.budget import account_for
from tollkeeper.core.layers import entry_of
from tollkeeper.core.snapshot import AgentRecord
from tollkeeper.domain import NS_PER_SECOND, Account, Balance, Limits, Policy, Window
from tollkeeper.errors import UsageError
from tollkeeper_cli import agent as agents
from tollkeeper_cli import reports, state
from tollkeeper_cli.lineage import Tree
from tollkeeper_cli.output import Column, Row, print_rows
from tollkeeper_cli.spent import BASIS, seldom, spent, subject_of
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import dollars, now_ns, parse_limit_usd, parse_usd, span

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

app = typer.Typer(help="Balances: limits, spending, credits.", invoke_without_command=True)
app.command("spent")(spent)

_COLUMNS = [
    Column("subject", "who"), Column("window", "window"), Column("limit_nano_usd", "limit"),
    Column("credit_nano_usd", "credit"), Column("spent_nano_usd", "spent"),
    Column("notional_nano_usd", "notional of it"),
    Column("of_children_nano_usd", "by children"), Column("reserved_nano_usd", "reserved"),
    Column("left_nano_usd", "left"),
    Column("resets_ns", "resets", spare=1), Column("burn_nano_usd", "per hour", spare=3),
    Column("empty_in", "empty in", spare=2), Column("source", "limit from", spare=4),
]  # fmt: skip


_SELDOM = ("credit_nano_usd", "of_children_nano_usd", "notional_nano_usd")
"""Columns that are left out while there is nothing in them."""

_PARTS = [
    Column("agent", "spent by"), Column("calls", "counted"), Column("booked_nano_usd", "in all"),
    Column("notional_nano_usd", "notional of it"), *BASIS,
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
        rows = balances_now(ledger, policy, now_ns(), wanted)
        parts = parts_of(ledger, wanted) if wanted and not json_ else []
    columns = [
        one for one in _COLUMNS
        if one.key not in _SELDOM or any(row[one.key] for row in rows)
    ]  # fmt: skip
    print_rows(rows, columns, json_=json_, empty="No agents yet: tollkeeper agent create NAME")
    if parts:
        print()
        print_rows(parts, seldom(parts, _PARTS), json_=False)


def balances_now(
    ledger: Ledger, policy: Policy, at_ns: int, wanted: str | None = None
) -> list[Row]:
    """Limit, spent, reserved and left of every account worth showing, or of one subject's."""
    shares = Shares(ledger, alone=len(ledger.agents()) < 2)
    limits = limited(ledger, policy, wanted)
    return [_row(ledger, one, at_ns, policy.timezone, shares) for one in limits]


class Shares:
    """Whose calls a subject's spending comes from: its own, or those of its children."""

    def __init__(self, ledger: Ledger, *, alone: bool) -> None:
        """Nothing is asked yet.

        Args:
            alone: There is no second agent, and never was one.
        """
        self.ledger, self.alone = ledger, alone
        self._since: dict[int, dict[str, dict[str, Any]]] = {}
        self._by_plans = reports.has_notional(ledger)

    def of_children(self, account: Account, spent_nano_usd: int) -> int:
        """Nano-USD of an agent's account that others spent, who were below it when they did.

        The account is asked and not who is whose child today: a name may come back elsewhere.
        """
        kind, _, name = account.subject.partition(":")
        if kind != "agent" or self.alone:
            return 0
        if account.starts_ns not in self._since:
            self._since[account.starts_ns] = reports.calls_by_agent(
                self.ledger, since_ns=account.starts_ns
            )
        own = self._since[account.starts_ns].get(name)
        # Never below 0, should a call be settled between the two looks.
        return max(spent_nano_usd - (own["booked_nano_usd"] if own else 0), 0)

    def notional(self, account: Account) -> int:
        """Nano-USD of what an account has spent that plans paid for."""
        return reports.notional_spent(self.ledger, account) if self._by_plans else 0


def parts_of(ledger: Ledger, subject: str) -> list[dict[str, Any]]:
    """What each agent has its part in, the dearest first."""
    from tollkeeper.ledger.breakdown import Asked, breakdown

    rows = breakdown(ledger, Asked(("agent",), subject=subject))
    own = [row for row in rows if row["calls"]]
    return sorted(own, key=lambda row: -row["booked_nano_usd"])


def _demand_subject(ledger: Ledger, policy: Policy, subject: str) -> None:
    kind, _, name = subject.partition(":")
    if kind == "agent":
        agents.find(ledger, name)
    elif kind == "team" and name not in policy.teams:
        raise UsageError(f"The policy has no team {name!r}.")
    elif kind == "run" and not reports.run_ids(ledger, name):
        raise UsageError(f"There is no run {name!r}: see `tollkeeper runs`.")


def limited(ledger: Ledger, policy: Policy, wanted: str | None = None) -> list[Limited]:
    """The accounts worth showing: of agents, teams and started runs, each with its least limit.

    Args:
        wanted: A subject; of an agent its descendants' accounts too. None for all.
    """
    found: list[Limited] = []
    tree = Tree.of(ledger.agents())
    asked = (wanted or "").removeprefix("agent:")
    agents = tree.whole() if wanted is None else tree.below(asked)
    for record, _ in agents:
        if record.state != "deleted":
            found += _of_agent(tree.lineage(record.name), policy)
    for name, limits in policy.teams.items():
        if wanted in (None, f"team:{name}"):
            found += _least(f"team:{name}", [(f"teams.{name}", limits)])
    found += _of_runs(ledger, tree, policy, wanted)
    return found


def _of_agent(lineage: Sequence[AgentRecord], policy: Policy) -> list[Limited]:
    subject = f"agent:{lineage[0].name}"
    return _least(subject, _layers(lineage, policy)) or [Limited(subject, Window.TOTAL, None, None)]


def _layers(lineage: Sequence[AgentRecord], policy: Policy) -> list[tuple[str, Limits]]:
    """The sets of limits whose accounts are those of a lineage's first alone."""
    record, entry = lineage[0], entry_of(policy, [one.name for one in lineage])
    written = [(f"agents.{entry}", policy.agents.get(entry, Limits()))] if entry else []
    return [("ceilings", policy.ceilings), *written, (f"agent {record.name}", record.limits)]


def _of_runs(ledger: Ledger, tree: Tree, policy: Policy, wanted: str | None) -> list[Limited]:
    from tollkeeper.ledger.records import limits_from_json

    found: list[Limited] = []
    for run in reports.runs(ledger, limit=200):
        subject = f"run:{run['id']}"
        made = reports.run_record(ledger, run["id"])
        going_on = made is not None and made["ended_ns"] is None and made["state"] != "stopped"
        if wanted != subject and not (wanted is None and going_on):
            continue
        over = [
            (source, Limits(budget_nano_usd=_run_window(limits)))
            for lineage in (tree.lineage(run["agent"]),)
            for above in range(len(lineage) if made is not None else 1)
            for source, limits in _layers(lineage[above:], policy)
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


def _row(ledger: Ledger, one: Limited, at_ns: int, timezone: str, shares: Shares) -> Row:
    account = account_for(one.subject, one.window, at_ns, timezone)
    balance = ledger.balance(account)
    burn = reports.burn_nano_usd(ledger, one.subject, at_ns - reports.HOUR_NS)
    left = None if one.limit_nano_usd is None else _left(one.limit_nano_usd, balance)
    return {
        "subject": one.subject.removeprefix("agent:"), "window": str(one.window),
        "limit_nano_usd": one.limit_nano_usd, "credit_nano_usd": balance.credit_nano_usd,
        "spent_nano_usd": balance.spent_nano_usd, "reserved_nano_usd": balance.reserved_nano_usd,
        "notional_nano_usd": shares.notional(account),
        "of_children_nano_usd": shares.of_children(account, balance.spent_nano_usd),
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
