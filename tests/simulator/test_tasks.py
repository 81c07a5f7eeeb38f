"""Ten kinds of calls, any body: what the simulator bills is what the books say, and never more than reserved."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting, is_measured
from tollkeeper.domain import Mode, Policy
from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.tasks import simulate
from tollkeeper.wire import route
from wire.asking import FORM, form
from wire.conftest import parse_bytes
from wire.test_audio_length import wav

BOOK = PriceBook(Policy("", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * 10**9
TEXT = st.text(min_size=1, max_size=60)
TEXTS = st.lists(TEXT, min_size=1, max_size=5)


def body(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in members.items()}
    )


def fields(**members: Any) -> st.SearchStrategy[list[tuple[str, str | bytes]]]:
    return body(**members).map(lambda values: list(values.items()))


SECONDS = st.floats(0.1, 9).map(wav)
KINDS: dict[str, tuple[str, str, st.SearchStrategy[Any]]] = {
    "embeddings": ("openai", "/v1/embeddings", body(model="text-embedding-3-large", input=TEXTS)),
    "tokens": (
        "openai", "/v1/embeddings",
        body(model="text-embedding-3-small", input=st.lists(st.integers(0, 99_999), min_size=1)),
    ),
    "gemini": (
        "google", "/v1beta/models/gemini-embedding-001:embedContent",
        body(content=TEXT.map(lambda text: {"parts": [{"text": text}]})),
    ),
    "text": (
        "openai", "/v1/completions",
        body(
            model="davinci-002", prompt=TEXTS, max_tokens=st.integers(1, 9), n=st.integers(1, 3),
            best_of=st.integers(1, 4),
        ),
    ),
    "images": (
        "openai", "/v1/images/generations",
        body(model="gpt-image-1-mini", prompt=TEXT, n=st.integers(1, 10), stream=st.booleans()),
    ),
    "edits": (
        "openai", "/v1/images/edits",
        fields(model="gpt-image-1-mini", prompt=st.text("abc é", min_size=1), image=st.binary()),
    ),
    "speech": ("openai", "/v1/audio/speech", body(model="tts-1-hd", input=TEXT, voice="alloy")),
    "whisper": ("openai", "/v1/audio/transcriptions", fields(model="whisper-1", file=SECONDS)),
    "transcription": (
        "openai", "/v1/audio/transcriptions",
        fields(model="gpt-4o-transcribe", file=SECONDS, stream=st.sampled_from(["true", "false"])),
    ),
    "rerank": (
        "cohere", "/v2/rerank",
        body(model="rerank-v3.5", query=TEXT, documents=st.lists(TEXT, min_size=1, max_size=300)),
    ),
    "cohere": (
        "cohere", "/v2/chat",
        body(
            model="command-r7b-12-2024", max_tokens=st.integers(1, 9), stream=st.booleans(),
            messages=TEXT.map(lambda text: [{"role": "user", "content": text}]),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_billed_is_what_is_booked_and_within_what_was_reserved(kind: str) -> None:
    provider, path, bodies = KINDS[kind]

    @settings(max_examples=40, deadline=None)
    @given(bodies, st.lists(st.integers(0, 3000), max_size=4))
    def check(given_body: Any, cuts: list[int]) -> None:
        is_form = isinstance(given_body, list)
        raw = form(*given_body) if is_form else json.dumps(given_body).encode()
        kind_of = FORM if is_form else "application/json"
        call = parse_bytes(raw, provider, path, {"content-type": kind_of})
        told = simulate(Received("POST", path, b"", (("content-type", kind_of),), raw, 0))
        assert told is not None
        answer, billed = told
        assert call.model is not None
        sheet = fitting(BOOK.sheet(provider, call.model, NOW), call)
        assert sheet is not None

        meter = route.meter(call, dict(answer.headers)["Content-Type"], take_out_usage=False)
        data = b"".join(frame.data for frame in answer.frames)
        borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        assert (
            b"".join(meter.feed(data[a:b]) for a, b in pairwise(borders)) + meter.finish() == data
        )

        assert meter.done
        assert meter.usage is not None
        assert is_measured(sheet, meter.usage)
        cost = sheet.cost_nano_usd(meter.usage, call)
        assert cost == sheet.cost_nano_usd(billed, call) > 0
        bound = call.head_bound_tokens + sum(turn.bound_tokens for turn in call.turns)
        assert cost <= sheet.worst_cost_nano_usd(bound, call.max_output_tokens or 0, call)

    check()


def test_a_path_of_another_kind_is_left_to_the_others() -> None:
    assert simulate(Received("POST", "/v1/chat/completions", b"", (), b"{}", 0)) is None
