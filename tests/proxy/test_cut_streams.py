"""Streams of every dialect, cut at any byte and in any chunks: what is booked of them."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy.test import tflow

from tollkeeper.core.sheet import STANDARD, PriceSheet, Rates
from tollkeeper.core.units import fitting
from tollkeeper.domain import Basis, Call, Decision, Effect, Settlement, Usage
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.settling import settlement
from wire.test_samples import answer_of, call_of, cases

RATES = Rates(1000, 5000, 100, 1250, 2000, 5000, 1000, 5000, 1000, 5000)
SHEET = PriceSheet("test", 1_000_000, 100_000, {STANDARD: ((0, RATES),)}, any_tier=True)

STREAMS = [
    case
    for case in cases()
    if any(path.name.startswith(f"{case.values[1]['name']}.stream.") for path in case.values[0].iterdir())
]  # fmt: skip


def decision_for(call: Call, reserved_output_tokens: int = 4000) -> Decision:
    reserve = SHEET.worst_cost_nano_usd(50_000, reserved_output_tokens, call)
    return Decision(
        Effect.ALLOW, reserve_nano_usd=reserve, bound_input_tokens=50_000,
        bound_output_tokens=reserved_output_tokens,
    )  # fmt: skip


def settled(
    call: Call, content_type: str, chunks: list[bytes], *, cut: bool, reserved: int = 4000
) -> Settlement:
    """What is booked of an answer that came in these chunks."""
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.response.status_code = 200
    answer = Answer(call, content_type, "", take_out_usage=False)
    for chunk in chunks:
        answer(chunk)
    if not cut:
        answer(b"")
    return settlement(flow, call, decision_for(call, reserved), SHEET, answer, cut=cut)


def reported(content_type: str, data: bytes) -> list[dict[str, Any]]:
    """Usage objects of the events that are whole in these bytes, read without any of our code."""
    if "event-stream" in content_type:
        events = [
            line[5:]
            for block in data.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
            for line in block.split(b"\n")
            if line.startswith(b"data:")
        ]
    else:
        events = []
        decoder, text = json.JSONDecoder(), data.decode("utf-8", "ignore").lstrip("[ \r\n,")
        while text:
            try:
                event, end = decoder.raw_decode(text)
            except ValueError:
                break
            events.append(json.dumps(event).encode())
            text = text[end:].lstrip(", \r\n]")
    found = []
    for event in events:
        if event.strip() == b"[DONE]":
            continue
        value = json.loads(event)
        for holder in (value, value.get("message"), value.get("response"), value.get("x_groq")):
            usage = isinstance(holder, dict) and (
                holder.get("usage") or holder.get("usageMetadata")
            )
            if usage:
                found.append(usage)
    return found


def least_tokens(usages: list[dict[str, Any]]) -> tuple[int, int]:
    """The most input and output that any of these usages names under its plainest names."""
    given_names = ("prompt_tokens", "input_tokens", "promptTokenCount")
    made_names = ("completion_tokens", "output_tokens", "candidatesTokenCount")
    most = [
        max((usage.get(name) or 0 for usage in usages for name in names), default=0)
        for names in (given_names, made_names)
    ]
    return most[0], most[1]


def chunked(data: bytes, borders: list[int]) -> list[bytes]:
    at = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(at)]


BOUNDED = [one for one in STREAMS if "tokens_unbounded" not in one.values[1]["call"]]
"""What only a price by another measure bounds has no reservation at this sheet."""


@pytest.mark.parametrize(("folder", "case"), BOUNDED)
@settings(max_examples=40, deadline=None)
@given(cut_at=st.integers(0, 40_000), borders=st.lists(st.integers(0, 40_000), max_size=12))
def test_cut_stream_is_never_booked_below_what_it_said_or_above_what_was_reserved(
    folder: Path, case: dict[str, Any], cut_at: int, borders: list[int]
) -> None:
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    seen = data[: cut_at % (len(data) + 1)]

    made = settled(call, content_type, chunked(seen, borders), cut=True)

    given_tokens, made_tokens = least_tokens(reported(content_type, seen))
    least = SHEET.cost_nano_usd(
        Usage(given_tokens, made_tokens, cache_read_input_tokens=given_tokens), call
    )
    if made.cost_nano_usd is None:  # nothing bounds it, so that no budget lets it go
        assert fitting(SHEET, call) is None
        assert made.basis is Basis.RESERVED
        return
    assert least <= made.cost_nano_usd <= decision_for(call).reserve_nano_usd
    assert made.cost_nano_usd > 0
    assert made == settled(call, content_type, [seen], cut=True)


@pytest.mark.parametrize(("folder", "case"), STREAMS)
def test_with_every_event_the_output_that_is_booked_grows_until_the_end_is_seen(
    folder: Path, case: dict[str, Any]
) -> None:
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    floor = 0
    for found in re.finditer(rb"\r?\n\r?\n", data):
        made = settled(call, content_type, [data[: found.end()]], cut=True)
        if made.basis is Basis.MEASURED:
            break
        output = made.usage.output_tokens or 0
        assert output >= floor
        floor = output


@pytest.mark.parametrize(("folder", "case"), STREAMS)
def test_what_surely_was_written_is_booked_also_beyond_the_reservation(
    folder: Path, case: dict[str, Any]
) -> None:
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    answer = Answer(call, content_type, "", take_out_usage=False)
    answer(data)
    if answer.meter.seen_output_tokens_least < 2:
        return

    made = settled(call, content_type, [data[: len(data) * 9 // 10]], cut=True, reserved=1)

    assert made.cost_nano_usd is not None
    assert (
        made.cost_nano_usd >= (answer.meter.seen_output_tokens_least // 2) * RATES.output // 10**6
    )


@pytest.mark.parametrize(("folder", "case"), STREAMS)
def test_words_counted_in_any_chunks_are_no_more_than_the_bytes(
    folder: Path, case: dict[str, Any]
) -> None:
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    whole = Answer(call, content_type, "", take_out_usage=False)
    whole(data)
    one_by_one = Answer(call, content_type, "", take_out_usage=False)
    for at in range(len(data)):
        one_by_one(data[at : at + 1])

    least, most = whole.meter.seen_output_tokens_least, whole.meter.seen_output_tokens_bound
    assert least <= most
    assert one_by_one.meter.seen_output_tokens_least == least
    assert one_by_one.meter.seen_output_tokens_bound == most
