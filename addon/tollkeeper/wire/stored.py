"""Objects that a provider keeps and a call names by id: responses, files, containers, caches.

Whoever holds the account's key may name all of its objects. With a key that many agents share, one
agent's files and conversations would be open to every other.

Source: https://platform.openai.com/docs/api-reference/responses/create,
https://docs.anthropic.com/en/docs/build-with-claude/files, https://ai.google.dev/api/caching,
https://ai.google.dev/api/files,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_S3Location.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tollkeeper.errors import WireError
from tollkeeper.wire.document import read

NAMES: Final = frozenset(
    {
        "audio",
        "cachedContent",
        "cached_content",
        "container",
        "container_id",
        "conversation",
        "fileUri",
        "file_id",
        "file_ids",
        "file_uri",
        "item_reference",
        "previous_response_id",
        "s3Location",
        "thread",
        "vector_store_ids",
    }
)
"""Members that hold ids. ``item_reference`` is the type of an input item."""

_MARKS: Final = tuple(f'"{name}"'.encode() for name in sorted(NAMES))
"""As they stand in a body; inside of a text the quotes would be escaped."""

_OF_THE_CLIENT: Final = frozenset(
    {"args", "arguments", "input_schema", "metadata", "parameters", "parametersJsonSchema",
     "properties", "response", "responseSchema", "responseJsonSchema", "schema"}
)  # fmt: skip
"""Members whose content has words of the client's own: what a tool takes or gave."""

_BUCKETS: Final = ("gs://", "s3://")
"""Addresses that only the account's own key opens."""

_DEPTH: Final = 128


def stored_object(body: bytes) -> str | None:
    """The first member of a body that names an object which the provider keeps, or None.

    Raises:
        WireError: When the body cannot be read.
    """
    if not any(mark in body for mark in _MARKS) and b"\\u" not in body:
        return None
    return next(_found(read(body).values(), _DEPTH), None)


def _found(value: Any, depth: int) -> Iterator[str]:
    if depth < 0:
        raise WireError("The body is nested too deeply.")
    if isinstance(value, list):
        for one in value:
            yield from _found(one, depth - 1)
    elif isinstance(value, dict):
        kind = value.get("type")
        if kind == "item_reference":
            yield kind
        for key, inner in value.items():
            if key in NAMES and _names_one(key, inner):
                yield key
            elif key not in _OF_THE_CLIENT and not (key == "input" and kind is not None):
                yield from _found(inner, depth - 1)


def _names_one(key: str, value: Any) -> bool:
    """Whether there is an id in it; a setting of the same name is an object without one."""
    match value:
        case str():
            by_address = key in ("fileUri", "file_uri") and "files/" not in value
            kept = value.startswith(_BUCKETS) or not by_address
            return value != "" and kept and value != "auto"
        case list():
            return bool(value)
        case dict():
            return any(value.get(name) for name in ("id", "file_ids", "uri"))
        case _:
            return False
