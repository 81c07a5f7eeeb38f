"""Canonical JSON is what ``json`` makes of a value with sorted keys and no spaces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.canonical import canonical_encoder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_it_is_the_libraries_own_text(value: Any, ascii_only: bool) -> None:
    made = canonical_encoder(ascii_only=ascii_only)(value)

    assert made == json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=ascii_only, allow_nan=False
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", {b"x": 1}])
def test_what_is_no_plain_value_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_encoder(ascii_only=True)([value])


def test_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(RecursionError):
        canonical_encoder(ascii_only=True)(circle)
