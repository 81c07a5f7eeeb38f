"""What JSON schemas cost when their references are replaced by what they refer to.

A provider may unroll ``$ref`` before it shows a schema to the model, so a few bytes that refer to
each other can stand for many. Recursive definitions count once on each way into them.

Source: https://ai.google.dev/api/generate-content#FIELDS.response_json_schema (unrolled references)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tollkeeper.errors import WireError
from tollkeeper.wire.document import MAX_DEPTH, canonical
from tollkeeper.wire.fields import MAX_COUNT

_DEFINITIONS: Final = ("$defs", "definitions", "defs")
_REFERENCES: Final = ("$ref", "ref")


def unrolled_tokens(value: Any, text: str) -> int:
    """Bytes that ``value`` may grow by when its references are unrolled.

    Args:
        value: A tree of parsed JSON.
        text: Its canonical text.

    Raises:
        WireError: When definitions refer to each other too deeply to follow.
    """
    if '"$ref":' not in text and '"ref":' not in text:
        return 0
    definitions: dict[str, Any] = {}
    outside = list(_references(value, definitions))
    costs: dict[str, int] = {}
    total = sum(_cost(name, definitions, costs, frozenset()) for name in outside)
    return min(total, MAX_COUNT)


def _references(root: Any, definitions: dict[str, Any] | None) -> Iterator[str]:
    """Names that a tree refers to; its definitions are gathered, or with None walked through."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, dict):
            for key, child in node.items():
                if key in _REFERENCES and isinstance(child, str):
                    yield child.rpartition("/")[2]
                elif key in _DEFINITIONS and isinstance(child, dict) and definitions is not None:
                    definitions.update(child)
                    stack += [d for d in child.values() if _nested(d)]
                else:
                    stack.append(child)


def _nested(definition: Any) -> bool:
    return isinstance(definition, dict) and any(key in definition for key in _DEFINITIONS)


def _cost(name: str, definitions: dict[str, Any], costs: dict[str, int], on: frozenset[str]) -> int:
    if name in costs:
        return costs[name]
    if name in on or name not in definitions:
        return 0
    if len(on) > MAX_DEPTH:
        raise WireError(f"Schemas refer to each other more than {MAX_DEPTH} levels deep.")
    definition = definitions[name]
    cost = len(canonical(definition).encode("utf-8", "replace"))
    for inner in _references(definition, None):
        cost = min(cost + _cost(inner, definitions, costs, on | {name}), MAX_COUNT)
    costs[name] = cost
    return cost
