from __future__ import annotations

from tollkeeper.core.snapshot import AgentRecord
from tollkeeper_cli.lineage import Tree, drawn

TREE = Tree.of(
    [
        AgentRecord("ant", "active", "atlas"),
        AgentRecord("atlas", "active"),
        AgentRecord("bee", "active", "ant"),
        AgentRecord("orphan", "active", "gone"),
    ]
)


def test_everybody_stands_once_below_their_parent() -> None:
    assert [(one.name, depth) for one, depth in TREE.whole()] == [
        ("atlas", 0), ("ant", 1), ("bee", 2), ("orphan", 0),
    ]  # fmt: skip


def test_lineage_goes_up_and_descendants_down() -> None:
    assert [one.name for one in TREE.lineage("bee")] == ["bee", "ant", "atlas"]
    assert TREE.descendants("atlas") == ["ant", "bee"]
    assert TREE.lineage("nobody") == TREE.descendants("nobody") == []


def test_names_are_drawn_as_a_tree() -> None:
    listed = [("atlas", 0), ("ant", 1), ("bee", 2), ("cat", 2), ("dog", 1), ("eel", 2), ("fox", 0)]

    assert drawn(listed) == ["atlas", "├ ant", "│ ├ bee", "│ └ cat", "└ dog", "  └ eel", "fox"]
