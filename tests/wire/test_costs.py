"""Every sample's settled cost against published prices, the catalogue's own reading and a second table."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import batched
from pathlib import Path
from typing import Any

import genai_prices
import pytest
import yaml

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.sheet import PriceSheet
from tollkeeper.core.units import fitting, is_measured
from tollkeeper.domain import NANO_PER_USD, Call, Mode, Policy, Usage
from tollkeeper.proxy.settling import reckoned
from tollkeeper.wire import route
from wire.test_samples import SAMPLES, answer_of, call_of, cases, told

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = int(AT.timestamp()) * NANO_PER_USD
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))

FLAVORS = {
    "anthropic": ("default",),
    "audio": ("live", "responses"),
    "azure": ("chat",),
    "bedrock_invoke": ("anthropic",),
    "chatgpt": ("responses",),
    "cohere": ("default", "embeddings"),
    "embeddings": ("embeddings", "default"),
    "images": ("images",),
    "ocr": ("ocr",),
    "openai_chat": ("chat", "default"),
    "openai_responses": ("responses",),
    "openai_text": ("chat", "default"),
    "vertex": ("default", "anthropic", "chat"),
}
"""What genai-prices calls the dialects, where that is not ``default``; the first that reads an answer counts."""

DIFFERENT = {
    "anthropic-error": "the stream has no whole answer to extract from",
    "anthropic-compaction": "the extraction leaves out what iterations are billed beside the top",
    "anthropic-fast": "neither the region nor the container is extracted or priced",
    "audio-groq": "the length of a recording is not extracted, nor the least that is billed",
    "audio-speech": "the answer is sound; the characters stand in the request",
    "bedrock_converse-called": "frames of Amazon's are not read",
    "bedrock_converse-stream": "frames of Amazon's are not read",
    "bedrock_invoke-stream": "frames of Amazon's are not read",
    "code_assist-stream": "what the total has beyond the prompt is not taken for output",
    "cohere-called": "what a stream says at its end is not extracted",
    "cohere-first": "what the first version's stream says at its end is not extracted",
    "cohere-stream": "what a stream says at its end is not extracted",
    "embeddings-moderation": "the catalogue has no price; it is free",
    "gemini-heard": "searches stand in the candidates and are not extracted",
    "openai_chat-groq": "the usage under x_groq is not extracted",
    "openai_chat-deepseek": "cache hits under DeepSeek's own name are not extracted",
    "openai_responses-served": "searches and containers stand in the output and are not extracted",
    "openai_chat-voxtral": "the length of a recording is not extracted",
    "openai_responses-preview": "searches stand in the output and are not extracted",
    "openai_responses-shell": "the container stands in the output and is not extracted",
    "rerank-cohere": "search units are not extracted, nor priced",
    "vertex-claude": "the region is not priced",
    "vertex-openapi": "the model's prefix is not known, and thoughts beyond the completion are left out",
}
"""Samples whose cost by genai-prices' own extraction is not ours, and why; ours is the published price's."""

UNREAD = {
    "bedrock_native": "the counts stand in headers, in event streams and in makers' own members",
    "gemini_caches": "what is kept by the hour is neither extracted nor priced",
    "images_each": "images are counted where nothing is said of them",
}
"""Dialects of which genai-prices extracts no answer as it comes, and why."""


def published() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.parent.name}-{row['name']}", row)
        for path in SAMPLES.glob("*/costs.yaml")
        for row in yaml.safe_load(path.read_text())
    ]


PUBLISHED = dict(published())
PRICED = [case for case in cases() if "nano_usd" in PUBLISHED.get(case.id, {})]
UNPRICED = [case for case in cases() if "unknown" in PUBLISHED.get(case.id, {})]


def used(folder: Path, case: dict[str, Any]) -> tuple[Call, Usage | None, PriceSheet | None]:
    """A sample's call, what its answer says it used, and the sheet that prices them."""
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    meter = route.meter(call, content_type, take_out_usage=False, headers=told(case))
    meter.feed(data)
    meter.finish()
    assert call.model is not None
    return call, meter.usage, BOOK.sheet(call.provider, call.model, NOW, call.service_tier)


