"""The hash chain, against what its description says and nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.ledger.chain import GENESIS, canonical, link

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(1), st.integers(0), st.text(), st.text(), st.none() | st.text(), PLAIN)
def test_hash_can_be_recomputed_from_the_description(
    seq: int, at_ns: int, kind: str, actor: str, call: str | None, data: Any
) -> None:
    row = json.dumps([seq, at_ns, kind, actor, call, data], sort_keys=True, separators=(",", ":"))
    expected = hashlib.sha256(f"{GENESIS}\n{row}".encode("ascii")).hexdigest()

    assert link(GENESIS, seq, at_ns, kind, actor, call, canonical(data)) == expected


def test_order_of_keys_makes_no_difference() -> None:
    assert canonical({"b": 1, "a": "é"}) == canonical({"a": "é", "b": 1}) == '{"a":"\\u00e9","b":1}'


def test_what_is_no_plain_value_is_an_error() -> None:
    with pytest.raises(TypeError):
        canonical({"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


def test_every_part_is_covered() -> None:
    whole = (GENESIS, 1, 2, "kind", "actor", "call", "{}")
    others = ("1" * 64, 2, 3, "x", "x", "x", "[]")

    hashes = {link(*whole)}
    for place, other in enumerate(others):
        hashes.add(link(*whole[:place], other, *whole[place + 1 :]))  # type: ignore[arg-type]

    assert len(hashes) == len(whole) + 1
