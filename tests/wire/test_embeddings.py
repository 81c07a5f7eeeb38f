from __future__ import annotations

import pytest

from tollkeeper.errors import WireError
from wire.asking import asked

GEMINI = "/v1beta/models/gemini-embedding-001"


@pytest.mark.parametrize(
    ("given", "at_least"),
    [
        ("x" * 500, 500),
        (["é" * 100, "y" * 100], 300),
        ([7] * 200, 200),
        ([[7] * 100, [8] * 100], 200),
    ],
)
def test_texts_and_tokens_bound_the_input_and_nothing_comes_out(
    given: object, at_least: int
) -> None:
    call = asked("/v1/embeddings", {"model": "text-embedding-3-small", "input": given})

    assert at_least <= call.head_bound_tokens <= 3 * at_least + 300
    assert (call.max_output_tokens, call.extra_output_tokens, call.opaque_input) == (0, 0, None)


def test_media_are_not_bounded_by_their_bytes() -> None:
    given = [{"content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]

    call = asked("/v1/embeddings", {"model": "m", "input": given})

    several = asked("/v1/embeddings", {"model": "m", "input": given * 2})

    assert (call.opaque_input, call.tokens_unbounded) == ("media that is embedded", None)
    assert "vision" in call.features
    assert several.tokens_unbounded == "media of several inputs"


@pytest.mark.parametrize("body", [{"input": "x"}, {"model": "m"}, {"model": "m", "input": ""}])
def test_what_is_missing_is_named(body: dict[str, str]) -> None:
    with pytest.raises(WireError, match="missing"):
        asked("/v1/embeddings", body)


def test_a_batch_may_not_name_another_model_than_its_path() -> None:
    one = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "x" * 90}]}}

    call = asked(f"{GEMINI}:batchEmbedContents", {"requests": [one, one]}, "google")

    assert call.model == "gemini-embedding-001"
    assert call.head_bound_tokens >= 180
    with pytest.raises(WireError, match="different models"):
        asked(
            f"{GEMINI}:batchEmbedContents",
            {"requests": [one, one | {"model": "models/dear"}]},
            "google",
        )


def test_an_inline_image_of_gemini_is_opaque() -> None:
    parts = [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]

    call = asked(f"{GEMINI}:embedContent", {"content": {"parts": parts}}, "google")

    assert call.opaque_input is not None
