"""`approval …`, `approve`, `reject`: the questions that wait for a person."""

from __future__ import annotations

import base64
import secrets
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper.core.eyes import readable
from tollkeeper.core.identity import new_operator_code, seal
from tollkeeper.domain import Approval, Verdict
from tollkeeper.errors import ApprovalError
from tollkeeper.home import Home
from tollkeeper_cli import state
from tollkeeper_cli.output import Column, Row, escape, print_facts, print_json, print_rows, say
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import dollars, now_ns, span

if TYPE_CHECKING:
    from tollkeeper.ledger.port import Ledger

app = typer.Typer(help="Held calls: list, look at and watch them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="An approval, or the beginning of its id.")]
Ids = Annotated[
    list[str], typer.Argument(metavar="ID…", help="Approvals, or the beginnings of ids.")
]
Note = Annotated[
    str,
    typer.Option("--note", "-m", metavar="TEXT", help="Kept in the record.", show_default=False),
]

COLUMNS = [
    Column("id", "approval"), Column("agent", "agent"), Column("rule", "rule"),
    Column("model", "model"), Column("worst_nano_usd", "at most"),
    Column("expected_nano_usd", "expected", spare=1), Column("shown_state", "state"),
    Column("age", "asked", right=True, spare=2), Column("lapses_in", "lapses in", right=True),
]  # fmt: skip


WHOLE = "This is the whole body; nothing is left out."
_FOR_EYES = ("shown_state", "age", "lapses_in")


def row_of(approval: Approval, at_ns: int) -> Row:
    """What a table tells of an approval."""
    summary = approval.summary
    waits = approval.state == "open"
    return {
        "id": approval.id,
        "agent": approval.agent,
        "run": approval.run,
        "rule": approval.rule,
        "state": approval.state,
        "shown_state": shown_state(approval),
        "waiting": approval.waiting,
        "provider": summary.get("provider"),
        "model": summary.get("model"),
        "operation": summary.get("operation"),
        "worst_nano_usd": summary.get("worst_nano_usd"),
        "expected_nano_usd": summary.get("expected_nano_usd"),
        "created_ns": approval.created_ns,
        "lapses_ns": approval.lapses_ns,
        "age": f"{span(at_ns - approval.created_ns)} ago",
        "lapses_in": span(approval.lapses_ns - at_ns) if waits else None,
    }


def shown_state(approval: Approval) -> str:
    """``open`` while a client waits, ``abandoned`` when it left; else the state."""
    return "abandoned" if approval.state == "open" and approval.waiting == 0 else approval.state


def _json_row(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in _FOR_EYES}


@app.command("list")
def list_(
    all_: Annotated[
        bool, typer.Option("--all", "-a", help="The answered and lapsed ones too.")
    ] = False,
    json_: Json = False,
) -> None:
    """List calls that wait for an answer."""
    with state.open_ledger() as ledger:
        rows = [row_of(approval, now_ns()) for approval in ledger.approvals(open_only=not all_)]
    shown = [_json_row(row) for row in rows] if json_ else rows
    print_rows(shown, COLUMNS, json_=json_, empty="Nothing waits for you.")


@app.command()
def show(approval: Id, json_: Json = False) -> None:
    """Show one held call, whole."""
    with state.open_ledger() as ledger:
        found = ledger.approval(approval)
        body = ledger.approval_body(found.id)
    if json_:
        print_json(_whole(found, body))
        return
    print_facts(facts_of(found, len(body), now_ns()), json_=False)
    print()
    print("\n".join(readable(body)))
    print()
    print(WHOLE)
    if found.state == "open":
        say(
            f"Answer with: tollkeeper approve {found.id}   or   tollkeeper reject {found.id} --note …"
        )


def facts_of(approval: Approval, body_bytes: int, at_ns: int) -> dict[str, Any]:
    """All that is known of the question, the facts of the call included."""
    summary = dict(approval.summary)
    worst, expected = summary.pop("worst_nano_usd", None), summary.pop("expected_nano_usd", None)
    notional = "notional " if "billing" in summary else ""
    for known in ("agent", "run", "rules", "worst_cost_usd", "expected_cost_usd"):
        summary.pop(known, None)
    facts: dict[str, Any] = {
        "approval": approval.id,
        "state": shown_state(approval),
        "agent": approval.agent,
        "run": approval.run,
        "held by rule": approval.rule,
        "costs at most": None if worst is None else f"{notional}{dollars(worst)}",
        "expected cost": None if expected is None else dollars(expected),
        **summary,
        "asked_ns": approval.created_ns,
        "waiting clients": approval.waiting,
    }
    if approval.state == "open":
        facts["lapses in"] = span(approval.lapses_ns - at_ns)
    if approval.verdict is not None:
        verdict = approval.verdict
        facts |= {"answered by": verdict.by, "answered_ns": verdict.at_ns, "note": verdict.note}
    return facts | {"body": f"{body_bytes} bytes"}


def _whole(approval: Approval, body: bytes) -> dict[str, Any]:
    verdict = approval.verdict
    try:
        text: dict[str, Any] = {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        text = {"body_base64": base64.b64encode(body).decode("ascii")}
    return {
        **_json_row(row_of(approval, now_ns())),
        "digest": approval.digest,
        "summary": dict(approval.summary),
        "verdict": None if verdict is None else {
            "answer": verdict.answer, "by": verdict.by, "note": verdict.note, "at_ns": verdict.at_ns,
        },
        "body_bytes": len(body),
        **text,
    }  # fmt: skip


@app.command()
def watch() -> None:
    """Answer held calls in a full-screen inbox.

    a approves, r rejects, v shows the whole call, q quits. Without a terminal: a line for each.
    """
    from tollkeeper_cli.inbox import follow, sit

    at = state.made_home()
    if sys.stdin.isatty() and sys.stdout.isatty():
        sit(at)
    else:
        follow(at)


@app.command()
def code() -> None:
    """Make a code to answer held calls in mitmweb, good once."""
    at = state.made_home()
    print(new_operator_code(at.read_operator_key(), secrets.token_bytes(3), now_ns()))


def approve(approvals: Ids, note: Note = "") -> None:
    """Let held calls go on."""
    _answer_all(approvals, "approved", note)


def reject(approvals: Ids, note: Note = "") -> None:
    """Refuse held calls; the note reaches the agent."""
    _answer_all(approvals, "rejected", note)


def _answer_all(prefixes: list[str], answer: str, note: str) -> None:
    at = state.made_home()
    failed = False
    with state.open_ledger(at) as ledger:
        for prefix in dict.fromkeys(prefixes):
            try:
                print(sentence(give(at, ledger, prefix, answer, note)))
            except ApprovalError as e:
                failed = True
                say(f"error: {escape(e)}")
    if failed:
        raise typer.Exit(1)


def give(at: Home, ledger: Ledger, prefix: str, answer: str, note: str) -> Approval:
    """Seal and give a verdict on the approval with this prefix.

    Raises:
        ApprovalError: When it is unknown, ambiguous, answered already or lapsed.
    """
    found, by, at_ns = ledger.approval(prefix), state.operator(), now_ns()
    sealed = seal(at.read_operator_key(), found.id, found.digest, answer, by, note, at_ns)
    answered = ledger.give_verdict(Verdict(found.id, answer, by, note, at_ns, sealed))
    return replace(answered, waiting=found.waiting)


def sentence(approval: Approval) -> str:
    """What was answered, and what happens now."""
    model = approval.summary.get("model") or approval.summary.get("operation") or "a call"
    what = f"{approval.id} {approval.state}: {escape(approval.agent)}, {escape(model)}"
    if approval.state == "approved" and approval.waiting == 0:
        lasts = span(approval.lapses_ns - now_ns() + 999_999_999)
        return f"{what}. Nobody waits now; it holds for the same call within {lasts}."
    return f"{what}."
