from __future__ import annotations

from typing import Any

import pytest

from tollkeeper.domain import Usage
from tollkeeper.errors import WireError
from wire.asking import asked

LINK = {"type": "document_url", "document_url": "https://x.example/a.pdf"}


def read(**body: Any) -> Any:
    return asked("/v1/ocr", {"model": "mistral-ocr-latest", "document": LINK} | body, "mistral")


def test_only_a_list_of_pages_or_an_image_bounds_what_is_read() -> None:
    image = {"type": "image_url", "image_url": "https://x.example/a.png"}

    assert read(pages=[0, 3]).most == Usage(pages=2)
    assert read(document=image).most == Usage(pages=1)
    for more in (
        {},
        {"pages": "0-99"},
        {"pages": []},
        {"pages": [0], "document_annotation_format": {}},
    ):
        bounded = more.get("pages") == [0]
        assert (read(**more).most is not None) is bounded


def test_annotations_have_no_price() -> None:
    call = read(pages=[0], bbox_annotation_format={"type": "json_schema"})

    assert (call.most, call.tokens_unbounded) == (None, "the price of annotations")


def test_a_file_kept_by_the_provider_is_named_and_a_document_is_needed() -> None:
    assert read(document={"file_id": "file-1"}).stored == "file_id"
    with pytest.raises(WireError, match="document is missing"):
        read(document=None)


def test_an_approval_is_bound_to_the_document() -> None:
    other = {"type": "document_url", "document_url": "https://x.example/b.pdf"}

    assert read().approval_digest != read(document=other).approval_digest
