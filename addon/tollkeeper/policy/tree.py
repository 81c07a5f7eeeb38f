"""A tree of values that know where in a file they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tollkeeper.errors import Problem


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a source file: ``file`` is the file's number in order, lines count from 1."""

    file: int
    line: int
    column: int
    path: str = field(compare=False)

    def problem(self, message: str, *, warning: bool = False) -> Problem:
        """Something wrong here."""
        return Problem(self.path, self.line, self.column, message, warning)


@dataclass(slots=True)
class Node:
    """A value and where it stands.

    Attributes:
        value: A scalar, a list of nodes or a mapping of nodes.
        keys: Where each key of a mapping stands.
        size: How many values it holds, itself included, with aliases expanded.
        depth: How many levels it holds, itself included.
    """

    value: str | int | Decimal | bool | list[Node] | dict[str, Node] | None
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The value under a key or index, or None."""
        if isinstance(self.value, dict) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None

    def at(self, *steps: str | int) -> Node | None:
        """The value at the end of a way from here, or None."""
        node: Node | None = self
        for step in steps:
            node = node.child(step) if node else None
        return node

    def where(self, *steps: str | int, key: bool = False) -> Place:
        """The position of the deepest value on this way, or of its last key.

        Steps that lead nowhere (a missing key, a validator's own marks) are passed over.
        """
        node, place = self, self.place
        for step in steps:
            found = node.child(step)
            if found is None:
                continue
            place = node.keys[step] if key and isinstance(step, str) else found.place
            node = found
        return place

    def scalars(self) -> Iterator[Node]:
        """Every scalar below and including this one, in file order."""
        if isinstance(self.value, dict):
            for node in self.value.values():
                yield from node.scalars()
        elif isinstance(self.value, list):
            for node in self.value:
                yield from node.scalars()
        else:
            yield self
