from __future__ import annotations

import pytest

from tollkeeper import facts
from tollkeeper.core.sheet import Rates
from tollkeeper.facts.tables import read_table


@pytest.mark.parametrize(
    ("model", "made"),
    [
        ("gpt-image-1", 6240),
        ("gpt-image-1-mini", 6563),
        ("openai/gpt-image-2", 23719),
        ("GPT-IMAGE-2-2026-04-21", 23719),
    ],
)
def test_an_image_model_has_its_dearest_image(model: str, made: int) -> None:
    known = facts.image_fact(model)

    assert known is not None
    assert known.made == made


@pytest.mark.parametrize("model", ["gpt-image-2.5-sunburst", "gpt-image-9", "dall-e-3", ""])
def test_an_image_model_that_no_table_names_is_unknown(model: str) -> None:
    assert facts.image_fact(model) is None


def test_speech_and_least_lengths_are_known_by_model_and_provider() -> None:
    assert facts.speech_fact("gpt-4o-mini-transcribe") is not None
    assert facts.speech_fact("whisper-1") is None
    assert facts.least_audio_milliseconds("groq") == 10_000
    assert facts.least_audio_milliseconds("openai") == 0


def test_a_price_by_another_measure_says_where_it_is_from() -> None:
    known = facts.unit_rates("cohere", "rerank-v3.5")

    assert known is not None
    assert known[0] == {"search_units": 2 * 10**9}
    assert known[1].startswith("https://docs.memberjunction.org/")
    dearer = facts.unit_rates("cohere", "rerank-v4.0-pro")
    assert dearer is not None
    assert dearer[0] == {"search_units": 25 * 10**8}
    assert facts.unit_rates("openai", "rerank-v3.5") is None
    assert facts.unit_rates("cohere", "rerank-v9") is None


def test_every_entry_has_its_source_and_every_rate_its_name() -> None:
    for entries in read_table("tasks").values():
        for entry in entries:
            assert entry["source"].startswith("https://")
            assert entry["date"]
            assert entry.get("rates", {}).keys() <= set(Rates._fields)
