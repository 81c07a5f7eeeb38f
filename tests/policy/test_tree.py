from __future__ import annotations

from tollkeeper.policy.document import read


def test_places_of_values_and_keys_are_known() -> None:
    root, _ = read(b"a:\n  b: [x,\n      {c: 1}]\n", "p.yaml")
    assert root is not None

    found = root.where("a", "b", 1, "c")
    key = root.where("a", "b", 1, "c", key=True)
    lost = root.where("a", "not there", "b", 0)

    assert (found.line, found.column) == (3, 11)
    assert (key.line, key.column) == (3, 8)
    assert (lost.line, lost.column) == (2, 7)


def test_ways_that_lead_nowhere_end_at_the_last_place_that_is_there() -> None:
    root, _ = read(b"a:\n  - {b: 1}\n", "p.yaml")
    assert root is not None

    assert root.at("a", 0, "b") is not None
    assert (root.at("a", 1), root.at("a", "b")) == (None, None)
    assert root.where("a", 0, "missing") == root.where("a", 0)


def test_scalars_come_in_the_order_of_the_file() -> None:
    root, _ = read(b"b: [1, {c: 2}]\na: 3\n", "p.yaml")
    assert root is not None

    assert [node.value for node in root.scalars()] == [1, 2, 3]
