"""The house keeps its own rules."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDON, CLI, TESTS = ROOT / "addon" / "tollkeeper", ROOT / "cli" / "tollkeeper_cli", ROOT / "tests"

LONGEST_MODULE_LINES, LONGEST_FUNCTION_LINES = 400, 60

BANNED_ROOMS = {"utils", "helpers", "common", "types", "constants", "manager", "misc", "services"}

CATCHES_EVERYTHING = {
    "proxy/fail_closed.py": "the proxy's edge",
    "proxy/answer.py": "the latch of a stream",
    "proxy/dispatch.py": "as mitmproxy's own dispatch, which it stands in for",
    "proxy/writer.py": "hands a verb's error to the flow that asked, whose guard refuses",
    "main.py": "the command line's edge",
}
"""Where an exception of any kind may be caught, and why."""

LONG_FOR_A_REASON = {"domain.py": "the nouns that cross walls stand in one place"}

MIRRORED_ELSEWHERE = {
    "core/snapshot": "records and protocols without behaviour",
    "ledger/port": "a protocol; every test of the engine quotes it",
    "ledger/calls": "the rows of a call; every verb of the engine goes through them",
    "launch/bundle": "with the authority whose certificate it bundles",
    "launch/replace": "with the authority and the bundle that it puts in place",
    "proxy/socket_layer": "with the WebSockets of a real client, e2e/test_websockets",
    "proxy/own_hooks": "with the layers that call them",
    "proxy/refusals": "with the enforcer, and with what clients are seen to get",
    "policy/given": "with the examples that are written in it",
    "wire/dialect": "two records without behaviour",
    "wire/metering": "protocols; every meter is tested as one",
    "wire/fields": "with the dialects that read by it, and by fuzzing",
}
"""Modules whose tests have another name, and why."""

DRIVEN_AS_A_WHOLE = {"simulator"}
"""Rooms that are test equipment themselves: what counts is what clients meet."""


def modules(*roots: Path) -> list[Path]:
    found = [path for root in roots for path in sorted(root.rglob("*.py"))]
    return [path for path in found if "__pycache__" not in path.parts]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def short(path: Path) -> str:
    for root in (ADDON, CLI):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_calls_go_down_and_never_up() -> None:
    # In a process of its own: the linter rearranges paths and loggers.
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_longer_than_a_person_reads_in_one_go() -> None:
    long = {
        short(path): lines
        for path in modules(ADDON, CLI)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_MODULE_LINES
    }

    assert set(long) <= set(LONG_FOR_A_REASON), long


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{short(path)}:{node.name}": lines
        for path in modules(ADDON, CLI)
        for node in functions(path)
        if (lines := (node.end_lineno or 0) - node.body[0].lineno + 1) > LONGEST_FUNCTION_LINES
    }

    assert long == {}


def test_no_room_is_named_after_nothing_in_particular() -> None:
    names = {part for path in modules(ADDON, CLI, TESTS) for part in (path.stem, path.parent.name)}

    assert names & BANNED_ROOMS == set()


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Whether it catches any exception and does not raise it again at its end."""
    caught = handler.type
    names = (
        {""}
        if caught is None
        else {node.id for node in ast.walk(caught) if isinstance(node, ast.Name)}
    )
    passes_on = bool(handler.body) and isinstance(handler.body[-1], ast.Raise)
    return bool(names & {"", "Exception", "BaseException"}) and not passes_on


def test_nothing_catches_everything_but_the_edges() -> None:
    found = {
        short(path)
        for path in modules(ADDON, CLI)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    }

    assert found <= set(CATCHES_EVERYTHING)


def test_only_the_proxy_knows_mitmproxy_and_only_the_ledger_speaks_sql() -> None:
    strangers = []
    for path in modules(ADDON):
        room = short(path).partition("/")[0]
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree(path))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        if "mitmproxy" in imported and room not in ("proxy", "launch", "simulator"):
            strangers.append(f"{short(path)} imports mitmproxy")
        if imported & {"sqlite3", "sqlite_utils"} and room != "ledger":
            strangers.append(f"{short(path)} imports SQL")
        if imported & {"asyncio", "time"} and room in ("core", "wire", "policy"):
            strangers.append(f"{short(path)} knows loop or clock")

    assert strangers == []


def test_every_module_of_the_addon_has_its_mirror_test() -> None:
    missing = []
    for path in modules(ADDON):
        name = short(path).removesuffix(".py")
        room, _, stem = name.rpartition("/")
        if not room or stem.startswith("__") or name in MIRRORED_ELSEWHERE:
            continue
        if room in DRIVEN_AS_A_WHOLE or (TESTS / room / f"test_{stem}.py").exists():
            continue
        missing.append(name)

    assert missing == []


def test_no_exemption_outlives_its_module() -> None:
    files = {short(path) for path in modules(ADDON, CLI)}

    assert {f"{name}.py" for name in MIRRORED_ELSEWHERE} <= files
    assert set(CATCHES_EVERYTHING) | set(LONG_FOR_A_REASON) <= files


def is_public(name: str) -> bool:
    return not name.startswith("_")


def test_everything_public_says_what_it_is_for() -> None:
    silent = []
    for path in modules(ADDON, CLI):
        module = tree(path)
        if not ast.get_docstring(module):
            silent.append(short(path))
        for node in module.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and is_public(node.name) and not ast.get_docstring(node):
                silent.append(f"{short(path)}:{node.name}")

    assert silent == []


def test_first_line_of_a_docstring_is_a_sentence() -> None:
    fragments = []
    for path in modules(ADDON, CLI):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                paragraph = text.partition("\n\n")[0] if text else ""
                if paragraph and paragraph.rstrip()[-1] not in ".:?":
                    fragments.append(f"{short(path)}: {paragraph!r}")

    assert fragments == []


def comments(path: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    left = [
        f"{short(path)}: {comment}"
        for path in modules(ADDON, CLI, TESTS)
        for comment in comments(path)
        if words.search(comment)
    ]
    raised = [
        short(path)
        for path in modules(ADDON, CLI)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]

    assert left + raised == []


def test_every_exception_from_a_rule_of_the_linter_says_why() -> None:
    silent = [
        f"{short(path)}: {comment}"
        for path in modules(ADDON, CLI)
        for comment in comments(path)
        if re.fullmatch(r"#\s*noqa(:\s*[A-Z0-9, ]+)?", comment.strip())
    ]

    assert silent == []


@pytest.mark.parametrize("word", ["session id", "/work/", "/opt/tk", "helper agent"])
def test_nothing_of_the_workplace_is_in_the_house(word: str) -> None:
    own = Path(__file__).name
    found = [
        short(path)
        for path in modules(ADDON, CLI, TESTS)
        if path.name != own and word in path.read_text(encoding="utf-8")
    ]

    assert found == []
