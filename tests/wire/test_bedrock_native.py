"""InvokeModel's bodies by maker: the limit of each, what bounds its input, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import NANO_PER_USD, Call, Changes, Dialect, Mode, Policy, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import bedrock, bedrock_native, route
from tollkeeper.wire.dialect import Inbound

BEDROCK = facts.providers()["bedrock"]
BOOK = PriceBook(Policy("d", Mode.ENFORCE, "UTC", facts.providers()))
NOW = 1_795_000_000 * NANO_PER_USD

NOVA, TITAN = "us.amazon.nova-pro-v1:0", "amazon.titan-text-express-v1"
LLAMA, MISTRAL = "us.meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-7b-instruct-v0:2"
COMMAND, COMMAND_R = "cohere.command-text-v14", "cohere.command-r-v1:0"
JAMBA, R1, OSS = "ai21.jamba-1-5-large-v1:0", "us.deepseek.r1-v1:0", "openai.gpt-oss-120b-1:0"
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
TURN = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def invoke(
    model: str, body: dict[str, Any], verb: str = "invoke", headers: dict[str, str] | None = None
) -> Call:
    path = bedrock.with_model(f"/model/x/{verb}", model)
    endpoint = route.recognise(BEDROCK, "POST", path)
    assert endpoint is not None
    sent = json.dumps(body).encode()
    return route.parse(Inbound(BEDROCK, "POST", path, "", headers or {}, sent), endpoint)


LIMITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (NOVA, TURN | {"inferenceConfig": {"maxTokens": 9}}, {"inferenceConfig": {"maxTokens": 5}}),
    (NOVA, TURN | {"inferenceConfig": {"max_new_tokens": 9}}, {"inferenceConfig": {"max_new_tokens": 5}}),
    (TITAN, {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 9}}, {"textGenerationConfig": {"maxTokenCount": 5}}),
    (LLAMA, {"prompt": "hi", "max_gen_len": 9}, {"max_gen_len": 5}),
    (MISTRAL, {"prompt": "hi", "max_tokens": 9}, {"max_tokens": 5}),
    (MISTRAL, CHAT | {"max_tokens": 9}, {"max_tokens": 5}),
    (COMMAND, {"prompt": "hi", "max_tokens": 9}, {"max_tokens": 5}),
    (COMMAND_R, {"message": "hi", "max_tokens": 9}, {"max_tokens": 5}),
    (JAMBA, CHAT | {"max_tokens": 9}, {"max_tokens": 5}),
    (R1, {"prompt": "hi", "max_tokens": 9}, {"max_tokens": 5}),
    (OSS, CHAT | {"max_completion_tokens": 9}, {"max_completion_tokens": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "body", "clamped"), LIMITS)
def test_every_makers_limit_is_read_and_clamped_where_it_stands(
    model: str, body: dict[str, Any], clamped: dict[str, Any]
) -> None:
    call = invoke(model, body)

    sent, path = route.rewrite(
        call, json.dumps(body).encode(), "/model/x/invoke", Changes(5), include_usage=False
    )

    assert (call.dialect, call.max_output_tokens) == (Dialect.BEDROCK_NATIVE, 9)
    assert call.unknown_parameters == ()
    assert json.loads(sent) == body | clamped
    assert path == "/model/x/invoke"


@pytest.mark.parametrize(
    ("model", "body", "added"),
    [
        (NOVA, TURN, {"inferenceConfig": {"maxTokens": 5}}),
        (TITAN, {"inputText": "hi"}, {"textGenerationConfig": {"maxTokenCount": 5}}),
        (LLAMA, {"prompt": "hi"}, {"max_gen_len": 5}),
        (JAMBA, CHAT, {"max_tokens": 5}),
        (OSS, CHAT, {"max_completion_tokens": 5}),
    ],
)
def test_a_limit_is_put_in_under_the_makers_name(
    model: str, body: dict[str, Any], added: dict[str, Any]
) -> None:
    call = invoke(model, body)

    sent, _ = route.rewrite(
        call, json.dumps(body).encode(), "/model/x/invoke", Changes(5), include_usage=False
    )

    assert call.max_output_tokens is None
    assert json.loads(sent) == body | added


@pytest.mark.parametrize(
    ("model", "body", "named"),
    [
        (LLAMA, {"prompt": "hi", "max_gen_len": 5, "max_tokens": 9000}, "max_gen_len"),
        (TITAN, {"inputText": "hi", "maxTokenCount": 9000}, "textGenerationConfig.maxTokenCount"),
        (MISTRAL, {"prompt": "hi", "max_tokens": 5, "n": 4}, "max_tokens"),
        (JAMBA, CHAT | {"max_tokens": 5, "numResults": 3}, "max_tokens"),
        (
            NOVA,
            TURN | {"inferenceConfig": {"maxTokens": 5}, "max_new_tokens": 9000},
            "inferenceConfig.maxTokens",
        ),
        (
            NOVA,
            TURN | {"inferenceConfig": {"maxTokens": 5, "max_tokens": 9000}},
            "inferenceConfig.maxTokens",
        ),
        (
            TITAN,
            {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 5, "max_tokens": 9}},
            "textGenerationConfig.maxTokenCount",
        ),
    ],
)
def test_a_limit_under_another_makers_name_is_refused(
    model: str, body: dict[str, Any], named: str
) -> None:
    with pytest.raises(WireError, match=f"name the output limit as {named}"):
        invoke(model, body)


def test_the_larger_of_novas_two_limits_counts_and_its_thinking_is_seen() -> None:
    config = {"maxTokens": 5, "max_new_tokens": 7, "reasoningConfig": {"type": "enabled"}}

    call = invoke(NOVA, TURN | {"inferenceConfig": config})

    assert (call.max_output_tokens, "reasoning" in call.features) == (7, True)


def test_answers_of_cohere_are_counted_each() -> None:
    assert invoke(COMMAND, {"prompt": "hi", "max_tokens": 9, "num_generations": 3}).choices == 3


def test_all_that_a_prompts_body_holds_bounds_its_input_and_images_by_their_own_measure() -> None:
    history = [{"role": "USER", "message": "x" * 5000}]
    talk = invoke(COMMAND_R, {"message": "hi", "chat_history": history})
    seen = invoke("meta.llama3-2-90b-instruct-v1:0", {"prompt": "hi", "images": ["A" * 99_000]})

    assert talk.head_bound_tokens > 5000
    assert "vision" in seen.features
    image = facts.image_bound_tokens(Dialect.BEDROCK_NATIVE, seen.model or "")
    assert image < seen.head_bound_tokens < image + 2000


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "x" * 700}),
        ("cohere.embed-english-v3", {"texts": ["x" * 350, "x" * 350], "input_type": "classification"}),
    ],
)  # fmt: skip
def test_texts_that_are_embedded_are_bounded_by_their_bytes(
    model: str, body: dict[str, Any]
) -> None:
    call = invoke(model, body)

    assert 700 < call.head_bound_tokens < 1000
    assert (call.max_output_tokens, call.tokens_unbounded) == (0, None)
    assert fitting(BOOK.sheet("bedrock", model, NOW), call) is not None


def test_an_image_that_is_embedded_needs_a_price_by_images() -> None:
    model = "amazon.titan-embed-image-v1"
    call = invoke(model, {"inputText": "hi", "inputImage": "AAAA"})

    assert (call.most, call.tokens_unbounded) == (Usage(images=1), "the image that is embedded")
    assert fitting(BOOK.sheet("bedrock", model, NOW), call) is None


def test_all_images_that_are_embedded_count_wherever_they_stand() -> None:
    inputs = [
        {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}
    ]
    model = "amazon.titan-embed-image-v1"

    both = invoke(model, {"inputImage": "AAAA", "images": ["AAAA", "AAAA"]})
    hidden = invoke("cohere.embed-v4:0", {"images": ["AAAA"], "inputs": inputs})

    assert both.most == Usage(images=3)
    assert (hidden.most, hidden.tokens_unbounded) == (None, "the image that is embedded")


def test_of_two_numbers_of_images_the_larger_counts() -> None:
    body = {"prompt": "a", "samples": 7, "imageGenerationConfig": {"numberOfImages": 1}}

    assert invoke("stability.sd3-5-large-v1:0", body).most == Usage(images=7)


CANVAS = "amazon.nova-canvas-v1:0"


@pytest.mark.parametrize(
    ("config", "usd_each"),
    [
        ({}, 0.04),
        ({"quality": "premium"}, 0.06),
        ({"width": 512, "height": 1280}, 0.06),
        ({"width": 2048, "height": 2048, "quality": "premium"}, 0.08),
    ],
)
def test_an_image_costs_what_its_size_and_quality_cost(
    config: dict[str, Any], usd_each: float
) -> None:
    call = invoke(CANVAS, {"imageGenerationConfig": {"numberOfImages": 3, **config}})
    sheet = fitting(BOOK.sheet("bedrock", CANVAS, NOW, call.service_tier), call)

    assert sheet is not None
    assert call.most == Usage(images=3)
    assert sheet.worst_cost_nano_usd(0, 0, call) == round(3 * usd_each * NANO_PER_USD)


@pytest.mark.parametrize("config", [{"width": 4096}, {"quality": "lossless"}])
def test_an_image_of_unknown_size_or_quality_has_no_price(config: dict[str, Any]) -> None:
    call = invoke(CANVAS, {"imageGenerationConfig": config})
    sheet = BOOK.sheet("bedrock", CANVAS, NOW, call.service_tier)

    assert sheet is not None
    assert not sheet.prices_tier(call.service_tier)


def test_the_header_of_the_plain_tier_does_not_make_an_image_cheaper() -> None:
    body = {"imageGenerationConfig": {"quality": "premium"}}

    call = invoke(CANVAS, body, headers={"x-amzn-bedrock-service-tier": "default"})

    assert call.service_tier == "1024-premium"


def test_an_image_of_another_maker_has_no_known_price() -> None:
    model = "stability.stable-image-ultra-v1:1"
    call = invoke(model, {"prompt": "a river"})

    assert call.most == Usage(images=1)
    assert fitting(BOOK.sheet("bedrock", model, NOW), call) is None


def test_documents_are_ranked_by_the_search_unit() -> None:
    body = {"query": "river", "documents": ["a"] * 150, "top_n": 3, "api_version": 2}

    call = invoke("cohere.rerank-v3-5:0", body)

    assert (call.most, call.unknown_parameters) == (Usage(search_units=2), ())
    assert fitting(BOOK.sheet("bedrock", "cohere.rerank-v3-5:0", NOW), call) is not None


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        ("amazon.nova-reel-v1:1", {"taskType": "TEXT_VIDEO"}, "is not read"),
        ("amazon.nova-sonic-v1:0", TURN, "is not read"),
        ("ai21.j2-ultra-v1", {"prompt": "hi", "maxTokens": 9}, "call it with Converse"),
        ("someone.new-v1:0", {"query": "hi"}, "call it with Converse"),
        (LLAMA, {"inputText": "hi"}, "call it with Converse"),
        (LLAMA, CHAT, "call it with Converse"),
        (TITAN, TURN | {"textGenerationConfig": {"maxTokenCount": 9000}}, "call it with Converse"),
        (NOVA, {"inputText": "hi"}, "messages is missing"),
        (TITAN, {"inputText": "hi", "stream": True}, "The path says what stream is"),
        (OSS, CHAT | {"model": "openai.gpt-oss-20b-1:0"}, "The path says what model is"),
        ("amazon.titan-embed-text-v1", {}, "inputText"),
    ],
)
def test_what_is_not_read_is_refused_with_what_to_do(
    model: str, body: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(WireError, match=sentence):
        invoke(model, body)


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("us.meta.llama3-3-70b-instruct-v1:0", "meta"),
        ("apac.amazon.nova-lite-v1:0", "amazon"),
        ("us-gov.amazon.nova-lite-v1:0", "amazon"),
        ("global.amazon.nova-2-lite-v1:0", "amazon"),
        ("mistral.mistral-7b-instruct-v0:2", "mistral"),
        ("cohere.rerank-v3-5:0", "cohere"),
        ("arn:aws:bedrock:us-east-1:1:imported-model/x", "arn:aws:bedrock:us-east-1:1:imported-model/x"),
    ],
)  # fmt: skip
def test_a_models_maker_stands_before_its_name_and_behind_the_region(
    model: str, maker: str
) -> None:
    assert bedrock_native.maker_of(model) == maker
