"""Bedrock's InvokeModel for every maker's models: through the proxy, with boto3 and without."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from e2e.test_clouds import BOTO, body_of, cloud, clouds, with_boto
from e2e.test_sdks import program
from e2e.world import Proxy, World, wait
from tollkeeper.domain import NANO_PER_USD, Window
from tollkeeper.wire.event_stream import EventStreamSplitter, payload_of

HOST = "bedrock-runtime.eu-west-1.amazonaws.com"

INVOKE = (
    BOTO
    + """
import json
r = c.invoke_model(modelId=MODEL, body=json.dumps(BODY))
print("GOT", r["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-output-token-count"], json.loads(r["body"].read()))
"""
)
INVOKE_STREAM = (
    BOTO
    + """
import json
r = c.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(BODY))
print("GOT", [json.loads(e["chunk"]["bytes"]) for e in r["body"]][-1]["amazon-bedrock-invocationMetrics"])
"""
)

TURN = [{"role": "user", "content": [{"text": "hello"}]}]
CHAT = [{"role": "user", "content": "hello"}]
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("us.amazon.nova-lite-v1:0", {"messages": TURN, "inferenceConfig": {"maxTokens": 20}}),
    ("amazon.titan-text-express-v1", {"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 20}}),
    ("us.meta.llama3-3-70b-instruct-v1:0", {"prompt": "hello", "max_gen_len": 20}),
    ("mistral.mistral-7b-instruct-v0:2", {"prompt": "hello", "max_tokens": 20}),
    ("cohere.command-r-v1:0", {"message": "hello", "max_tokens": 20}),
    ("ai21.jamba-1-5-mini-v1:0", {"messages": CHAT, "max_tokens": 20}),
    ("us.deepseek.r1-v1:0", {"prompt": "hello", "max_tokens": 20}),
    ("openai.gpt-oss-20b-1:0", {"messages": CHAT, "max_completion_tokens": 20}),
]  # fmt: skip


def ask(
    world: World, proxy: Proxy, model: str, body: dict[str, Any], verb: str = "invoke", **more: Any
) -> Any:
    """One call with a Bedrock API key; its answer."""
    fields = [["Host", HOST], ["Authorization", "Bearer k"], ["Content-Type", "application/json"]]
    path = f"/model/{quote(model, safe='')}/{verb}"
    sent = json.dumps(body)
    [answer] = world.calls(proxy, host=HOST, path=path, headers=fields, body=sent, **more)
    return answer


def billed(world: World) -> int:
    """What the simulator bills for its one call, by the prices of the books."""
    [call] = world.lab.calls(ended=1)
    [row] = list(world.ledger().rows("select * from calls"))
    told = call["billed"]
    assert (row["input_tokens"], row["output_tokens"]) == (
        told["input_tokens"],
        told["output_tokens"],
    )
    assert (row["basis"], row["outcome"]) == ("measured", "complete")
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]
    return int(row["cost_nano_usd"])


@with_boto
@pytest.mark.parametrize("code", [INVOKE, INVOKE_STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize(("model", "body"), BODIES)
def test_every_makers_model_is_measured_with_the_real_sdk(
    world: World, model: str, body: dict[str, Any], code: str
) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: 5 * NANO_PER_USD})
    proxy = world.proxy()

    done = world.python(program(model, cloud(f"BODY = {body!r}\n{code.strip()}")), proxy)

    assert done.stdout.startswith("GOT "), done.stdout + done.stderr
    assert world.books()["spent"] == billed(world)


@pytest.mark.parametrize(("model", "body"), BODIES)
def test_every_makers_answer_is_measured(world: World, model: str, body: dict[str, Any]) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: 5 * NANO_PER_USD})
    proxy = world.proxy()

    answer = ask(world, proxy, model, body)

    assert answer["status"] == 200
    assert world.books()["spent"] == billed(world)


def test_limit_of_the_policy_is_put_in_under_the_makers_name(world: World) -> None:
    clouds(world, agents={"atlas": {"max_output_tokens": 8}})
    world.agent()
    proxy = world.proxy()

    ask(world, proxy, "us.meta.llama3-3-70b-instruct-v1:0", {"prompt": "hi", "max_gen_len": 99})
    ask(world, proxy, "amazon.titan-text-express-v1", {"inputText": "hi"})

    sent = [json.loads(body_of(call)) for call in world.lab.calls()]
    assert sent[0] == {"prompt": "hi", "max_gen_len": 8}
    assert sent[1] == {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 8}}


def test_stream_that_is_cut_costs_what_was_seen(world: World) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()
    prompt = "[sim tokens=50 cut=5]"

    ask(
        world,
        proxy,
        "us.meta.llama3-3-70b-instruct-v1:0",
        {"prompt": prompt, "max_gen_len": 200},
        "invoke-with-response-stream",
    )

    [call] = world.lab.calls(ended=1)
    row = wait(
        lambda: next(iter(world.ledger().rows("select * from calls where cost_nano_usd")), None)
    )
    told = call["billed"]
    least = (told["input_tokens"] + told["output_tokens"]) * 720
    assert (row["outcome"], row["basis"]) == ("cut", "estimated")
    assert least <= row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_images_are_billed_by_size_and_quality_and_unknown_ones_are_refused(world: World) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()
    order = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a river"}}
    config = {"numberOfImages": 2, "quality": "premium"}

    made = ask(world, proxy, "amazon.nova-canvas-v1:0", order | {"imageGenerationConfig": config})
    other = ask(world, proxy, "stability.stable-image-core-v1:1", {"prompt": "a river"})

    assert made["status"] == 200
    assert world.books()["spent"] == 2 * 60_000_000
    told = json.loads(other["body"])["message"]
    assert "No price by images" in told
    assert "providers.bedrock.prices" in told


def test_text_that_is_embedded_is_measured(world: World) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()

    ask(world, proxy, "amazon.titan-embed-text-v2:0", {"inputText": "a river in Europe"})

    assert world.books()["spent"] == billed(world)


def test_stream_that_outgrows_its_reservation_ends_with_an_exception(world: World) -> None:
    clouds(world, agents={"atlas": {"budget_usd": {"total": 1}, "on_overrun": "cut"}})
    world.agent()
    world.lab.order("tokens=400 ignore_limit")

    answer = ask(
        world,
        world.proxy(),
        "us.meta.llama3-3-70b-instruct-v1:0",
        {"prompt": "hello", "max_gen_len": 20},
        "invoke-with-response-stream",
    )

    *events, (raw, told) = EventStreamSplitter(payload_of).feed(answer["body"])
    assert 20 <= len(events) <= 30
    assert b"validationException" in raw
    assert "outgrew what was reserved" in json.loads(told or b"")["message"]
    wait(lambda: world.books()["open"] == 0)
    [row] = world.ledger().rows("select * from calls")
    assert row["outcome"] == "cut"
    assert row["cost_nano_usd"] >= row["worst_nano_usd"] > 0
