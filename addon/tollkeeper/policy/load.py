"""Loads a policy from a file or a folder: read, validate, check, compile, try the examples.

Every problem is reported at once, in file order. Where one place is wrong the rest is still
checked, as if that place were not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from tollkeeper.domain import Policy
from tollkeeper.errors import PolicyError, Problem
from tollkeeper.policy.checks import check_sense
from tollkeeper.policy.compile import compile_policy
from tollkeeper.policy.document import MAX_BYTES, looks_secret, read, shown
from tollkeeper.policy.model import PolicyEntry
from tollkeeper.policy.plans import check_plans
from tollkeeper.policy.problems import Report, Steps, report_invalid
from tollkeeper.policy.sources import Checked, check_sources
from tollkeeper.policy.tree import Node, Place
from tollkeeper.policy.values import KEY_ADVICE

MAX_FILES: Final = 200
_SUFFIXES: Final = (".yaml", ".yml")
_JOINED: Final = ("rules", "examples")
_SECTIONS: Final = ("providers", "models", "teams", "agents", "refusals")
_PASSES: Final = 20
"""Taking wrong places out may leave others incomplete; a few passes always end it."""


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy that may be put in force, and what is probably not meant in it.

    Attributes:
        examples: How many it has; where they were tried, all came out as they say.
    """

    policy: Policy
    warnings: list[Problem] = field(default_factory=list)
    examples: int = 0


def load(path: Path, *, try_examples: bool = True) -> LoadedPolicy:
    """Load a policy.

    Args:
        path: A YAML file, or a folder whose ``*.yaml`` and ``*.yml`` are one policy: mappings are
            united, rules and examples follow in the order of the file names, and everything else
            stands in one file only (``version`` may be repeated).
        try_examples: Whether its examples must come out as they say, before it is put in force.
            Judging them loads the price catalogue, which takes longer than everything else.

    Raises:
        PolicyError: With every problem found, in file order.
    """
    report = Report()
    sources = _sources(path)
    trees = []
    digest = hashlib.sha256()
    for number, (name, data) in enumerate(sources):
        digest.update(
            f"{len(name.name)}:{name.name}:{len(data)}:".encode() if path.is_dir() else b""
        )
        digest.update(data)
        tree, problems = read(data, str(name), number)
        report.add(problems, number)
        if tree is not None and _is_mapping(tree, report):
            trees.append(tree)
    if not trees or len(trees) != len(sources):
        raise PolicyError(report.problems(warnings=False))
    folder = path if path.is_dir() else path.parent
    root = _merged(trees, report)
    entry = _checked(root, folder, report)
    policy = compile_policy(entry, digest.hexdigest(), folder)
    if try_examples and entry.examples:
        from tollkeeper.policy.examples import failures

        for number, message in failures(policy, entry.examples):
            report.error(root.where("examples", number), message)
        if report:
            raise PolicyError(report.problems(warnings=False))
    return LoadedPolicy(policy, report.problems(warnings=True), len(entry.examples))


def _sources(path: Path) -> list[tuple[Path, bytes]]:
    nowhere = Place(0, 0, 0, str(path))
    try:
        files = [path]
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES)
            if not files:
                raise PolicyError([nowhere.problem("expected *.yaml in this folder, found none")])
        if len(files) > MAX_FILES:
            message = f"expected at most {MAX_FILES} files, found {len(files)}"
            raise PolicyError([nowhere.problem(message)])
        found, left = [], MAX_BYTES
        for one in files:
            with one.open("rb") as file:
                data = file.read(left + 1)
            left -= len(data)
            if left < 0:
                message = f"expected at most {MAX_BYTES} bytes of policy, found more"
                raise PolicyError([Place(0, 0, 0, str(one)).problem(message)])
            found.append((one, data))
    except OSError as e:
        message = f"the policy cannot be read ({e.strerror or e})"
        raise PolicyError([nowhere.problem(message)]) from e
    return found


def _is_mapping(tree: Node, report: Report) -> bool:
    if isinstance(tree.value, dict):
        return True
    found = "an empty file" if tree.value is None else shown(tree.value)
    report.error(tree.place, f"expected a policy that begins with version: 1, found {found}")
    return False


