"""Mistral's OCR: documents read page by page, billed by the page.

How many pages a document has is not told by its bytes, so that only a list of ``pages``, or an image,
bounds what is billed. Annotations are billed dearer and are taken as unpriced.

Source: https://docs.mistral.ai/capabilities/document_ai/basic_ocr, https://docs.mistral.ai/api/#tag/ocr
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Call, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read

_KNOWN: Final = fields.words("""model id document pages include_image_base64 image_limit image_min_size
    bbox_annotation_format document_annotation_format document_annotation_prompt table_format
    extract_header extract_footer confidence_scores_granularity""")
_ANNOTATIONS: Final = ("bbox_annotation_format", "document_annotation_format")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A document or an image that is to be read.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    values = read(inbound.body).values()
    model = tasks.model_of(values, endpoint)
    document = fields.mapping(values, "document")
    if not document:
        raise WireError("document is missing; what is to be read was expected.")
    annotated = any(values.get(name) for name in _ANNOTATIONS)
    pages = None if annotated else _pages(values, document)
    return tasks.task(
        inbound,
        endpoint,
        model,
        {key: value for key, value in values.items() if key != "document"},
        _KNOWN,
        input_tokens=0,
        features=frozenset({"vision"}),
        most=Usage(pages=pages) if pages is not None else None,
        unbounded="the price of annotations" if annotated else "how many pages the document has",
        digest=hashlib.sha256(tasks.canonical_bytes(document)).hexdigest(),
    )


def _pages(values: Mapping[str, Any], document: Mapping[str, Any]) -> int | None:
    """How many pages may be read, or None when nothing says."""
    if document.get("type") == "image_url":
        return 1
    pages = values.get("pages")
    if isinstance(pages, list) and pages and all(type(one) is int for one in pages):
        return len(pages)
    return None
