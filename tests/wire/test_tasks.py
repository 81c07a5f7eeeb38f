"""What all calls that are no conversation have in common."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Call, Changes
from tollkeeper.errors import WireError
from tollkeeper.simulator.tasks import tokens_of
from tollkeeper.wire import route, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from wire.asking import FORM, asked, form, sent
from wire.conftest import parse_bytes

PATHS = [
    ("openai", "/v1/embeddings", {"model": "m", "input": "a"}),
    ("openai", "/v1/completions", {"model": "m", "prompt": "a"}),
    ("openai", "/v1/images/generations", {"model": "m", "prompt": "a"}),
    ("openai", "/v1/images/edits", {"model": "m", "prompt": "a", "images": ["b"]}),
    ("openai", "/v1/audio/speech", {"model": "m", "input": "a", "voice": "b"}),
    ("together", "/v1/rerank", {"model": "m", "query": "a", "documents": ["b"]}),
    ("mistral", "/v1/ocr", {"model": "m", "document": {"type": "image_url"}}),
    ("cohere", "/v2/chat", {"model": "m", "messages": [{"role": "user", "content": "a"}]}),
    ("cohere", "/v1/chat", {"model": "m", "message": "a"}),
    ("cohere", "/v2/embed", {"model": "m", "texts": ["a"]}),
    ("ollama-cloud", "/api/chat", {"model": "m", "messages": [{"role": "user", "content": "a"}]}),
    ("ollama-cloud", "/api/generate", {"model": "m", "prompt": "a"}),
    ("ollama-cloud", "/api/embed", {"model": "m", "input": ["a"]}),
    ("google", "/v1beta/models/m:embedContent", {"content": {"parts": [{"text": "a"}]}}),
]
WORDS = st.sampled_from(
    [
        "type",
        "text",
        "content",
        "parts",
        "image_url",
        "url",
        "document",
        "documents",
        "input",
        "images",
        "image",
        "messages",
        "message",
        "prompt",
        "texts",
        "inputs",
        "requests",
        "role",
        "model",
        "query",
        "n",
        "size",
        "pages",
        "tools",
        "function",
        "name",
        "options",
        "num_predict",
        "think",
        "connectors",
        "id",
        "chat_history",
        "max_tokens",
        "best_of",
        "partial_images",
        "quality",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 99) | st.floats(-1, 1) | WORDS
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(("provider", "path", "body"), PATHS)
def test_reading_gives_a_call_or_one_sentence(
    provider: str, path: str, body: dict[str, Any]
) -> None:
    @settings(max_examples=80, deadline=None)
    @given(st.dictionaries(WORDS, TREES, max_size=4))
    def check(more: dict[str, Any]) -> None:
        with suppress(WireError):
            call = asked(path, body | more, provider)
            assert call.metered
            assert call.head_bound_tokens >= 0
            assert call.choices >= 1
            assert call.extra_output_tokens >= 0

    check()


@given(
    st.recursive(
        st.text(max_size=30), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=8
    )
)
def test_no_text_has_more_tokens_than_its_bound(value: Any) -> None:
    assert tasks.json_bound(value) >= tokens_of(value)
    assert tasks.json_bound(value) >= len(json.dumps(value, ensure_ascii=False).encode())


@pytest.mark.parametrize(("provider", "path", "body"), PATHS[2:6])
def test_no_output_limit_is_ever_put_into_what_has_no_place_for_one(
    provider: str, path: str, body: dict[str, Any]
) -> None:
    call = asked(path, body, provider)
    raw = json.dumps(body).encode()

    assert call.max_output_tokens == 0
    same, _ = route.rewrite(call, raw, path, Changes(max_output_tokens=5), include_usage=False)
    assert same == raw


def test_an_alias_changes_the_model_of_a_json_body_and_of_a_form() -> None:
    fields = (("file", b"RIFF"), ("model", "ears"), ("prompt", "ears"))
    call, body = sent("/v1/audio/transcriptions", *fields), form(*fields)

    changed, _ = route.rewrite(
        call, body, "/v1/audio/transcriptions", Changes(model="whisper-1"),
        include_usage=False, content_type=FORM,
    )  # fmt: skip

    assert changed == body.replace(b"\r\n\r\nears", b"\r\n\r\nwhisper-1", 1)


def test_the_model_of_a_path_and_of_a_body_are_the_same_one() -> None:
    at = facts.providers()["openai"]
    endpoint = route.recognise(at, "POST", "/v1/embeddings")
    assert endpoint is not None
    deployed = Endpoint("embeddings", endpoint.dialect, True, "ada")

    def parsed(body: dict[str, Any]) -> Call:
        raw = json.dumps(body).encode()
        return route.parse(Inbound(at, "POST", "/v1/embeddings", "", {}, raw), deployed)

    assert parsed({"input": "x"}).model == "ada"
    assert parsed({"input": "x", "model": "ada"}).model == "ada"
    with pytest.raises(WireError, match="different models"):
        parsed({"input": "x", "model": "dear"})


def test_an_approval_is_bound_to_every_field_and_file() -> None:
    path = "/v1/audio/transcriptions"
    base = (("model", "whisper-1"), ("file", b"RIFF1"), ("prompt", "a"))
    digests = {
        sent(path, *fields).approval_digest
        for fields in (
            base,
            (*base[:2], ("prompt", "b")),
            (base[0], ("file", b"RIFF2"), base[2]),
            (("model", "whisper-2"), *base[1:]),
        )
    }

    assert len(digests) == 4
    assert sent(path, *base, ("stream", "true")).approval_digest in digests


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        ("openai", "/v1/embeddings", {"model": "m", "input": "a", "messages": [{"content": "b"}]}),
        ("together", "/v1/rerank", {"model": "m", "query": "a", "text_1": "b", "documents": ["c"]}),
        ("cohere", "/v2/chat", {"model": "m", "message": "a", "messages": [{"role": "user"}]}),
        ("ollama-cloud", "/api/embed", {"model": "m", "input": "a", "prompt": "b"}),
    ],
)
def test_two_members_that_say_the_same_are_refused(
    provider: str, path: str, body: dict[str, Any]
) -> None:
    with pytest.raises(WireError, match="say the same"):
        asked(path, body, provider)


@pytest.mark.parametrize(("provider", "path", "body"), PATHS[:2])
def test_a_member_that_nobody_knows_is_bounded_by_its_bytes_too(
    provider: str, path: str, body: dict[str, Any]
) -> None:
    plain, more = asked(path, body, provider), asked(path, body | {"extra": "x" * 999}, provider)

    assert more.head_bound_tokens >= plain.head_bound_tokens + 999
    assert more.unknown_parameters == ("extra",)


def test_a_form_where_json_belongs_is_refused() -> None:
    with pytest.raises(WireError):
        parse_bytes(
            form(("model", "m"), ("input", "x")), "openai", "/v1/embeddings", {"content-type": FORM}
        )
