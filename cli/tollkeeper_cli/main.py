"""The `tollkeeper` command: every command in one place, errors turned into one line and an exit code.

Exit codes: 0 yes or done; 1 no or failed, whatever the reason; 2 a command line that cannot be read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from typer.core import TyperGroup

from tollkeeper.errors import TollkeeperError
from tollkeeper_cli import (
    agent,
    approval,
    audit,
    budget,
    demo,
    doctor,
    metrics,
    model,
    policy,
    proxy,
    run,
    runs,
    setup,
)
from tollkeeper_cli.output import escape, say

START: Final = "Start"
AGENTS: Final = "Agents and money"
ANSWERS: Final = "Held calls"
RULES: Final = "Rules"
RECORD: Final = "What happened"

WRONG_USAGE: Final = 2
FAILED: Final = 1

UsageException: Final = typer.BadParameter.__mro__[1]
"""What typer raises for a command line that it cannot read; it has no public name for it."""

ORDER: Final = (
    "demo", "init", "run", "env", "up", "down", "status", "logs", "doctor", "script",
    "agent", "budget", "model", "approval", "approve", "reject", "policy", "runs", "audit",
    "metrics",
)  # fmt: skip


class Ordered(TyperGroup):
    """Lists commands as people meet them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """In our order."""
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="tollkeeper",
    cls=Ordered,
    help="Put it between AI agents and the internet: budgets, rules, approvals, a ledger.",
    epilog="Begin with: tollkeeper demo, or tollkeeper init. Exit codes: 0 done, 1 no, 2 wrong usage.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"tollkeeper {version('tollkeeper')}")
        except PackageNotFoundError:
            print("tollkeeper, from a source tree that is not installed")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def tollkeeper(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Put it between AI agents and the internet: budgets, rules, approvals, a ledger."""
    del version
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command(rich_help_panel=START)(demo.demo)
app.command(rich_help_panel=START)(setup.init)
app.command(
    rich_help_panel=START,
    context_settings={"allow_interspersed_args": False},
)(run.run)
app.command(rich_help_panel=START)(run.env)
app.command(rich_help_panel=START)(proxy.up)
app.command(rich_help_panel=START)(proxy.down)
app.command(rich_help_panel=START)(proxy.status)
app.command(rich_help_panel=START)(proxy.logs)
app.command(rich_help_panel=START)(doctor.doctor)
app.command(rich_help_panel=START)(proxy.script)
app.add_typer(agent.app, name="agent", rich_help_panel=AGENTS)
app.add_typer(budget.app, name="budget", rich_help_panel=AGENTS)
app.add_typer(model.app, name="model", rich_help_panel=AGENTS)
app.add_typer(approval.app, name="approval", rich_help_panel=ANSWERS)
app.command(rich_help_panel=ANSWERS)(approval.approve)
app.command(rich_help_panel=ANSWERS)(approval.reject)
app.add_typer(policy.app, name="policy", rich_help_panel=RULES)
app.add_typer(runs.app, name="runs", rich_help_panel=RECORD)
app.add_typer(audit.app, name="audit", rich_help_panel=RECORD)
app.command(rich_help_panel=RECORD)(metrics.metrics)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; its exit code. Never a traceback for what a person can mend."""
    try:
        code = app(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name="tollkeeper", standalone_mode=False,
        )  # fmt: skip
    except UsageException as e:
        return _wrong_usage(e)
    except TollkeeperError as e:
        first, *more = str(e).splitlines() or [type(e).__name__]
        say(f"error: {escape(first)}")
        for line in more:
            say(f"  {escape(line)}")
        return FAILED
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has enough; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Exception) -> int:
    """One line, and where to read more."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "tollkeeper"
    text = " ".join(str(getattr(error, "format_message", error.__str__)()).split())
    if type(error).__name__ != "NoArgsIsHelpError":
        end = "" if text.endswith("?") else "."
        say(f"error: {escape(text.rstrip('.'))}{end} See: {where} --help")
    return WRONG_USAGE
