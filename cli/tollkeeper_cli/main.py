"""The `tollkeeper` command: every command in one place, errors turned into one line and an exit code.

Exit codes: 0 yes or done; 1 no or failed, whatever the reason; 2 a command line that cannot be read.
"""

from __future__ import annotations

import gc
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tollkeeper.errors import TollkeeperError
from tollkeeper_cli.output import escape, paint, say

SECTIONS: Final = {
    "Start": {
        "demo": "demo:demo",
        "init": "setup:init",
        "run": "run:run",
        "env": "run:env",
        "up": "proxy:up",
        "down": "proxy:down",
        "status": "proxy:status",
        "logs": "proxy:logs",
        "doctor": "doctor:doctor",
        "deploy": "deploy:deploy",
        "script": "proxy:script",
    },
    "Agents and money": {"agent": "agent:app", "budget": "budget:app", "model": "model:app"},
    "Held calls": {
        "approval": "approval:app",
        "approve": "approval:approve",
        "reject": "approval:reject",
    },
    "Rules": {"policy": "policy:app"},
    "What happened": {
        "runs": "runs:app",
        "audit": "audit:app",
        "metrics": "metrics:metrics",
        "report": "report:report",
        "export": "export:export",
        "reconcile": "reconcile:reconcile",
    },
}
"""Where each command is (a function, or an app of its own), as --help groups them and in the order in
which people meet them."""

_NEW_OBJECTS: Final = 100_000
"""How many objects to make before looking for garbage: what a command imports is none of it, and Python
would look through that dozens of times."""

WRONG_USAGE: Final = 2
FAILED: Final = 1

UsageException: Final[type[Exception]] = typer.BadParameter.__mro__[1]
"""What typer raises for a command line that it cannot read; it has no public name for it."""


_SETTINGS: Final = {"run": {"allow_interspersed_args": False}}
"""What follows the agent's command belongs to that command."""


class Commands(Mapping[str, Any]):
    """The commands by name, in our order; each is imported when it is asked for.

    A person waits for one of them and need not wait for the others.
    """

    _PLACES: Final = {
        name: place for section in SECTIONS.values() for name, place in section.items()
    }

    def __init__(self) -> None:
        """None is imported yet."""
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """A command as typer makes it.

        Raises:
            KeyError: There is none of this name.
        """
        if name not in self._made:
            self._made[name] = self._make(name, f"{__package__}.{self._PLACES[name]}")
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._PLACES)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._PLACES)

    @staticmethod
    def _make(name: str, place: str) -> Any:
        found = pkgutil.resolve_name(place)
        parent = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        parent.callback()(lambda: None)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=name)
        else:
            parent.command(name, context_settings=_SETTINGS.get(name))(found)
        return typer.main.get_group(parent).commands[name]


class Sections(TyperGroup):
    """The commands under headings, the options after them.

    Plain text and not typer's rich panels: those take a third of a second to import.
    """

    def __init__(self, **attributes: Any) -> None:
        """A group whose commands are imported one by one."""
        super().__init__(**attributes)
        self.commands = Commands()  # type: ignore[assignment]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """What `--help` shows below the usage line."""
        for title, names in SECTIONS.items():
            rows = [(name, self.commands[name].get_short_help_str(limit=80)) for name in names]
            with formatter.section(paint(title, "1")):
                formatter.write_dl(rows)
        with formatter.section(paint("Options", "1")):
            formatter.write_dl(
                [row for one in self.get_params(ctx) if (row := one.get_help_record(ctx))]
            )


app = typer.Typer(
    name="tollkeeper",
    cls=Sections,
    help="Put it between AI agents and the internet: budgets, rules, approvals, a ledger.",
    epilog="Begin with: tollkeeper demo, or tollkeeper init. Exit codes: 0 done, 1 no, 2 wrong usage.",
    rich_markup_mode=None,
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; its exit code. Never a traceback for what a person can mend."""
    gc.set_threshold(_NEW_OBJECTS)
    try:
        code = app(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name="tollkeeper", standalone_mode=False,
        )  # fmt: skip
        sys.stdout.flush()
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
    except OSError as e:
        if isinstance(e, BrokenPipeError) and _nobody_reads():
            return FAILED
        say(f"error: {escape(e.filename or 'The system')}: {escape(e.strerror or e)}.")
        return FAILED
    return code if isinstance(code, int) else 0


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has gone, as ``head`` goes; it is dropped then.

    Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _wrong_usage(error: Exception) -> int:
    """One line, and where to read more."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "tollkeeper"
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        say(context.get_help())
        return WRONG_USAGE
    text = " ".join(str(getattr(error, "format_message", error.__str__)()).split())
    end = "" if text.endswith("?") else "."
    say(f"error: {escape(text.rstrip('.'))}{end} See: {where} --help")
    return WRONG_USAGE
