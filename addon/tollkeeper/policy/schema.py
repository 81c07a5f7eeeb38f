"""The JSON Schema of a policy, for editors; made from the models, so that it cannot disagree."""

from __future__ import annotations

import json
from typing import Any

from tollkeeper.policy.model import PolicyEntry

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MAY_BE_EMPTY = frozenset({"allow", "deny", "hold"})
"""Effects of a rule that may be written without a value."""


def schema_text() -> str:
    """``policies/schema.json`` as it must stand in the repository and in the wheel."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=True) + "\n"


def json_schema() -> dict[str, Any]:
    """The schema of ``policy.yaml``, as plain JSON values; the same on every call."""
    made = PolicyEntry.model_json_schema(by_alias=True)
    schema: dict[str, Any] = _tidied(made)
    return {"$schema": DIALECT, "title": "Tollkeeper policy"} | {
        key: value for key, value in schema.items() if key != "title"
    }


def _tidied(value: Any, key: str = "") -> Any:
    """Without the nulls and titles that only pydantic knows: a key without a value is an error."""
    if isinstance(value, list):
        return [_tidied(one) for one in value]
    if not isinstance(value, dict):
        return value
    if key in ("properties", "$defs"):
        return {
            name: _tidied(one, name if key == "properties" else "") for name, one in value.items()
        }
    kept = {
        name: _tidied(one, name)
        for name, one in value.items()
        if not (name == "title" or (name == "default" and one in (None, {}, [])))
    }
    choices = kept.get("anyOf")
    if isinstance(choices, list) and key not in _MAY_BE_EMPTY:
        kept["anyOf"] = [one for one in choices if one != {"type": "null"}]
        if len(kept["anyOf"]) == 1:
            only = kept.pop("anyOf")[0]
            kept = only | kept
    return kept