def read(folder: Path, case: dict[str, Any]) -> tuple[Call, Usage, PriceSheet]:
    """The same of a sample that has a price."""
    call, usage, sheet = used(folder, case)
    assert usage is not None
    assert sheet is not None
    return call, usage, sheet


def worked_out(text: str) -> Fraction:
    """What a written sum comes to: ``+``, ``x``, ``/`` and brackets, between blanks."""
    while "(" in text:
        text = re.sub(r"\(([^()]*)\)", lambda inner: str(worked_out(inner[1])), text)
    total = Fraction(0)
    for term in text.split(" + "):
        first, *rest = re.split(r" (x|/) ", term)
        value = Fraction(first)
        for sign, number in batched(rest, 2):
            value = value * Fraction(number) if sign == "x" else value / Fraction(number)
        total += value
    return total


def at_prices(row: dict[str, Any]) -> Fraction:
    """A row's counts times its published prices, in nano-USD."""

    def times(kind: str, nano: Fraction) -> Fraction:
        return sum((n * Fraction(str(usd)) * nano for n, usd in row.get(kind, [])), Fraction(0))

    tokens = times("tokens", Fraction(1000)) * row.get("percent", 100) / 100
    seconds = times("seconds", Fraction(NANO_PER_USD, 3600))
    return tokens + times("uses", Fraction(10**6)) + times("characters", Fraction(1000)) + seconds


