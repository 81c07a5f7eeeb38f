from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tollkeeper.home import Home
from tollkeeper_cli.main import SECTIONS, app

from .conftest import Cli, Done


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


EVERY = list(commands(typer.main.get_command(app)))


def process(*arguments: str, **environment: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "tollkeeper_cli", *arguments],
        capture_output=True, text=True, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in EVERY])
def test_every_command_says_in_one_line_what_it_does(cli: Cli, path: str) -> None:
    command = {" ".join(names): found for names, found in EVERY}[path]

    done = cli(*path.split(), "--help")

    assert done.code == 0
    first = command.help.split("\n")[0]
    assert first in done.out
    assert 10 <= len(first) <= 60
    assert first[-1] in ".?"


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_option_and_argument_is_explained(path: tuple[str, ...], command: Any) -> None:
    for one in command.params:
        assert getattr(one, "hidden", False) or one.help, f"{path}: {one.name}"


def test_help_shows_every_command_under_a_heading(cli: Cli) -> None:
    done = cli("--help")

    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(path[0] for path, _ in EVERY if len(path) == 1)
    for title in SECTIONS:
        assert f"\n{title}:\n" in done.out
    assert max(map(len, done.lines)) <= 80


def test_no_command_at_all_shows_the_help(cli: Cli) -> None:
    assert cli() == cli("--help")


def test_a_group_without_a_command_shows_its_help_as_wrong_usage(cli: Cli) -> None:
    done = cli("agent")

    assert (done.code, done.out) == (2, "")
    assert "rotate-token" in done.err


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["up", "--nonsense"], ["up", "--port", "x"], ["agent", "create"], ["runs", "show"],
     ["budget", "add", "atlas", "much"], ["agent", "create", "a:b"], ["agent", "create", "default"],
     ["logs", "--lines", "-1"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Cli, made: Home, words: list[str]) -> None:
    done = cli(*words)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "--help" in done.err


@pytest.mark.parametrize(
    "words",
    [["status"], ["agent", "list"], ["approval", "list"], ["approve", "x"], ["budget"], ["runs"],
     ["audit"], ["audit", "verify"], ["metrics"], ["model", "list"], ["up"], ["down"], ["logs"],
     ["env", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_without_a_state_folder_every_command_says_how_to_begin(cli: Cli, words: list[str]) -> None:
    done = cli(*words)

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: No state in ")
    assert "tollkeeper init" in done.err


def test_it_runs_as_a_module_and_tells_its_version() -> None:
    done = process("--version")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("tollkeeper")


def test_a_command_imports_neither_what_takes_long_nor_other_commands(made: Home) -> None:
    heavy = (
        "{'mitmproxy', 'pydantic', 'genai_prices', 'sqlite_utils', 'yaml', 'rich.console',"
        " 'tollkeeper_cli.run', 'tollkeeper_cli.proxy', 'tollkeeper_cli.doctor', 'tollkeeper_cli.runs'}"
    )
    code = (
        "import sys; from tollkeeper_cli.main import main; code = main(['agent', 'list']);"
        f"print(sorted({heavy} & sys.modules.keys()), code)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.returncode == 0
    assert again.stdout.splitlines()[-1] == "[] 0"


def test_a_reader_that_has_enough_ends_it_without_a_traceback(made: Home, tmp_path: Path) -> None:
    line = f"{sys.executable} -m tollkeeper_cli policy schema | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("{\n", "")


def test_errors_are_escaped(cli: Cli, made: Home) -> None:
    done = cli("agent", "show", "\x1b[31mred")

    assert done.code == 1
    assert "\x1b" not in done.err


@pytest.mark.parametrize("arguments", ["policy schema", "--help"])
def test_reader_that_goes_away_is_no_error_to_tell(arguments: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tollkeeper_cli", *arguments.split()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()

        assert command.stderr.read() == b""
        assert command.wait(timeout=90) == 1
