"""Objects that a provider keeps and a call names by id: responses, files, containers, caches.

Whoever holds the account's key may name all of its objects. With a key that many agents share, one
agent's files and conversations would be open to every other.

Source: https://platform.openai.com/docs/api-reference/responses/create,
https://docs.anthropic.com/en/docs/build-with-claude/files, https://ai.google.dev/api/caching,
https://ai.google.dev/api/files,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_S3Location.html,
https://ai.google.dev/api/file-search/file-search-stores,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/rag-api (``vertexRagStore``),
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/call-vertex-using-openai-library
(``gs://`` in ``image_url``)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
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
        "fileSearchStoreNames",
        "fileUri",
        "file_id",
        "file_ids",
        "file_search_store_names",
        "file_uri",
        "item_reference",
        "previous_response_id",
        "s3Location",
        "thread",
        "vector_store_ids",
    }
)
"""Members that hold ids. ``item_reference`` is the type of an input item."""

_STORES: Final = frozenset(
    {"vertexAiSearch", "vertexRagStore", "vertex_ai_search", "vertex_rag_store"}
)
"""Members that name collections of the account's project; no call makes one of these."""

_BARE_KEYS: Final = frozenset({"id", "type"})
"""An input item that has nothing but an id is a reference to that item.

Source: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

_MAY_NAME: Final = re.compile(
    rb'"(?:(?:%s)"|(?i:gs|s3):|type"\s*:\s*(?:null|"reasoning")'
    rb'|id"\s*:\s*(?:"(?:[^"\\]++|\\.)*+"\s*\}|[^"\s]))'
    % b"|".join(name.encode() for name in sorted(NAMES | _STORES))
)
"""What stands in every body that names an object, and in some others: a member of theirs, a bucket's
address, an item with nothing behind its id. All begin with a quote, so that a body is searched once
and fast; inside of a text the quotes would be escaped."""

_OF_THE_CLIENT: Final = frozenset(
    {"args", "arguments", "input_schema", "metadata", "parameters", "parametersJsonSchema",
     "properties", "response", "responseSchema", "responseJsonSchema", "schema"}
)  # fmt: skip
"""Members whose content has words of the client's own: what a tool takes or gave."""

_BUCKETS: Final = ("gs://", "s3://")
"""Addresses that only the account's own key opens."""

_ADDRESSES: Final = frozenset(
    {"audio_url", "data", "document_url", "file_data", "file_url", "gcsUri", "gcs_uri", "imageUrl",
     "image_url", "s3Uri", "s3_uri", "uri", "url", "video_url"}
)  # fmt: skip
"""Members that hold addresses, or what stands in their place."""

_DEPTH: Final = 128


MOST_NAMED: Final = 100
"""Objects that one call may name with a shared key; agents name a few."""


def stored_objects(body: bytes) -> tuple[str, tuple[str, ...]] | None:
    """The first member of a body that names an object which the provider keeps, and all ids; or None.

    What is no id (an object of another shape, more than ``MOST_NAMED``) stands as an empty one.

    Raises:
        WireError: When the body cannot be read.
    """
    if _MAY_NAME.search(body) is None and b"\\u" not in body:
        return None
    found = list(islice(_found(read(body).values(), _DEPTH), MOST_NAMED + 1))
    if not found:
        return None
    ids = tuple(dict.fromkeys(one for _, one in found))
    return found[0][0], (*ids, "") if len(found) > MOST_NAMED else ids


def _found(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth < 0:
        raise WireError("The body is nested too deeply.")
    if isinstance(value, list):
        for one in value:
            yield from _found(one, depth - 1)
    elif isinstance(value, dict):
        kind = None if depth == _DEPTH else value.get("type")  # the body itself is no item
        if depth < _DEPTH:
            yield from _item(value, kind)
        for key, inner in value.items():
            if key in NAMES and _names_one(key, inner):
                for one in _ids(inner):
                    yield key, one
            elif key in _STORES and inner:
                yield key, ""
            elif key in _ADDRESSES and _in_bucket(inner):
                yield key, inner
            elif key not in _OF_THE_CLIENT and not (key == "input" and kind is not None):
                yield from _found(inner, depth - 1)


def _item(value: dict[str, Any], kind: Any) -> Iterator[tuple[str, str]]:
    """What an input item refers to by nothing but its own id."""
    if kind == "item_reference" or (kind is None and value.keys() <= _BARE_KEYS and value):
        yield "item_reference", _text(value.get("id"))
    elif kind == "reasoning" and value.get("id") and not _brings_its_own(value):
        yield "reasoning item by id", _text(value["id"])


def _in_bucket(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(_BUCKETS)


def _brings_its_own(item: dict[str, Any]) -> bool:
    """Whether a reasoning item has what it says in it."""
    return bool(item.get("encrypted_content") or item.get("content"))


def _ids(value: Any) -> Iterator[str]:
    match value:
        case list():
            yield from map(_text, value)
        case dict():
            for name in ("id", "uri"):
                if value.get(name):
                    yield _text(value[name])
            if value.get("file_ids"):
                yield from _ids(value["file_ids"])
        case _:
            yield _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _names_one(key: str, value: Any) -> bool:
    """Whether there is an id in it; a setting of the same name is an object without one."""
    match value:
        case str():
            by_address = key in ("fileUri", "file_uri") and "files/" not in value
            kept = _in_bucket(value) or not by_address
            return value != "" and kept and value != "auto"
        case list():
            return bool(value)
        case dict():
            return any(value.get(name) for name in ("id", "file_ids", "uri"))
        case _:
            return False
