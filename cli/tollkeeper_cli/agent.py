"""`agent …`: identities, their limits and their tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper.core.identity import new_token, token_sha256, valid_name
from tollkeeper.core.snapshot import AgentRecord, TokenRecord
from tollkeeper.domain import NANO_PER_USD, Account, Limits, Window
from tollkeeper.errors import UsageError
from tollkeeper_cli import reports, state
from tollkeeper_cli.lineage import Tree, drawn
from tollkeeper_cli.output import Column, escape, print_facts, print_json, print_rows, say
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import (
    now_ns,
    parse_duration_ns,
    parse_limit_usd,
    parse_list,
    usd,
)

if TYPE_CHECKING:
    from tollkeeper.home import Home
    from tollkeeper.ledger.port import Ledger

app = typer.Typer(help="Identities: create, limit, pause and delete agents.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent.", show_default=False)]


def check_name(name: str, what: str = "agent") -> str:
    """The name again; a bad parameter when it cannot name an agent, team or run."""
    if not valid_name(name):
        raise typer.BadParameter(
            f"{name!r} cannot name an {what}: up to 64 letters, digits, '.', '_' and '-';"
            " 'default' and 'anonymous' are reserved"
        )
    return name


def find(ledger: Ledger, name: str) -> AgentRecord:
    """The agent, unless there is none or it was deleted."""
    for record in ledger.agents():
        if record.name == name and record.state != "deleted":
            return record
    raise UsageError(f"There is no agent {name!r}: see `tollkeeper agent list`.")


def mint(
    ledger: Ledger, agent: str, *, ttl_ns: int | None = None, run: str | None = None
) -> tuple[str, TokenRecord]:
    """A new token and its record; the text is kept nowhere."""
    token, created_ns = new_token(), now_ns()
    expires_ns = created_ns + ttl_ns if ttl_ns is not None else None
    record = TokenRecord(f"t_{os.urandom(6).hex()}", agent, created_ns, expires_ns, run=run)
    ledger.add_token(record, token_sha256(token), state.operator())
    return token, record


@app.command()
def create(
    name: Name,
    parent: Annotated[
        str | None, typer.Option(metavar="AGENT", help="Its parent, whose limits hold too.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="All it may ever spend.")
    ] = None,
    budget_hour: Annotated[
        str | None, typer.Option(metavar="USD", help="What it may spend in an hour.")
    ] = None,
    budget_day: Annotated[
        str | None, typer.Option(metavar="USD", help="What it may spend in a day.")
    ] = None,
    budget_week: Annotated[
        str | None, typer.Option(metavar="USD", help="What it may spend in a week.")
    ] = None,
    budget_month: Annotated[
        str | None, typer.Option(metavar="USD", help="What it may spend in a month.")
    ] = None,
    budget_run: Annotated[
        str | None, typer.Option(metavar="USD", help="What it may spend in a run.")
    ] = None,
    rpm: Annotated[int | None, typer.Option(min=1, metavar="N", help="Calls in any 60 s.")] = None,
    tpm: Annotated[int | None, typer.Option(min=1, metavar="N", help="Tokens in any 60 s.")] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Calls at once.")
    ] = None,
    models: Annotated[str | None, typer.Option(metavar="A,B", help="Models it may call.")] = None,
    tools: Annotated[str | None, typer.Option(metavar="A,B", help="Tools it may offer.")] = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="No tools at all.")] = False,
    no_streaming: Annotated[bool, typer.Option("--no-streaming", help="No streams.")] = False,
    no_vision: Annotated[bool, typer.Option("--no-vision", help="No images.")] = False,
    max_input_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Limit of one call.")
    ] = None,
    max_output_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Limit of one call.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what is not known.")] = False,
    scope: Annotated[
        str | None, typer.Option(metavar="full|read-only", help="read-only: free endpoints.")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(metavar="24h", help="How long its token holds.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make an agent; its token is shown once."""
    check_name(name)
    if scope not in (None, "full", "read-only"):
        raise typer.BadParameter(f"a scope is full or read-only, not {scope!r}")
    if no_tools and tools is not None:
        raise typer.BadParameter("--tools and --no-tools contradict each other")
    budgets = {
        Window.TOTAL: budget, Window.HOUR: budget_hour, Window.DAY: budget_day,
        Window.WEEK: budget_week, Window.MONTH: budget_month, Window.RUN: budget_run,
    }  # fmt: skip
    limits = Limits(
        budget_nano_usd={w: parse_limit_usd(text) for w, text in budgets.items() if text is not None},
        rpm=rpm, tpm=tpm, concurrent=concurrent,
        models=parse_list(models) if models is not None else None,
        tools=() if no_tools else parse_list(tools) if tools is not None else None,
        streaming=False if no_streaming else None,
        vision=False if no_vision else None,
        max_input_tokens=max_input_tokens, max_output_tokens=max_output_tokens,
        strict=True if strict else None, scope=scope,
    )  # fmt: skip
    ttl_ns = parse_duration_ns(ttl) if ttl is not None else None
    at = state.made_home()
    with state.open_ledger(at) as ledger:
        if parent is not None:
            _ensure_parent(ledger, at, parent)
        made = AgentRecord(name, "active", parent, limits, now_ns())
        ledger.create_agent(made, state.operator())
        token, record = mint(ledger, name, ttl_ns=ttl_ns)
    _print_token(name, token, record, json_=json_)


