"""Reranking and scoring: a query and documents, billed by search units (Cohere) or tokens (all others).

A search unit is one query with up to a hundred documents; a long document counts once for each piece
of about 500 tokens, the query among them.

Source: https://docs.cohere.com/reference/rerank, https://cohere.com/pricing (search units),
https://docs.together.ai/reference/rerank-1, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html,
https://openrouter.ai/docs/api/api-reference/rerank/submit-a-rerank-request
"""

from __future__ import annotations

from typing import Any, Final

from tollkeeper.domain import Call, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read

_KNOWN: Final = fields.words("""model query documents top_n top_k max_tokens_per_doc max_chunks_per_doc rank_fields
    return_documents truncation truncate_prompt_tokens priority text_1 text_2 queries items data_1
    data_2 input additional_data activation use_activation user provider""")
_MEDIA: Final = fields.words("image image_url video_url content")

_PIECE_TOKENS: Final = 500
_LEAST_PIECE_TOKENS: Final = 50
"""Of a document, beside a query that fills nearly all of a piece."""

_DOCUMENTS_A_UNIT: Final = 100
MAX_DOCUMENTS: Final = 10_000
"""Source: https://docs.cohere.com/reference/rerank (at most 1,000 are recommended)"""


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A query with the documents that are to be ranked.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    values = read(inbound.body).values()
    model = tasks.model_of(values, endpoint)
    both = values.get("input")
    query = tasks.one_of(values, "query", "text_1", "queries", "data_1")
    documents = tasks.one_of(values, "documents", "text_2", "items", "data_2")
    query, documents = both if query is None else query, both if documents is None else documents
    if query is None or documents is None:
        raise WireError("query and documents are expected.")
    listed = documents if isinstance(documents, list) else [documents]
    asked = query if isinstance(query, list) else [query]
    if len(listed) > MAX_DOCUMENTS:
        raise WireError(f"More than {MAX_DOCUMENTS} documents are not ranked at once.")
    pairs = max(len(listed), len(asked))
    media = any(isinstance(one, dict) and _MEDIA & one.keys() for one in (*listed, *asked))
    once = tasks.json_bound(query)
    tokens = tasks.json_bound(values) + (once + tasks.INPUT_ALLOWANCE) * pairs
    return tasks.task(
        inbound,
        endpoint,
        model,
        values,
        _KNOWN,
        input_tokens=tokens,
        texts=tuple(one for one in (*asked, *listed) if isinstance(one, str)),
        features=frozenset({"vision"}) if media else frozenset(),
        unbounded="media that is ranked" if media else None,
        most=None if media else Usage(search_units=_units(once, listed)),
    )


def _units(query_tokens: int, documents: list[Any]) -> int:
    """More search units than may be billed."""
    piece = max(_PIECE_TOKENS - query_tokens, _LEAST_PIECE_TOKENS)
    pieces = sum(tasks.json_bound(document) // piece + 1 for document in documents)
    return -(-pieces // _DOCUMENTS_A_UNIT) or 1
