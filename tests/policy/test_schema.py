from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from policy.test_load import SKETCH
from tollkeeper.policy.document import read
from tollkeeper.policy.ready_made import ready_made
from tollkeeper.policy.schema import json_schema, schema_text

SCHEMA = json_schema()


def faults(value: Any, schema: dict[str, Any], way: str = "") -> Iterator[str]:
    """What is wrong with a value, for the few keywords that our schema uses."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and all(list(faults(value, one, way)) for one in schema[keyword]):
            yield f"{way}: none of {keyword}"
    if "const" in schema and value != schema["const"]:
        yield f"{way}: not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{way}: not one of {schema['enum']}"
    if "type" in schema and not is_of(value, schema["type"]):
        yield f"{way}: not {schema['type']}"
        return
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{way}: not like {schema['pattern']}"
    if schema.get("minimum") is not None and value < schema["minimum"]:
        yield f"{way}: too small"
    if isinstance(value, dict):
        yield from faults_in(value, schema, way)
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from faults(one, schema.get("items", {}), f"{way}.{index}")


def faults_in(value: dict[str, Any], schema: dict[str, Any], way: str) -> Iterator[str]:
    for key in schema.get("required", []):
        if key not in value:
            yield f"{way}: without {key}"
    for key, one in value.items():
        below = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
        if below is False:
            yield f"{way}.{key}: unknown"
        elif isinstance(below, dict):
            yield from faults(one, below, f"{way}.{key}")


def is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds: dict[str, Any] = {
        "string": str, "object": dict, "array": list, "null": type(None),
        "integer": int, "number": (int, Decimal),
    }  # fmt: skip
    return kind in kinds and isinstance(value, kinds[kind])


def plain(text: str) -> Any:
    root, problems = read(text.encode(), "p.yaml")
    assert root is not None
    assert problems == []
    return root.plain()


def test_schema_beside_the_policies_is_the_one_of_the_models() -> None:
    path = ready_made()["starter"].parent / "schema.json"

    assert path.read_text() == schema_text(), "run: tollkeeper policy schema > policies/schema.json"
    assert json.loads(schema_text()) == json_schema()


@pytest.mark.parametrize("path", ready_made().values(), ids=lambda path: path.stem)
def test_ready_made_policy_fits_the_schema(path: Path) -> None:
    assert list(faults(plain(path.read_text()), SCHEMA)) == []


def test_language_of_the_handbook_fits_the_schema() -> None:
    assert list(faults(plain(SKETCH), SCHEMA)) == []


@pytest.mark.parametrize(
    "text",
    [
        "{}", "{version: 2}", "{version: 1, agent: {}}", "{version: 1, agents: {a: {rpm: x}}}",
        "{version: 1, agents: {a: {models: null}}}", "{version: 1, mode: off}",
        "{version: 1, rules: [{name: a, call: {modle: x}, deny: x}]}",
        "{version: 1, rules: [{name: a, call: {prompt: {over: 3}}, deny: x}]}",
        "{version: 1, rules: [{name: a, call: {}, hold: {lapses_after: 5}}]}",
    ],
)  # fmt: skip
def test_what_does_not_load_does_not_fit_the_schema(text: str) -> None:
    assert list(faults(plain(text), SCHEMA))


def test_every_key_is_described_or_speaks_for_itself() -> None:
    speaks = {"over", "under", "at_least", "at_most", "name", "model", "input", "output"}
    for name in ("AgentLimitsEntry", "CallMatch", "ProviderEntry"):
        for key, one in SCHEMA["$defs"][name]["properties"].items():
            assert "description" in one or key in speaks | {"streaming", "vision", "reasoning",
                "max_input_tokens"}, f"{name}.{key}"  # fmt: skip
