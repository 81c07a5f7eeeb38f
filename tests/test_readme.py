"""The README says what is there: commands, options, keys, codes, files and tests."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tollkeeper import facts
from tollkeeper.domain import Code
from tollkeeper.facts.tables import read_table
from tollkeeper.launch.environment import environment
from tollkeeper.policy.load import load
from tollkeeper.policy.matchers import CallMatch
from tollkeeper.policy.ready_made import ready_made
from tollkeeper.policy.schema import json_schema
from tollkeeper.wire.refusal import status_of
from tollkeeper_cli.main import UsageException, app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(found[1], found[2]) for found in BLOCK.finditer(README)]
PROSE = BLOCK.sub("", README)
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
LINKS = [(found[1], found[2]) for found in LINK.finditer(PROSE)]
ROOT_COMMAND: Any = typer.main.get_command(app)


def section(title: str) -> str:
    """The text under a heading of the second level."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table in a text, headings left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for number, row in enumerate(cells) if not is_heading(cells, number)]


def is_heading(cells: list[list[str]], number: int) -> bool:
    after = cells[number + 1 : number + 2]
    return any(set("".join(row)) <= set("-|: ") for row in (cells[number], *after))


def commands() -> dict[str, Any]:
    """Every command that a person can type, groups that do something by themselves included."""
    return dict(walked(ROOT_COMMAND, ()))


def walked(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        yield from walked(child, (*path, name))
    if path and (not hasattr(command, "commands") or options(command)):
        yield " ".join(path), command


def options(command: Any) -> set[str]:
    return {
        option
        for one in command.params
        if not getattr(one, "hidden", False)
        for option in (*one.opts, *one.secondary_opts)
        if option.startswith("--") and option != "--help"
    }


def command_rows() -> dict[str, tuple[str, str]]:
    """``command -> (first cell, second cell)`` of the command table."""
    found = {}
    for first, second in rows(section("Command reference")):
        words = first.strip("`").split()[1:]
        name = " ".join(word for word in words if word.islower())
        found[name] = (first, second)
    return found


# -------------------------------------------------------------------------------- commands


def test_every_command_is_in_the_reference_and_nothing_else() -> None:
    assert set(command_rows()) == set(commands())


@pytest.mark.parametrize("name", commands())
def test_every_option_and_argument_of_a_command_is_in_its_row(name: str) -> None:
    first, second = command_rows()[name]
    command = commands()[name]
    arguments = [one.metavar for one in command.params if one.param_type_name == "argument"]

    assert set(re.findall(r"--[a-z-]+", second)) == options(command) - {"--json"}
    assert first.strip("`").split()[1 + len(name.split()) :] == arguments


def command_lines() -> list[str]:
    """Every `tollkeeper …` of the page, in blocks and in the text, without the program's own name."""
    found = []
    for kind, text in BLOCKS:
        if kind not in ("sh", "console"):
            continue
        for line in text.splitlines():
            found += re.findall(r"\$\(tollkeeper ([^)]*)\)", line)
            typed = re.match(r"\s*(?:\$ )?(?:.*&& )?(?:uv run )?tollkeeper (.*)", line)
            if typed and (kind == "sh" or line.lstrip().startswith("$ ")):
                found.append(typed[1].partition(" > ")[0])
    found += re.findall(r"`tollkeeper ([^`$]+)`", PROSE)
    found += re.findall(r"\$\(tollkeeper ([^)`]*)\)", PROSE)
    return list(dict.fromkeys(found))


def test_command_lines_are_found() -> None:
    assert len(command_lines()) > 60
    assert {"demo", "up --detach", "env atlas", "script"} <= set(command_lines())


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_can_be_typed_as_it_stands(line: str) -> None:
    command, words = ROOT_COMMAND, shlex.split(line)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]

    assert command in commands().values(), f"there is no such command: {line}"
    if words:
        complaint = misfit(command, words)
        assert complaint is None, complaint


def misfit(command: Any, words: list[str]) -> str | None:
    """What the command line says against these words; nothing runs."""
    try:
        command.make_context(command.name, words)
    except UsageException as e:
        return str(getattr(e, "format_message", e.__str__)())
    return None


def test_a_command_line_that_cannot_be_typed_is_found_out() -> None:
    assert misfit(commands()["up"], ["--webb"]) is not None
    assert misfit(commands()["agent create"], ["atlas", "--rpm", "many"]) is not None
    assert misfit(commands()["agent create"], ["atlas", "--rpm", "3"]) is None


def test_the_two_commands_are_those_that_the_check_runs() -> None:
    block = next(text for kind, text in BLOCKS if "uv run pytest" in text and kind == "sh")
    check = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert block.splitlines() == [
        "pip install uv && uv run tollkeeper demo",
        "pip install uv && uv run pytest",
    ]
    assert re.search(r"pip\W.*install.* uv$", check, re.MULTILINE)
    assert re.search(r"^step uv run pytest$", check, re.MULTILINE)