def _merged(trees: list[Node], report: Report) -> Node:
    """One tree out of those of several files."""
    merged = trees[0]
    for tree in trees[1:]:
        assert isinstance(tree.value, dict)
        for key, node in tree.value.items():
            _merge_key(merged, key, node, tree.keys[key], report)
    return merged


def _merge_key(into: Node, key: str, node: Node, place: Place, report: Report) -> None:
    assert isinstance(into.value, dict)
    first = into.value.get(key)
    if first is None:
        into.value[key] = node
        into.keys[key] = place
    elif key in _JOINED and isinstance(first.value, list) and isinstance(node.value, list):
        into.value[key] = Node([*first.value, *node.value], first.place)
    elif key in _SECTIONS and isinstance(first.value, dict) and isinstance(node.value, dict):
        into.value[key] = Node(first.value | node.value, first.place, first.keys | node.keys)
        for name in first.value.keys() & node.value.keys():
            there = first.keys[name]
            report.error(
                node.keys[name],
                f"duplicate {shown(name)} in '{key}'; it stands in {there.path}:{there.line} already",
            )
    elif key != "version" or first.value != node.value:
        there = into.keys[key]
        report.error(
            place,
            f"'{key}' may stand in one file only; it stands in {there.path}:{there.line} already",
        )


def _checked(root: Node, folder: Path, report: Report) -> PolicyEntry:
    """The entry, if nothing is wrong in it."""
    _secrets(root, report)
    entry, valid = _validated(root, report)
    if entry is not None:
        checked = Checked(valid, entry, root, folder, report)
        check_sources(checked)
        check_plans(checked)
        check_sense(checked)
    if report or entry is None:
        raise PolicyError(report.problems(warnings=False))
    return entry


def _secrets(root: Node, report: Report) -> None:
    """Refuse keys written into the policy; an example's prompt may hold what looks like one."""
    for key, section in _mapping(root).items():
        if key == "examples":
            continue
        for node in section.scalars():
            if isinstance(node.value, str) and looks_secret(node.value):
                report.error(node.place, KEY_ADVICE)


def _mapping(node: Node) -> Mapping[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _validated(root: Node, report: Report) -> tuple[PolicyEntry | None, Node]:
    """The entry, and the tree without the places that kept it from being valid."""
    empty = list(_empty_values(root, ()))
    for way in empty:
        report.error(
            root.where(*way, key=True),
            f"'{way[-1]}': expected a value, found nothing; take it away or give it one",
        )
    root = _without(root, empty)
    for turn in range(_PASSES):
        try:
            return PolicyEntry.model_validate(root.plain()), root
        except ValidationError as e:
            sink = report if turn == 0 else Report()
            ways = report_invalid(e, root, PolicyEntry, sink, frozenset(empty))
        if () in ways and _mapping(root).get("version") is None:
            assert isinstance(root.value, dict)
            root.value["version"] = Node(1, root.place)
            root.keys["version"] = root.place
        root = _without(root, [way for way in ways if way])
    return None, root


def _empty_values(node: Node, way: Steps) -> list[Steps]:
    """Where a key has no value, or a list an empty entry; an effect of a rule may have none."""
    found: list[Steps] = []
    children: list[tuple[str | int, Node]] = []
    if isinstance(node.value, dict):
        children = list(node.value.items())
    elif isinstance(node.value, list):
        children = list(enumerate(node.value))
    for step, child in children:
        here = (*way, step)
        if child.value is not None:
            found += _empty_values(child, here)
        elif not (way[:1] == ("rules",) and len(way) == 2 and step in ("allow", "deny", "hold")):
            found.append(here)
    return found


def _without(root: Node, ways: list[Steps]) -> Node:
    """The tree without these places, each child where it was."""
    here = {way[0] for way in ways if len(way) == 1}
    below: dict[str | int, list[Steps]] = {}
    for way in ways:
        if len(way) > 1:
            below.setdefault(way[0], []).append(way[1:])
    if isinstance(root.value, dict):
        kept = {
            key: _without(node, below[key]) if key in below else node
            for key, node in root.value.items()
            if key not in here
        }
        return Node(kept, root.place, root.keys)
    if isinstance(root.value, list):
        entries = [
            _without(node, below[index]) if index in below else node
            for index, node in enumerate(root.value)
            if index not in here
        ]
        return Node(entries, root.place)
    return root
