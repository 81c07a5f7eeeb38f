"""What an answer says it used; what a provider adds is noticed, and nonsense is nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain import Usage
from tollkeeper.wire import task_usage
from wire.asking import asked

SPEECH = asked("/v1/audio/speech", {"model": "tts-1", "input": "hello", "voice": "a"})
EMBEDDING = asked("/v1/embeddings", {"model": "m", "input": "x"})
READERS = [
    task_usage.embeddings,
    task_usage.gemini_embedding,
    task_usage.images,
    task_usage.audio,
    task_usage.rerank,
    task_usage.ocr,
    task_usage.cohere,
    task_usage.ollama,
]


@pytest.mark.parametrize(
    ("reader", "answer"),
    [
        (task_usage.embeddings, {"usage": {"prompt_tokens": 3, "total_tokens": 3, "frames": 2}}),
        (
            task_usage.images,
            {"data": [{}], "usage": {"input_tokens": 1, "output_tokens": 2, "frames": 2}},
        ),
        (task_usage.audio, {"usage": {"output_tokens": 2, "frames": 2}}),
        (task_usage.ocr, {"usage_info": {"pages_processed": 1, "frames": 2}}),
    ],
)
def test_a_figure_that_is_not_known_is_noticed(reader: Any, answer: dict[str, Any]) -> None:
    assert reader(answer, EMBEDDING).unknown == ("frames",)


def test_what_was_billed_beside_an_image_is_noticed() -> None:
    said = task_usage.images(
        {
            "data": [{}],
            "usage": {"input_tokens": 1, "output_tokens": 2},
            "svg_usage": {"output_tokens": 9},
        },
        EMBEDDING,
    )

    assert said is not None
    assert said.unknown == ("svg_usage.output_tokens",)


def test_an_image_answer_without_usage_counts_its_images_only() -> None:
    said = task_usage.images({"data": [{}, {}]}, EMBEDDING)

    assert said == Usage(images=2)


@pytest.mark.parametrize(
    ("answer", "milliseconds"),
    [
        ({"usage": {"seconds": 9}}, 9000),
        ({"duration": 8.4700003}, 8471),
        ({"duration": 8.4, "usage": {"type": "duration", "seconds": 9}}, 9000),
    ],
)
def test_a_length_is_rounded_up(answer: dict[str, Any], milliseconds: int) -> None:
    said = task_usage.audio(answer, EMBEDDING)

    assert said is not None
    assert said.audio_milliseconds == milliseconds


@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), float("inf"), True, "9", None, 1e300])
def test_a_length_that_is_none_says_nothing(seconds: object) -> None:
    assert task_usage.audio({"duration": seconds}, EMBEDDING) is None


def test_units_stand_before_tokens_for_a_reranker() -> None:
    both = {"usage": {"search_units": 2, "total_tokens": 150, "cost": 0.004}}

    assert task_usage.rerank(both, EMBEDDING) == Usage(
        search_units=2, provider_cost_nano_usd=4_000_000
    )


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "data",
                    "meta",
                    "billed_units",
                    "input_tokens",
                    "output_tokens",
                    "seconds",
                    "duration",
                    "delta",
                    "response",
                    "tokens",
                    "search_units",
                    "usage_info",
                    "pages_processed",
                    "prompt_eval_count",
                    "eval_count",
                    "cost",
                    "model",
                    "svg_usage",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@pytest.mark.parametrize("reader", READERS)
def test_any_answer_is_read_or_left(reader: Any) -> None:
    @given(ANY)
    def check(answer: Any) -> None:
        if isinstance(answer, dict):
            said = reader(answer, SPEECH)
            assert said is None or isinstance(said, Usage)

    check()
