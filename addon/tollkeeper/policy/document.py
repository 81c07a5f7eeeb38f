"""YAML 1.2 (core schema), read as a tree of values that know where they stand (``tree.py``).

Stricter than YAML: duplicate keys, keys that are not text, merge keys, tags, tabs in indentation and
several documents are errors, and what aliases may expand to is bounded. Only ``true``, ``false``,
``null`` and plain numbers are anything but text, so ``no``, ``on``, ``10:30`` and ``2026-11-21`` are
text. Fractions become ``Decimal`` from their digits.

Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import yaml

from tollkeeper.errors import Problem
from tollkeeper.policy.tree import Node, Place

MAX_BYTES: Final = 1024 * 1024
"""Of all files of a policy together; a policy of a thousand agents has a tenth of it."""
MAX_DEPTH: Final = 32
"""The language itself is nine levels deep; ``not`` may nest a few more."""
MAX_NODES: Final = 100_000
"""Values after aliases are expanded; about what ``MAX_BYTES`` can spell out."""
MAX_ALIASES: Final = 200
MAX_SCALAR: Final = 64 * 1024
"""Characters of one text, as long as the longest prompt that a rule looks at."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_MAX_DIGITS: Final = 60
_INDENT: Final = re.compile(r"[ \t]*")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _BrokenError(Exception):
    """Reading cannot go on after this."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read(data: bytes, path: str, file: int = 0) -> tuple[Node | None, list[Problem]]:
    """Read one file.

    Args:
        path: As the owner named it, for messages.
        file: Its number among the files of the policy.

    Returns:
        The tree (None when it cannot be read to its end) and what is wrong with it.
    """
    start = Place(file, 1, 1, path)
    if len(data) > MAX_BYTES:
        return None, [start.problem(f"expected at most {MAX_BYTES} bytes, found {len(data)}")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        return None, [Place(file, line, 1, path).problem("expected UTF-8 text, found other bytes")]
    reader = _Reader(text, path, file)
    try:
        root = reader.read()
    except _BrokenError as e:
        return None, [*reader.problems, e.problem]
    return root, reader.problems


class _Reader:
    """Builds the tree from parser events, without recursion and within the bounds."""

    def __init__(self, text: str, path: str, file: int) -> None:
        self.text = text
        self.path = path
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}
        self.open: list[_Open] = []
        self.root: Node | None = None
        self.aliases = 0
        self.nodes = 0
        self.quoted_lines: set[int] = set()

    def read(self) -> Node:
        try:
            for event in yaml.parse(self.text, Loader=_Loader):
                self.take(event)
        except yaml.YAMLError as e:
            raise self.syntax(e) from e
        self.check_tabs()
        return self.root or Node(None, self.place_of(1, 1))

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                if self.root is not None:
                    raise self.broken(event, "expected one YAML document, found a second one")
                if event.version not in (None, (1, 2)):
                    raise self.broken(
                        event, "expected YAML 1.2, found a directive for another version"
                    )
            case yaml.AliasEvent():
                self.add(self.alias(event), event)
            case yaml.ScalarEvent():
                self.check_tag(event)
                self.anchor(event, self.add(self.scalar(event), event))
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self.check_tag(event)
                if len(self.open) >= MAX_DEPTH:
                    raise self.broken(event, f"expected at most {MAX_DEPTH} levels of nesting")
                value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
                self.open.append(_Open(Node(value, self.place(event)), event.anchor))
                if event.anchor:
                    self.anchors[event.anchor] = None
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self.open.pop()
                if done.anchor:
                    self.anchors[done.anchor] = done.node
                self.add(done.node, event)
            case _:
                pass

    def add(self, node: Node, event: Any) -> Node:
        """Hang a finished value where it belongs."""
        if not isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.nodes += node.size
            if self.nodes > MAX_NODES:
                raise self.broken(event, f"expected at most {MAX_NODES} values, aliases expanded")
        if not self.open:
            self.root = node
            return node
        above = self.open[-1]
        if isinstance(above.node.value, list):
            above.node.value.append(node)
        elif above.key is None:
            above.key = self.key(node, event)
            return node
        else:
            self.entry(above, node)
        above.node.size += node.size
        above.node.depth = max(above.node.depth, node.depth + 1)
        if len(self.open) + node.depth > MAX_DEPTH:
            raise self.broken(event, f"expected at most {MAX_DEPTH} levels of nesting")
        return node

    def key(self, node: Node, event: Any) -> tuple[str, Place]:
        place = self.place(event) if isinstance(event, yaml.ScalarEvent) else node.place
        if isinstance(event, yaml.ScalarEvent) and not event.style and event.value == "<<":
            raise _BrokenError(place.problem("merge keys (<<) are not read; write the keys out"))
        if not isinstance(node.value, str):
            found = shown(node.value)
            advice = "; put it in quotes" if isinstance(event, yaml.ScalarEvent) else ""
            raise _BrokenError(place.problem(f"expected a text key, found {found}{advice}"))
        return node.value, place

    def entry(self, above: _Open, node: Node) -> None:
        assert isinstance(above.node.value, dict)
        assert above.key is not None
        key, place = above.key
        above.key = None
        first = above.node.keys.get(key)
        if first is not None:
            self.problems.append(
                place.problem(f"duplicate key {shown(key)}; it stands in line {first.line} already")
            )
            return
        above.node.keys[key] = place
        above.node.value[key] = node

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.broken(event, f"alias *{event.anchor} has no anchor before it")
        node = self.anchors[event.anchor]
        if node is None:
            raise self.broken(event, f"alias *{event.anchor} contains itself")
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.broken(event, f"expected at most {MAX_ALIASES} aliases in a file")
        return node

    def anchor(self, event: Any, node: Node) -> None:
        if event.anchor:
            self.anchors[event.anchor] = node

    def check_tag(self, event: Any) -> None:
        if event.tag is not None:
            raise self.broken(event, f"tags are not read; take away {shown(str(event.tag))}")

    def scalar(self, event: Any) -> Node:
        place = self.place(event)
        if len(event.value) > MAX_SCALAR:
            raise self.broken(event, f"expected at most {MAX_SCALAR} characters of text")
        if event.style:
            self.quoted_lines.update(range(event.start_mark.line + 1, event.end_mark.line + 1))
            return Node(event.value, place)
        try:
            return Node(resolve(event.value), place)
        except ValueError as e:
            raise _BrokenError(place.problem(str(e))) from e

    def check_tabs(self) -> None:
        if "\t" not in self.text:
            return
        for number, line in enumerate(self.text.splitlines()):
            found = _INDENT.match(line)
            tab = found.group().find("\t") if found else -1
            if tab >= 0 and line.strip() and number not in self.quoted_lines:
                place = self.place_of(number + 1, tab + 1)
                self.problems.append(place.problem("indent with spaces, found a tab"))

    def syntax(self, error: yaml.YAMLError) -> _BrokenError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        lines = self.text.splitlines()
        text = lines[line - 1] if line <= len(lines) else ""
        found = _INDENT.match(text)
        tab = found.group().find("\t") if found else -1
        if tab >= 0:
            place = self.place_of(line, tab + 1)
            return _BrokenError(place.problem("indent with spaces, found a tab"))
        said = getattr(error, "problem", None) or str(error).partition("\n")[0]
        context = getattr(error, "context", None)
        message = f"not YAML: {said}" + (f" ({context})" if context else "")
        return _BrokenError(self.place_of(line, column).problem(message))

    def place(self, event: Any) -> Place:
        return self.place_of(event.start_mark.line + 1, event.start_mark.column + 1)

    def place_of(self, line: int, column: int) -> Place:
        return Place(self.file, line, column, self.path)

    def broken(self, event: Any, message: str) -> _BrokenError:
        return _BrokenError(self.place(event).problem(message))


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been seen."""

    node: Node
    anchor: str | None
    key: tuple[str, Place] | None = None


