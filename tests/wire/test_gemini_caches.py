"""Caches of one's own at Gemini: what making and keeping one may cost, and what a named one bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.core.bounds import input_bound
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import (
    NANO_PER_USD,
    NS_PER_SECOND,
    Call,
    Changes,
    Kept,
    Mode,
    Policy,
    Usage,
)
from tollkeeper.errors import WireError
from tollkeeper.wire import gemini_caches, route
from tollkeeper.wire.dialect import Inbound

GOOGLE = facts.providers()["google"]
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * NANO_PER_USD
MODEL = "gemini-2.5-flash"
TEXT = [{"role": "user", "parts": [{"text": "x" * 5000}]}]
NAME = "cachedContents/abc123"
KEPT = Kept(NAME, MODEL, 40_000, 1_800_000_000 * NS_PER_SECOND)


def asked(method: str, path: str, body: dict[str, Any]) -> Call:
    endpoint = route.recognise(GOOGLE, method, path)
    assert endpoint is not None
    sent = json.dumps(body).encode()
    return route.parse(Inbound(GOOGLE, method, path, "", {}, sent), endpoint)


def create(**body: Any) -> Call:
    given = {"model": f"models/{MODEL}", "contents": TEXT, **body}
    return asked("POST", "/v1beta/cachedContents", {k: v for k, v in given.items() if v is not ...})


def extend(**body: Any) -> Call:
    return asked("PATCH", f"/v1beta/{NAME}", body)


def generate(**body: Any) -> Call:
    turn = [{"role": "user", "parts": [{"text": "hi"}]}]
    path = f"/v1beta/models/{MODEL}:generateContent"
    return asked("POST", path, {"contents": turn, "cachedContent": NAME, **body})


def heard(call: Call, answer: dict[str, Any]) -> tuple[Usage | None, Kept | None]:
    meter = route.meter(call, "application/json", take_out_usage=False)
    meter.feed(json.dumps(answer).encode())
    meter.finish()
    assert meter.done
    return meter.usage, meter.made.kept


@pytest.mark.parametrize(("ttl", "seconds"), [(..., 3600), ("300s", 300), ("1.5s", 2)])
def test_making_one_is_bounded_by_its_tokens_and_the_time_that_is_asked_for(
    ttl: Any, seconds: int
) -> None:
    call = create(ttl=ttl)
    tokens = input_bound(call, None, None)

    assert tokens is not None
    assert 5000 < tokens < 5500
    assert (call.model, call.max_output_tokens) == (MODEL, 0)
    assert call.most == Usage(kept_token_seconds=tokens * seconds)


def test_worst_case_is_the_price_of_reading_and_of_keeping() -> None:
    call = create(ttl="7200s")
    sheet = fitting(BOOK.sheet("google", MODEL, NOW), call)
    tokens = input_bound(call, sheet, None)

    assert sheet is not None
    assert tokens is not None
    audio_or_text = 300_000_000  # USD 0.30 for a million; two hours at USD 1.00
    assert (
        sheet.worst_cost_nano_usd(tokens, 0, call) == tokens * (audio_or_text + 2 * 10**9) // 10**6
    )


def test_settled_are_the_tokens_that_it_holds_for_as_long_as_was_asked() -> None:
    answer = {
        "name": NAME,
        "createTime": "2026-11-20T12:00:00.1Z",
        "expireTime": "2026-11-20T14:00:00.123456789Z",
        "usageMetadata": {"totalTokenCount": 1000},
    }

    usage, kept = heard(create(ttl="7200s"), answer)

    assert usage == Usage(1000, 0, kept_token_seconds=1000 * 7200)
    assert kept == Kept(NAME, MODEL, 1000, 1_795_183_200_123_456_000)


def test_sound_is_billed_at_its_own_rate_since_nothing_says_how_much_of_it_there_is() -> None:
    sound = [{"role": "user", "parts": [{"inlineData": {"mimeType": "audio/mp3", "data": "AA"}}]}]

    usage, _ = heard(
        create(contents=sound), {"name": NAME, "usageMetadata": {"totalTokenCount": 9}}
    )

    assert usage is not None
    assert usage.audio_input_tokens == 9


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"model": ...}, "model is missing"),
        ({"tools": [{"googleSearch": {}}]}, "send it with the calls"),
        ({"ttl": 3600}, "ttl must be seconds"),
        ({"ttl": "1h"}, "ttl must be seconds"),
        ({"ttl": "0s"}, "more than nothing"),
        ({"ttl": "99999999s"}, "at most"),
        ({"expireTime": "2026-12-01T00:00:00Z"}, "say how long the cache is kept as ttl"),
        ({"expire_time": "2026-12-01T00:00:00Z"}, "say how long the cache is kept as ttl"),
    ],
)
def test_what_is_not_bounded_is_refused_with_what_to_do(
    body: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(WireError, match=sentence):
        create(**body)


def test_a_file_in_it_leaves_it_without_a_price() -> None:
    file = [{"role": "user", "parts": [{"fileData": {"fileUri": "https://x/files/a"}}]}]
    call = create(contents=file)

    assert call.stored == "fileUri"
    assert fitting(BOOK.sheet("google", MODEL, NOW), call) is None


@pytest.mark.parametrize("model", ["gemini-9-pro", "gemma-3-27b-it"])
def test_a_model_without_a_price_of_keeping_has_none_for_its_caches(model: str) -> None:
    call = create(model=model)

    assert fitting(BOOK.sheet("google", model, NOW), call) is None


def test_more_time_costs_what_the_cache_holds_for_what_is_asked_at_most() -> None:
    call = gemini_caches.with_known(extend(ttl="600s"), KEPT)

    assert (call.stored_ids, call.model) == ((NAME,), MODEL)
    assert call.most == Usage(kept_token_seconds=40_000 * 600)
    assert fitting(BOOK.sheet("google", MODEL, NOW), call) is not None


@pytest.mark.parametrize(
    ("more", "seconds"), [(100, 100), (0, 0), (-50, 0), (10_000, 600), (None, 600)]
)
def test_only_time_that_is_not_booked_yet_is_settled(more: int | None, seconds: int) -> None:
    call = gemini_caches.with_known(extend(ttl="600s"), KEPT)
    ends = {-50: "07:59:10", 0: "08:00:00", 100: "08:01:40", 10_000: "10:46:40"}
    answer = {"name": NAME, "usageMetadata": {"totalTokenCount": 1}}
    if more is not None:
        answer["expireTime"] = f"2027-01-15T{ends[more]}Z"

    usage, kept = heard(call, answer)

    assert usage == Usage(0, 0, kept_token_seconds=40_000 * seconds)
    assert kept is None or kept.tokens == 40_000


def test_more_time_for_an_unknown_cache_is_refused_with_what_to_do() -> None:
    with pytest.raises(WireError, match="make the cache anew"):
        gemini_caches.with_known(extend(ttl="600s"), None)


@pytest.mark.parametrize(
    "body", [{}, {"ttl": "600s", "displayName": "x"}, {"ttl": "600s", "model": "m"}]
)
def test_nothing_but_the_time_of_a_cache_is_changed(body: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        extend(**body)


def test_a_call_that_names_a_known_cache_is_bounded_by_what_it_holds() -> None:
    call = generate()

    known = gemini_caches.with_known(call, KEPT)

    assert (call.opaque_input, gemini_caches.named_by(call)) == ("cachedContent", NAME)
    assert (known.opaque_input, known.kept) == (None, KEPT)
    tokens = input_bound(known, None, None)
    assert tokens is not None
    assert 40_000 < tokens < 40_500


def test_a_cache_named_elsewhere_in_the_body_bounds_nothing() -> None:
    call = generate(labels={"cachedContent": "cachedContents/small"})

    assert gemini_caches.named_by(call) == NAME


def test_what_else_is_hidden_stays_hidden() -> None:
    file = [{"role": "user", "parts": [{"fileData": {"fileUri": "https://x/files/a"}}]}]

    assert gemini_caches.named_by(generate(contents=file)) is None
    assert gemini_caches.with_known(generate(), None).opaque_input == "cachedContent"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_looking_at_one_and_ending_it_is_free_and_names_it(method: str) -> None:
    endpoint = route.recognise(GOOGLE, method, f"/v1beta/{NAME}")
    assert endpoint is not None

    call = route.parse(Inbound(GOOGLE, method, f"/v1beta/{NAME}", "", {}, b""), endpoint)

    assert (call.metered, call.stored_ids) == (False, (NAME,))


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b'{"error": {}}', b'{"name": 3, "usageMetadata": 4}', b'{"name": "x", "expireTime": "soon"}'],
)  # fmt: skip
def test_an_answer_that_is_not_as_documented_breaks_nothing(answer: bytes) -> None:
    meter = route.meter(create(), "application/json", take_out_usage=False)

    assert meter.feed(answer) == answer
    meter.finish()
    assert (meter.usage, meter.made.kept) == (None, None)


def test_an_alias_stands_in_the_body_as_the_provider_names_models() -> None:
    body = b'{"model": "models/house", "contents": []}'
    call = create(model="models/house", contents=[])

    sent, path = route.rewrite(
        call, body, "/v1beta/cachedContents", Changes(model=MODEL), include_usage=False
    )

    assert (json.loads(sent)["model"], path) == (f"models/{MODEL}", "/v1beta/cachedContents")


def test_cache_of_a_file_is_billed_for_the_time_that_its_answer_says() -> None:
    file = {"fileUri": "https://example.com/f", "mimeType": "video/mp4"}
    call = create(contents=[{"role": "user", "parts": [{"fileData": file}]}])
    told = {
        "name": NAME,
        "createTime": "2026-11-21T18:00:00Z",
        "expireTime": "2026-11-21T19:00:00.5Z",
        "usageMetadata": {"totalTokenCount": 40_000},
    }

    usage, kept = heard(call, told)
    unknown, _ = heard(call, {key: value for key, value in told.items() if key != "createTime"})

    assert call.most is None
    assert usage == Usage(40_000, 0, kept_token_seconds=40_000 * 3601)
    assert kept is not None
    assert unknown is None


@pytest.mark.parametrize(
    ("model", "missing"), [(MODEL, ()), ("gemini-flash-latest", ("cache_storage",))]
)
def test_time_without_a_price_is_no_time_that_is_free(model: str, missing: tuple[str, ...]) -> None:
    sheet = BOOK.sheet("google", model, NOW)

    assert sheet is not None
    assert sheet.missing(Usage(9, 0, kept_token_seconds=9 * 3600)) == missing


def test_cache_of_the_path_is_the_cache_of_the_body() -> None:
    assert extend(name=NAME, ttl="60s").stored_ids == (NAME,)
    with pytest.raises(WireError, match="name it in the path"):
        extend(name="cachedContents/of-another", ttl="60s")
