from __future__ import annotations

from typing import Any

import pytest

from tollkeeper.domain import Usage
from tollkeeper.errors import WireError
from wire.asking import asked


def ranked(documents: Any, query: str = "q", **more: Any) -> Any:
    body = {"model": "rerank-v3.5", "query": query, "documents": documents, **more}
    return asked("/v2/rerank", body, "cohere")


@pytest.mark.parametrize(
    ("documents", "units"),
    [(["a"], 1), (["a"] * 100, 1), (["a"] * 101, 2), (["x" * 50_000], 2), ([{"text": "a"}], 1)],
)
def test_a_hundred_short_documents_are_a_unit_and_a_long_one_is_many(
    documents: list[Any], units: int
) -> None:
    assert ranked(documents).most == Usage(search_units=units)


def test_a_long_query_makes_every_document_longer() -> None:
    assert (
        ranked(["x" * 5000] * 40, "q" * 490).most.search_units
        > ranked(["x" * 5000] * 40).most.search_units
    )


def test_the_query_counts_with_every_document() -> None:
    call = asked(
        "/v1/rerank", {"model": "m", "query": "q" * 100, "documents": ["d" * 10] * 20}, "together"
    )

    assert call.head_bound_tokens >= 20 * 110


def test_pairs_that_are_scored_are_read_alike() -> None:
    call = asked(
        "/v1/score", {"model": "m", "text_1": "a" * 50, "text_2": ["b" * 50] * 2}, "together"
    )

    assert call.head_bound_tokens >= 200


def test_nothing_bounds_images_and_far_too_many_documents_are_refused() -> None:
    pictured = ranked([{"image": "data:image/png;base64,AA"}])

    assert (pictured.most, pictured.tokens_unbounded) == (None, "media that is ranked")
    with pytest.raises(WireError, match="More than"):
        ranked(["a"] * 10_001)
    with pytest.raises(WireError, match="query and documents"):
        asked("/v2/rerank", {"model": "m", "query": "q"}, "cohere")
