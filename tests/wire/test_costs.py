"""Every sample's settled cost against the makers' price pages and two public tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
import yaml

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.sheet import PriceSheet
from tollkeeper.domain import NANO_PER_USD, Call, Mode, Policy, Usage
from tollkeeper.wire import route
from wire.test_samples import SAMPLES, answer_of, call_of, cases, told

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = int(AT.timestamp()) * NANO_PER_USD
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
FLAVORS = {"openai_chat": "chat", "openai_responses": "responses"}

DIFFERENT = {
    "anthropic-error": "the stream has no whole answer to extract from",
    "anthropic-compaction": "the extraction leaves out what iterations are billed beside the top",
    "anthropic-fast": "neither the region nor the container is extracted or priced",
    "gemini-heard": "searches stand in the candidates and are not extracted",
    "openai_chat-groq": "the usage under x_groq is not extracted",
    "openai_chat-deepseek": "cache hits under DeepSeek's own name are not extracted",
    "openai_responses-served": "searches and containers stand in the output and are not extracted",
}
"""Samples whose cost by genai-prices' own extraction is not ours, and why; ours is the price page's."""
UNREAD = {
    "bedrock_native": "the counts stand in headers, in event streams and in makers' own members",
    "images_each": "images are counted where nothing is said of them",
    "gemini_caches": "what is kept by the hour is neither extracted nor priced",
}
"""Dialects whose answers genai-prices does not extract as they come, and why."""


def published() -> dict[str, dict[str, Any]]:
    return {
        f"{path.parent.name}-{row['name']}": row
        for path in SAMPLES.glob("*/costs.yaml")
        for row in yaml.safe_load(path.read_text())
    }


PUBLISHED = published()
PRICED = [case for case in cases() if (case.values[0] / "costs.yaml").exists()]


def read(folder: Path, case: dict[str, Any]) -> tuple[Call, Usage, PriceSheet]:
    """A sample's call, the usage of its answer, and the sheet that prices them."""
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    meter = route.meter(call, content_type, take_out_usage=False, headers=told(case))
    meter.feed(data)
    meter.finish()
    assert meter.usage is not None
    assert call.model is not None
    sheet = BOOK.sheet(call.provider, call.model, NOW, call.service_tier)
    assert sheet is not None
    return call, meter.usage, sheet


def test_every_priced_sample_has_a_case_and_every_case_of_its_dialect_a_price() -> None:
    assert {case.id for case in PRICED} == PUBLISHED.keys()


@pytest.mark.parametrize(("folder", "case"), PRICED)
def test_settled_cost_is_what_the_price_page_says(folder: Path, case: dict[str, Any]) -> None:
    row = PUBLISHED[f"{folder.name}-{case['name']}"]
    tokens = sum(Decimal(count) * Decimal(str(usd)) * 1000 for count, usd in row["tokens"])
    uses = sum(Decimal(n) * Decimal(str(usd)) * 10**6 for n, usd in row.get("uses", []))
    by_hand = tokens * row.get("percent", 100) / 100 + uses
    call, usage, sheet = read(folder, case)

    assert sheet.cost_nano_usd(usage, call) == row["nano_usd"] == by_hand
    assert sheet.missing(usage, call) == ()
    assert str(row["source"]).startswith("https://")


@pytest.mark.parametrize(("folder", "case"), PRICED)
def test_cost_equals_the_catalogues_own_extraction_and_price_or_says_why_not(
    folder: Path, case: dict[str, Any]
) -> None:
    name = f"{folder.name}-{case['name']}"
    call, usage, sheet = read(folder, case)
    theirs = extracted_cost(folder, case, call)

    if name in DIFFERENT or folder.name in UNREAD:
        assert theirs != sheet.cost_nano_usd(usage, call)
    else:
        assert theirs == sheet.cost_nano_usd(usage, call)


def extracted_cost(folder: Path, case: dict[str, Any], call: Call) -> Decimal | None:
    """What genai-prices makes of the same answer by itself; None when it finds no usage."""
    data, content_type = answer_of(folder, case)
    if content_type.endswith("eventstream"):
        return None
    answer = json.loads(data) if content_type.startswith("application/json") else last(data)
    answers = answer if isinstance(answer, list) else [answer]
    provider = facts.providers()[call.provider].catalogue
    flavors = (FLAVORS.get(folder.name, "default"), "default", "chat")
    for flavor in flavors:
        try:
            found = genai_prices.extract_usage(answers[-1], provider_id=provider, api_flavor=flavor)
        except (ValueError, LookupError):
            continue
        tier = case["usage"].get("service_tier")
        context = {"service_tier": tier, "speed": tier} if tier else {}
        price = genai_prices.calc_price(
            found.usage, call.model or "", provider_id=provider,
            genai_request_timestamp=AT, price_context=context,
        )  # fmt: skip
        return price.total_price * NANO_PER_USD
    return None


def last(stream: bytes) -> Any:
    """The newest event of a stream that has a usage, as a whole answer would have it."""
    events = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: {")]
    with_usage = [json.loads(one) for one in events if '"usage' in one]
    answer = with_usage[-1]
    if answer.get("type") == "message_delta":
        begun = json.loads(events[0])["message"]["usage"]
        return {"model": case_model(events), "usage": begun | answer["usage"]}
    return answer.get("response", answer)


def case_model(events: list[str]) -> str:
    return str(json.loads(events[0])["message"]["model"])


@pytest.mark.parametrize(
    "row",
    yaml.safe_load((SAMPLES / "second_table.yaml").read_text()),
    ids=lambda row: f"{row['model']}-{row['tier']}-{row['start']}",
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
