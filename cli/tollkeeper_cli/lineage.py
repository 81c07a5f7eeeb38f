"""Who descends from whom, for listings in which children stand below their parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tollkeeper.core.snapshot import AgentRecord


@dataclass(frozen=True, slots=True)
class Tree:
    """Agents by name, and the names of the children of each."""

    records: Mapping[str, AgentRecord]
    children: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[AgentRecord]) -> Tree:
        """The tree of these agents, children in the order of the records."""
        by_name = {record.name: record for record in records}
        children: dict[str, list[str]] = {}
        for record in by_name.values():
            if record.parent in by_name:
                children.setdefault(record.parent, []).append(record.name)
        return cls(by_name, children)

    def lineage(self, name: str | None) -> list[AgentRecord]:
        """The agent and all above it, itself first."""
        found: list[AgentRecord] = []
        record = self.records.get(name or "")
        while record is not None and record not in found:
            found.append(record)
            record = self.records.get(record.parent or "")
        return found

    def below(self, name: str, depth: int = 0) -> Iterator[tuple[AgentRecord, int]]:
        """The agent and all below it, each with its depth, children right after their parent."""
        if name in self.records:
            yield self.records[name], depth
            for child in self.children.get(name, ()):
                yield from self.below(child, depth + 1)

    def whole(self) -> Iterator[tuple[AgentRecord, int]]:
        """Everybody with their depth, roots in their order."""
        for record in self.records.values():
            if record.parent not in self.records:
                yield from self.below(record.name)

    def descendants(self, name: str) -> list[str]:
        """Names of all below it."""
        return [record.name for record, depth in self.below(name) if depth > 0]


def drawn(listed: Sequence[tuple[str, int]]) -> list[str]:
    """Names as a tree is drawn; each comes with its depth, children right after their parent."""
    lines: list[str] = []
    going_on: set[int] = set()  # depths at which somebody follows with the same parent
    for name, depth in reversed(listed):
        bars = "".join("│ " if level in going_on else "  " for level in range(1, depth))
        branch = "├ " if depth in going_on else "└ "
        lines.append(f"{bars}{branch}{name}" if depth else name)
        going_on = {level for level in going_on if level < depth} | {depth}
    return lines[::-1]
