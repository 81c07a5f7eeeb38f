"""What a response of a session came to, from the provider's events, whole and cut."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Mode, Policy, Usage
from tollkeeper.wire.realtime_meter import RealtimeMeter, usage_of
from tollkeeper.wire.talk import as_event

SAMPLES = Path(__file__).parent / "samples" / "openai_realtime"
CASES = yaml.safe_load((SAMPLES / "events.yaml").read_text())
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * 10**9


def frames(name: str) -> list[bytes]:
    return (SAMPLES / f"{name}.events.jsonl").read_bytes().splitlines()


def met(*sent: bytes) -> RealtimeMeter:
    meter = RealtimeMeter("openai")
    for frame in sent:
        assert meter.feed(as_event(frame)) == as_event(frame)
    return meter


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_usage_of_a_response_is_read_whole(case: dict[str, Any]) -> None:
    meter = met(*frames(case["name"]))

    assert meter.done
    assert meter.usage == (Usage(**case["usage"]) if case["usage"] else None)
    assert str(case["source"]).startswith("https://")


@pytest.mark.parametrize(
    "case", [one for one in CASES if one["usage"]], ids=lambda one: one["name"]
)
def test_settled_cost_is_what_the_models_page_says(case: dict[str, Any]) -> None:
    by_hand = sum(Decimal(count) * Decimal(str(usd)) * 1000 for count, usd in case["tokens"])
    sheet = BOOK.sheet("openai", case["model"], NOW)
    assert sheet is not None

    cost = sheet.cost_nano_usd(Usage(**case["usage"]))

    assert cost == case["nano_usd"] == by_hand
    assert sheet.missing(Usage(**case["usage"])) == ()


def test_every_sample_has_its_case() -> None:
    assert {path.name.split(".")[0] for path in SAMPLES.glob("*.jsonl")} == {
        case["name"] for case in CASES
    }


def test_figure_that_nobody_knows_is_named() -> None:
    told = {"input_tokens": 1, "output_tokens": 1, "input_token_details": {"video_tokens": 9}}

    assert usage_of(told).unknown == ("input_token_details.video_tokens",)


def test_cut_response_is_bounded_by_what_was_seen_of_it() -> None:
    second = base64.b64encode(bytes(48_000)).decode()
    spoken = {"type": "response.output_audio.delta", "delta": second}
    written = {"type": "response.output_text.delta", "delta": "two words"}

    meter = met(json.dumps(spoken).encode(), json.dumps(written).encode())

    assert not meter.done
    assert meter.usage is None
    assert meter.seen_output_tokens_least == 2
    assert 20 + 2 <= meter.seen_output_tokens_bound == 120 + 9


def test_event_that_cannot_be_read_counts_by_its_bytes() -> None:
    broken = b'{"type":"response.output_text.delta","delta":"two wor'

    assert met(broken).seen_output_tokens_bound == len(broken)