# ---------------------------------------------------------------------------------- policy


def schema_keys() -> set[str]:
    schema = json_schema()
    parts = [schema, *schema["$defs"].values()]
    return {key for part in parts for key in part.get("properties", {})}


@pytest.mark.parametrize("key", sorted(schema_keys()))
def test_every_key_of_a_policy_is_named_in_its_reference(key: str) -> None:
    reference = section("Policy reference")

    assert re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`|^[^|#]*\b{key}:", reference, re.MULTILINE)


def test_every_field_that_a_rule_may_read_has_a_place_in_the_table() -> None:
    tables = section("Policy reference").split("| field of a call |", 1)[1].split("| matcher |")[0]
    named = {name for row in rows(tables) for name in re.findall(r"`(\w+)`", row[0])}

    assert named == set(CallMatch.model_fields)


def policies() -> list[str]:
    return [
        text for kind, text in BLOCKS if kind == "yaml" and re.search(r"^version: 1", text, re.M)
    ]


def test_there_is_a_whole_policy_to_copy() -> None:
    assert policies()


@pytest.mark.parametrize("text", policies())
def test_every_policy_loads_without_warnings_and_passes_its_examples(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")

    loaded = load(path)

    assert loaded.warnings == []
    assert yaml.safe_load(text)["examples"]


def fragments() -> list[str]:
    return [text for kind, text in BLOCKS if kind == "yaml" and text not in policies()]


@pytest.mark.parametrize("text", fragments())
def test_every_piece_of_a_policy_loads_where_it_belongs(text: str, tmp_path: Path) -> None:
    (tmp_path / "lab-ca.pem").write_text("-----BEGIN CERTIFICATE-----\n", encoding="utf-8")
    text = text.replace("/tmp/lab/", f"{tmp_path}/")
    whole = f"version: 1\nrules:\n{text}" if text.startswith("  - ") else f"version: 1\n{text}"
    path = tmp_path / "policy.yaml"
    path.write_text(whole, encoding="utf-8")

    assert load(path).warnings == []


def test_every_ready_made_policy_is_linked() -> None:
    linked = {Path(target).stem for _, target in LINKS if target.startswith("policies/")}

    assert set(ready_made()) <= linked


def test_the_number_of_built_in_providers_is_right() -> None:
    spoken = [one for one in facts.providers().values() if one.api != "none"]

    assert f"built in are {len(spoken)};" in README


# ------------------------------------------------------------------------------ what is said


def test_codes_and_statuses_are_those_of_the_refusals() -> None:
    table = {row[2].strip("`"): row[1] for row in rows(section("What the client gets")) if row[2]}

    assert table == {str(code): str(status_of(code)) for code in Code}


def test_clients_that_get_another_status_are_named_with_it() -> None:
    names = {"claude-code": "Claude Code", "codex": "Codex", "aider": "aider"}
    said = section("What the client gets").replace("\n", " ")

    for client in read_table("clients")["clients"]:
        statuses = client.get("final_status", {})
        assert set(statuses.values()) <= {400}
        if statuses:
            first, *more = [str(status) for status in statuses]
            listed = first if not more else f"{', '.join([first, *more[:-1]])} and {more[-1]}"
            assert f"{names[client['family']]} for {listed}" in said


def test_every_variable_that_run_sets_is_named() -> None:
    made = environment(
        {"SSL_CERT_DIR": "/etc/ssl/certs"},
        proxy_url="http://a:b@127.0.0.1:1",
        ca_certificate=Path("ca.pem"),
        bundle=Path("bundle.pem"),
    )

    for name in {*(name.upper() for name in made), "SSL_CERT_DIR"}:
        assert f"`{name}`" in section("Clients")


# ----------------------------------------------------------------------------------- links


@pytest.mark.parametrize("target", sorted({target for _, target in LINKS}))
def test_every_link_leads_somewhere(target: str) -> None:
    if target.startswith("#"):
        titles = re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
        assert target[1:] in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
    elif not target.startswith("https://"):
        assert (ROOT / target).exists()


def promised() -> list[tuple[str, str]]:
    return [(text.strip("`"), target) for text, target in LINKS if text.startswith("`test_")]


@pytest.mark.parametrize(
    ("title", "head"), [("How it works", "| promise |"), ("Security", "| attack |")]
)
def test_every_promise_and_every_attack_names_its_test(title: str, head: str) -> None:
    table = rows(head + section(title).split(head, 1)[1])

    assert len(table) > 10
    assert [row for row in table if "[`test_" not in row[-1]] == []


@pytest.mark.parametrize(("name", "target"), promised())
def test_every_test_that_shows_a_promise_is_there(name: str, target: str) -> None:
    tree = ast.parse((ROOT / target).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)

    assert name in {node.name for node in tree.body if isinstance(node, functions)}
