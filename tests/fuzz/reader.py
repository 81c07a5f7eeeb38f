"""What other readers would say of the same bytes, and what a refusal must tell."""

from __future__ import annotations

from typing import Any

from tollkeeper.errors import WireError


def said(error: Exception) -> str:
    """What an error tells, which is not nothing."""
    assert str(error), repr(error)
    return str(error)


def one_sentence(error: WireError) -> None:
    """As clients are told."""
    assert "\n" not in said(error), said(error)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that two readers cannot read differently."""
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a name twice: {names}"
    return dict(pairs)