def resolve(text: str) -> str | int | Decimal | bool | None:
    """What an unquoted scalar means.

    Raises:
        ValueError: A number with more digits than any amount needs.
    """
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _FLOAT.fullmatch(text) or _INT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"expected a number of at most {_MAX_DIGITS} characters")
        if text.startswith(("0o", "0x")):
            return int(text, 0)
        return int(text) if _INT.fullmatch(text) else Decimal(text)
    return text


_SECRET: Final = re.compile(
    r"sk-[A-Za-z0-9_-]{16,}|(tk|gsk|fw|key|pk)_[A-Za-z0-9_-]{20,}|xai-[A-Za-z0-9]{20,}"
    r"|AIza[A-Za-z0-9_-]{30,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}|eyJ[A-Za-z0-9_-]{30,}\."
)
"""How keys of model providers, and tokens of ours, begin; length keeps ordinary names apart."""


def looks_secret(text: str) -> bool:
    """Whether a text holds what is very likely a key."""
    return _SECRET.search(text) is not None


def shown(value: object) -> str:
    """A value as a message may show it: short, on one line, never a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return f"the number {value:f}" if isinstance(value, Decimal) else f"the number {value}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    if looks_secret(text):
        return "what looks like a secret"
    clean = harmless(text)
    return f"'{clean[:60]}…'" if len(clean) > 60 else f"'{clean}'"


def harmless(message: str) -> str:
    """A message without control characters and without anything that looks like a secret."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in message)
    return without_secrets(clean)


def without_secrets(text: str) -> str:
    """A text in which whatever looks like a key is replaced."""
    return _SECRET.sub("(a secret)", text)
