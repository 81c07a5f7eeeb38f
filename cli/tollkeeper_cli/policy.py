"""`policy …`: check, ask and test the rules, without a proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper.errors import PolicyError, Problem, UsageError
from tollkeeper_cli import state
from tollkeeper_cli.output import Column, escape, print_facts, print_json, print_rows, say
from tollkeeper_cli.state import Json

if TYPE_CHECKING:
    from tollkeeper.domain import Decision
    from tollkeeper.policy.load import LoadedPolicy

app = typer.Typer(help="Rules: check, ask and test them.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Argument(metavar="[F]", help="A policy file or folder; the one in force without it."),
]


def _path(file: Path | None) -> Path:
    path = file or state.policy_path(state.home())
    if not path.exists():
        mend = "" if file else ": run `tollkeeper init` first, or name one"
        raise UsageError(f"No policy at {path}{mend}.")
    return path


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "path": problem.path, "line": problem.line, "column": problem.column,
        "message": problem.message, "warning": problem.warning,
    }  # fmt: skip


@app.command()
def check(file: File = None, json_: Json = False) -> None:
    """Say everything that is wrong with a policy.

    Exit code 1 when it does not load.
    """
    from tollkeeper.policy.load import load

    path = _path(file)
    try:
        loaded = load(path)
    except PolicyError as e:
        if json_:
            print_json({"ok": False, "problems": [_problem(one) for one in e.problems]})
        else:
            for one in e.problems:
                print(escape(one))
            say(
                f"{len(e.problems)} problem{'' if len(e.problems) == 1 else 's'}: it does not load."
            )
        raise typer.Exit(1) from None
    if json_:
        warnings = [_problem(one) for one in loaded.warnings]
        print_json({"ok": True, "problems": warnings, **_contents(loaded)})
        return
    for one in loaded.warnings:
        print(escape(one))
    contents = ", ".join(
        f"{count} {what[:-1] if count == 1 else what}"
        for what, count in _contents(loaded).items()
        if what != "mode"
    )
    print(f"{escape(path)} loads: {contents}; mode {loaded.policy.mode}.")


def _contents(loaded: LoadedPolicy) -> dict[str, Any]:
    policy = loaded.policy
    return {
        "agents": len(policy.agents), "teams": len(policy.teams), "rules": len(policy.rules),
        "examples": loaded.examples, "mode": str(policy.mode),
    }  # fmt: skip


@app.command()
def explain(
    request: Annotated[
        Path, typer.Argument(metavar="REQUEST", help="A YAML or JSON file; see above.")
    ],
    policy: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Ask this policy.", show_default="the one in force"),
    ] = None,
    json_: Json = False,
) -> None:
    """Ask the rules about one request, on empty books.

    The file holds {agent, call: {model, prompt, ...}} as in an example's given, or
    {agent, http: {method, url, headers, body}}. Exit code 1 when it would be refused.
    """
    from tollkeeper.domain import Billing, Effect
    from tollkeeper.policy.explain import explain_file
    from tollkeeper.policy.load import load

    found = explain_file(load(_path(policy)).policy, request)
    decision = found.decision
    facts: dict[str, Any] = {
        "effect": _word(decision), "provider": found.provider, "model": found.model,
        "rules": list(found.rules),
        "paid_by": None if decision.billing is Billing.METERED else str(decision.billing),
        "costs_at_most_nano_usd": decision.reserve_nano_usd if found.model else None,
        "notional_at_most_nano_usd": (
            None if decision.billing is Billing.METERED else decision.worst_nano_usd
        ),
        "expected_nano_usd": decision.expected_nano_usd, "price_from": decision.price_source,
        "outgrown_streams_cut_by": decision.cuts,
        "changes": {name: value for name in ("model", "provider", "max_output_tokens")
                    if (value := getattr(decision.changes, name)) is not None},
    }  # fmt: skip
    reasons = [
        {"effect": one.effect.name.lower(), "code": str(one.code), "source": one.source,
         "message": one.message, "observed": one.observed}
        for one in decision.reasons
    ]  # fmt: skip
    if json_:
        print_json({**facts, "reasons": reasons, "facts": dict(found.facts)})
    else:
        print_facts(facts, json_=False)
        for one in reasons:
            observed = " (observed only)" if one["observed"] else ""
            print(f"- {one['source']}: {escape(one['message'])}{observed}")
    if decision.effect is Effect.DENY:
        raise typer.Exit(1)


def _word(decision: Decision) -> str:
    changed = decision.effect.name == "ALLOW" and bool(decision.changes)
    return "change" if changed else decision.effect.name.lower()


@app.command("test")
def try_(
    file: File = None,
    on: Annotated[
        Path | None,
        typer.Option("--on", metavar="FLOWS", help="Judge these recorded flows instead."),
    ] = None,
    agent: Annotated[
        str, typer.Option(metavar="A", help="Whose calls they are, where the file does not say.")
    ] = "default",
    json_: Json = False,
) -> None:
    """Try a policy's examples, or recorded traffic.

    FLOWS is a file that mitmproxy saved. Exit code 1 when an example does not hold.
    """
    if on is None:
        check(file, json_=json_)
        if not json_:
            print("Every example comes out as it says.")
        return
    from tollkeeper.policy.load import load
    from tollkeeper.policy.replay import what_if
    from tollkeeper.proxy.recorded import recorded

    policy = load(_path(file)).policy
    found = what_if(policy, recorded(on, policy, agent))
    facts = {
        "requests": found.requests, **found.effects,
        "passed_nano_usd": found.passed_nano_usd, "kept_back_nano_usd": found.kept_back_nano_usd,
        "without_price": found.unpriced,
    }  # fmt: skip
    if found.notional_nano_usd:
        facts["notional_nano_usd"] = found.notional_nano_usd
    reasons = [
        {"effect": effect, "code": code, "source": source, "requests": count}
        for (effect, code, source), count in found.reasons.most_common()
    ]
    if json_:
        print_json({**facts, "reasons": reasons})
        return
    print_facts(facts, json_=False)
    print()
    columns = [Column("source", "why"), Column("effect", "effect"), Column("code", "code"),
               Column("requests", "requests")]  # fmt: skip
    print_rows(reasons, columns, json_=False, empty="Nothing would have been refused or held.")


@app.command()
def schema() -> None:
    """Print the JSON schema of a policy, for editors."""
    from tollkeeper.policy.schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=True))
