"""What writing down speech in a session may come to, and what it came to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import Mode, Policy
from tollkeeper.simulator import realtime_bill
from tollkeeper.wire.realtime_transcripts import call_for, model_in, written_in

OPENAI = facts.providers()["openai"]
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * 10**9
COMPLETED = "conversation.item.input_audio_transcription.completed"


def test_model_is_named_or_nothing_is_written_down() -> None:
    assert model_in({"transcription": {"model": "whisper-1", "language": "en"}}) == "whisper-1"
    assert model_in({"transcription": None}) is None


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"])
@settings(deadline=None, max_examples=50)
@given(
    pieces=st.lists(st.integers(100, 5000), min_size=1, max_size=30), prompt=st.text(max_size=80)
)
def test_reservation_bears_any_cut_of_the_audio(model: str, pieces: list[int], prompt: str) -> None:
    asked = {"model": model, "prompt": prompt.encode("utf-8", "ignore").decode()}
    _, call = call_for(OPENAI, "/v1/realtime", asked, sum(pieces) * 1000)
    sheet = BOOK.sheet("openai", model, NOW)
    assert sheet is not None
    assert fitting(sheet, call) is not None

    billed = 0
    for piece in pieces:
        told, _ = realtime_bill.written_down(asked, piece)
        written = written_in({"type": COMPLETED, "item_id": "item_1", "usage": told})
        assert written is not None
        assert written.usage is not None
        billed += sheet.cost_nano_usd(written.usage, call)

    assert billed <= sheet.worst_cost_nano_usd(call.head_bound_tokens, 0, call)


def test_piece_that_says_nothing_of_its_price_is_not_free() -> None:
    written = written_in({"type": COMPLETED, "item_id": "item_1", "usage": {}})

    assert written is not None
    assert written.usage is None