def _ensure_parent(ledger: Ledger, at: Home, parent: str) -> None:
    """Make a parent that only the policy has named so far; it has no token until it needs one."""
    if any(record.name == parent for record in ledger.agents()) or not valid_name(parent):
        return
    if at.policy.exists() and parent in state.load_policy(at).agents:
        ledger.create_agent(AgentRecord(parent, "active", created_ns=now_ns()), state.operator())
        say(f"Made the agent {parent!r}, which the policy names; it has no token yet.")


def _print_token(name: str, token: str, record: TokenRecord, *, json_: bool) -> None:
    if json_:
        facts = {
            "agent": name,
            "token": token,
            "token_id": record.id,
            "expires_ns": record.expires_ns,
        }
        print_json(facts)
        return
    print(token)
    say(f"This is the token of {name}. It is shown once and kept nowhere.")
    say(f"Run a program as {name}: tollkeeper run --agent {name} -- CMD")


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", "-a", help="The deleted ones too.")] = False,
    json_: Json = False,
) -> None:
    """List agents as a tree, with what they have spent."""
    with state.open_ledger() as ledger:
        used, minted = reports.calls_by_agent(ledger), reports.made_by_agents(ledger)
        everybody = ledger.agents()
        below = {record.name: _of_others(ledger, record.name, used) for record in everybody}
    nothing = {"calls": 0, "cost_nano_usd": 0, "notional_nano_usd": 0, "last_ns": None}
    shown = Tree.of(record for record in everybody if all_ or record.state != "deleted")
    rows = []
    for record, depth in shown.whole():
        own = used.get(record.name, nothing)
        spent = own["cost_nano_usd"]
        rows.append({
            "name": record.name, "state": record.state, "parent": record.parent, "depth": depth,
            "made_by": "agent" if record.name in minted else "operator",
            "limits": limit_words(record.limits), "calls": own["calls"], "spent_nano_usd": spent,
            "with_children_nano_usd": spent + below[record.name],
            "notional_nano_usd": own["notional_nano_usd"],
            "last_call_ns": own["last_ns"], "created_ns": record.created_ns,
        })  # fmt: skip
    columns = [
        Column("name", "agent"), Column("state", "state"), Column("parent", "parent"),
        Column("calls", "calls"), Column("spent_nano_usd", "spent"),
        Column("with_children_nano_usd", "with children"),
        Column("notional_nano_usd", "notional"),
        Column("last_call_ns", "last call", spare=1), Column("limits", "limits of its own"),
    ]  # fmt: skip
    if not any(row["notional_nano_usd"] for row in rows):
        del columns[6]
    if all(row["with_children_nano_usd"] == row["spent_nano_usd"] for row in rows):
        del columns[5]
    if not json_:
        names = drawn([(row["name"], row["depth"]) for row in rows])
        rows = [{**row, "name": name} for row, name in zip(rows, names, strict=True)]
    print_rows(rows, columns, json_=json_, empty="No agents yet: tollkeeper agent create NAME")


def _of_others(ledger: Ledger, name: str, used: Mapping[str, Mapping[str, Any]]) -> int:
    """What others spent on the agent's account, who were below it when they did."""
    stands = ledger.balance(Account(f"agent:{name}", Window.TOTAL)).spent_nano_usd
    return max(stands - (used[name]["booked_nano_usd"] if name in used else 0), 0)


def limit_words(limits: Limits) -> list[str]:
    """Limits as short words: ``$5 total``, ``30 rpm``."""
    words = [f"${_short(nano)} {window}" for window, nano in limits.budget_nano_usd.items()]
    words += [f"{count} calls {window}" for window, count in limits.requests.items()]
    for name in ("rpm", "tpm", "concurrent"):
        value = getattr(limits, name)
        if value is not None:
            words.append(f"{value} {name}")
    for name in ("models", "tools"):
        value = getattr(limits, name)
        if value is not None:
            words.append(f"{name} {'+'.join(value) or 'none'}")
    words += [
        f"no {n}" for n in ("streaming", "vision", "reasoning") if getattr(limits, n) is False
    ]
    for name in ("max_input_tokens", "max_output_tokens"):
        value = getattr(limits, name)
        if value is not None:
            words.append(f"≤ {value} {name.split('_')[1]} tokens")
    if limits.strict:
        words.append("strict")
    if limits.scope == "read-only":
        words.append("read-only")
    return words