def test_every_sample_of_every_folder_has_its_worked_cost_or_says_why_it_has_none() -> None:
    folders = {path.name for path in SAMPLES.iterdir() if path.is_dir()}
    folders -= {
        path.parent.name for path in SAMPLES.glob("*/events.yaml")
    }  # test_realtime_meter.py

    assert {path.parent.name for path in SAMPLES.glob("*/costs.yaml")} == folders
    assert sorted(name for name, _ in published()) == sorted(case.id for case in cases())
    assert len(PRICED) + len(UNPRICED) == len(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_worked_cost_names_its_page_and_its_sum_is_right(name: str) -> None:
    row = PUBLISHED[name]

    assert str(row["source"]).startswith("https://")
    assert row["date"]
    if "nano_usd" in row:
        assert re.fullmatch(r"[0-9 x+/()]+", row["sum"])
        assert worked_out(row["sum"]) == at_prices(row)
        assert row["nano_usd"] == math.ceil(worked_out(row["sum"]))
    else:
        assert row["why"]


@pytest.mark.parametrize(("folder", "case"), PRICED)
def test_settled_cost_is_what_the_price_page_says(folder: Path, case: dict[str, Any]) -> None:
    expected = PUBLISHED[f"{folder.name}-{case['name']}"]["nano_usd"]
    call, usage, sheet = read(folder, case)
    cost = sheet.cost_nano_usd(usage, call)

    assert cost == expected
    assert reckoned(cost, usage, sheet) == (expected, "")
    assert sheet.missing(usage, call) == ()
    assert is_measured(sheet, usage)
    assert usage.unknown == ()


@pytest.mark.parametrize(("folder", "case"), UNPRICED)
def test_what_has_no_worked_cost_lacks_what_it_says(folder: Path, case: dict[str, Any]) -> None:
    _, usage, sheet = used(folder, case)
    lacks = {"usage": usage is None, "price": sheet is None}

    assert [name for name, lacking in lacks.items() if lacking] == [
        PUBLISHED[f"{folder.name}-{case['name']}"]["unknown"]
    ]


def tasks() -> list[Any]:
    """Samples whose whole cost their request bounds; texts of conversations are shortened here."""
    found = [(case, *read(*case.values)) for case in PRICED]
    return [
        case
        for case, call, _, sheet in found
        if (call.most is not None or call.max_output_tokens == 0) and fitting(sheet, call)
    ]


@pytest.mark.parametrize(("folder", "case"), tasks())
def test_no_task_costs_more_than_its_request_bounds(folder: Path, case: dict[str, Any]) -> None:
    call, usage, sheet = read(folder, case)
    tokens = call.head_bound_tokens + sum(turn.bound_tokens for turn in call.turns)

    worst = sheet.worst_cost_nano_usd(tokens, call.max_output_tokens or 0, call)
    assert worst >= sheet.cost_nano_usd(usage, call)


@pytest.mark.parametrize(("folder", "case"), PRICED)
def test_cost_equals_the_catalogues_own_extraction_and_price_or_says_why_not(
    folder: Path, case: dict[str, Any]
) -> None:
    call, usage, sheet = read(folder, case)
    theirs = extracted_cost(folder, case, call)
    same = theirs is not None and math.ceil(theirs) == sheet.cost_nano_usd(usage, call)

    differs = f"{folder.name}-{case['name']}" in DIFFERENT or folder.name in UNREAD
    assert same is not differs


def test_every_listed_difference_is_one_of_a_sample_with_a_price() -> None:
    assert DIFFERENT.keys() <= {case.id for case in PRICED}


def extracted_cost(folder: Path, case: dict[str, Any], call: Call) -> Decimal | None:
    """What genai-prices makes of the same answer by itself; None when it finds no usage or price."""
    provider = facts.providers()[call.provider].catalogue
    answer = last_answer(*answer_of(folder, case))
    for flavor in FLAVORS.get(folder.name, ("default",)):
        try:
            found = genai_prices.extract_usage(answer, provider_id=provider, api_flavor=flavor)
        except (ValueError, LookupError):
            continue
        tier = (case["usage"] or {}).get("service_tier")
        context = {"service_tier": tier, "speed": tier} if tier else {}
        price = genai_prices.calc_price(
            found.usage, call.model or "", provider_id=provider,
            genai_request_timestamp=AT, price_context=context,
        )  # fmt: skip
        return price.total_price * NANO_PER_USD
    return None


def last_answer(data: bytes, content_type: str) -> Any:
    """A whole answer, or the newest event of a stream that has a usage; nothing of other bytes."""
    if content_type.startswith("application/json"):
        answer = json.loads(data)
        last = answer[-1] if isinstance(answer, list) else answer
    elif content_type.startswith("text/event-stream"):
        last = last_event(data)
    elif content_type in ("application/x-ndjson", "application/stream+json"):
        last = json.loads(data.decode().strip().splitlines()[-1])
    else:
        return {}
    return last.get("response", last)


def last_event(stream: bytes) -> Any:
    events = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: {")]
    answer = [json.loads(one) for one in events if '"usage' in one][-1]
    if answer.get("type") == "message_delta":
        begun = json.loads(events[0])["message"]
        return {"model": begun["model"], "usage": begun["usage"] | answer["usage"]}
    return answer


SECOND: list[dict[str, Any]] = yaml.safe_load((SAMPLES / "second_table.yaml").read_text())


def test_the_second_table_is_asked_about_every_model_that_a_sample_is_billed_for() -> None:
    asked = {(row["provider"], row["model"]) for row in SECOND}
    billed = {(call.provider, call.model) for call, _, _ in (read(*case.values) for case in PRICED)}

    assert billed <= asked
    assert all(row["absent"] for row in SECOND if "rates" not in row)


@pytest.mark.parametrize(
    "row",
    [row for row in SECOND if "rates" in row],
    ids=lambda row: f"{row['provider']}-{row['model']}-{row['tier']}-{row['start']}",
)
def test_a_second_table_agrees_or_the_difference_is_listed(row: dict[str, Any]) -> None:
    sheet = BOOK.sheet(row["provider"], row["model"], NOW)
    assert sheet is not None
    rows = sheet.tariff.get(row["tier"], ())
    ours = [rates for start, rates in rows if start <= row["start"]][-1:]
    same = [
        int(Decimal(str(usd)) * NANO_PER_USD)
        == (sheet.fees.get("web_search") if kind == "web_searches" else getattr(ours[0], kind))
        for kind, usd in row["rates"].items()
        if ours
    ]

    assert (bool(same) and all(same)) is ("differs" not in row)