def _short(nano: int) -> str:
    return str(nano // NANO_PER_USD) if nano % NANO_PER_USD == 0 else usd(nano)


@app.command()
def show(name: Name, json_: Json = False) -> None:
    """Show one agent: lineage, limits, tokens, spending."""
    from tollkeeper.ledger.records import limits_to_plain

    with state.open_ledger() as ledger:
        record = find(ledger, name)
        tokens = [_token_row(token) for token in ledger.tokens(name)]
        by_agent = reports.calls_by_agent(ledger)
        of_others = _of_others(ledger, name, by_agent)
        whole = Tree.of(ledger.agents())
    used: Mapping[str, Any] = by_agent.get(name, {})
    below = [
        (child.name, depth) for child, depth in whole.below(name)
        if depth > 0 and child.state != "deleted"
    ]  # fmt: skip
    spent = used.get("cost_nano_usd", 0)
    facts: dict[str, Any] = {
        "name": record.name, "state": record.state, "parent": record.parent,
        "ancestors": [one.name for one in whole.lineage(name)[1:]],
        "children": [child for child, depth in below if depth == 1],
        "created_ns": record.created_ns,
        "calls": used.get("calls", 0), "spent_nano_usd": spent,
        "with_children_nano_usd": spent + of_others,
        "notional_nano_usd": used.get("notional_nano_usd") or None,
        "last_call_ns": used.get("last_ns"),
    }  # fmt: skip
    if json_:
        facts["descendants"] = [child for child, _ in below]
        print_json({**facts, "limits": limits_to_plain(record.limits), "tokens": tokens})
        return
    print_facts({**facts, "children": None, "limits": limit_words(record.limits)}, json_=False)
    for number, child in enumerate(drawn(below)):
        label = "" if number else "children"
        print(f"{label:<{len('with children')}}  {escape(child)}")
    print()
    columns = [
        Column("id", "token"), Column("state", "state"), Column("run", "run"),
        Column("created_ns", "made", spare=1), Column("expires_ns", "expires", spare=2),
        Column("minted_by", "minted by"),
    ]  # fmt: skip
    print_rows(tokens[-20:], columns, json_=False, empty="It has no tokens.")
    if len(tokens) > 20:
        say(f"{len(tokens) - 20} older tokens are not shown: use --json.")


def _token_row(token: TokenRecord) -> dict[str, Any]:
    if token.revoked_ns is not None:
        holds = "revoked"
    elif token.expires_ns is not None and token.expires_ns <= now_ns():
        holds = "expired"
    else:
        holds = "valid"
    return {
        "id": token.id, "state": holds, "run": token.run, "created_ns": token.created_ns,
        "expires_ns": token.expires_ns, "revoked_ns": token.revoked_ns,
        "minted_by": token.minted_by,
    }  # fmt: skip


@app.command("rotate-token")
def rotate_token(
    name: Name,
    ttl: Annotated[
        str | None, typer.Option(metavar="24h", help="How long the new one holds.")
    ] = None,
    json_: Json = False,
) -> None:
    """Revoke its tokens and what they minted; show a new one."""
    ttl_ns = parse_duration_ns(ttl) if ttl is not None else None
    with state.open_ledger() as ledger:
        find(ledger, name)
        token, record = mint(ledger, name, ttl_ns=ttl_ns)
        revoked = ledger.revoke_tokens(name, now_ns(), state.operator(), keep=record.id)
    if not json_:
        say(f"{revoked} older token{'s' if revoked != 1 else ''} revoked, those they minted too.")
    _print_token(name, token, record, json_=json_)


def _set_state(name: str, new_state: str) -> AgentRecord:
    with state.open_ledger() as ledger:
        record = find(ledger, name)
        ledger.set_agent_state(name, new_state, now_ns(), state.operator())
        return replace(record, state=new_state)


@app.command()
def pause(name: Name) -> None:
    """Refuse its and its children's calls until resumed."""
    _set_state(name, "paused")
    print(f"{name} is paused.")


@app.command()
def resume(name: Name) -> None:
    """Let a paused agent call again."""
    _set_state(name, "active")
    print(f"{name} is active.")


@app.command()
def delete(name: Name) -> None:
    """Delete it with its children and tokens.

    The record of what it did stays.
    """
    with state.open_ledger() as ledger:
        below = Tree.of(a for a in ledger.agents() if a.state != "deleted").descendants(name)
    _set_state(name, "deleted")
    print(f"{name} is deleted, its tokens are revoked.")
    if below:
        print(f"So are its descendants: {', '.join(below)}.")
