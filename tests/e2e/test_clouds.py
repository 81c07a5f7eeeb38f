"""Azure, Bedrock and Vertex with their real SDKs, unchanged, with nothing but the environment."""

from __future__ import annotations

import base64
import importlib.util
import json
from typing import Any
from urllib.parse import quote

import pytest

from e2e import sigv4
from e2e.test_sdks import program
from e2e.world import Proxy, World, wait
from tollkeeper.domain import NANO_PER_USD, Window
from tollkeeper.wire.event_stream import EventStreamSplitter, payload_of

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CLOUDS = ("azure", "bedrock", "vertex")

AZURE = """
import openai
c = openai.AzureOpenAI(api_key="az-agent", azure_endpoint="https://corp.openai.azure.com", api_version="2024-10-21")
r = c.chat.completions.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.choices[0].message.content)
"""
AZURE_STREAM = """
import openai
c = openai.AzureOpenAI(azure_ad_token="entra", azure_endpoint="https://corp.openai.azure.com", api_version="2024-10-21")
s = c.chat.completions.create(model=MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello"}])
print("GOT", "".join(c.choices[0].delta.content or "" for c in s if c.choices))
"""
AZURE_V1 = """
import openai
c = openai.OpenAI(api_key="az-agent", base_url="https://corp.services.ai.azure.com/openai/v1/")
r = c.responses.create(model=MODEL, max_output_tokens=20, input="hello")
print("GOT", r.output_text)
"""
BOTO = """
import boto3
c = boto3.client("bedrock-runtime", region_name="us-east-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key=SECRET)
def ask(how):
    return getattr(c, how)(modelId=MODEL, inferenceConfig={"maxTokens": 20}, messages=[{"role": "user", "content": [{"text": "hello"}]}])
"""
CONVERSE = (
    BOTO
    + """
print("GOT", ask("converse")["output"]["message"]["content"][0]["text"])
"""
)
CONVERSE_STREAM = (
    BOTO
    + """
print("GOT", "".join(e.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for e in ask("converse_stream")["stream"]))
"""
)
CLAUDE = """
import anthropic
c = anthropic.AnthropicBedrock(aws_region="us-west-2", aws_access_key="AKIDEXAMPLE", aws_secret_key=SECRET)
r = c.messages.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.content[0].text)
"""
CLAUDE_STREAM = """
import anthropic
c = anthropic.AnthropicBedrock(aws_region="us-west-2", api_key="bedrock-agent")
with c.messages.stream(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}]) as s:
    print("GOT", "".join(s.text_stream))
"""
CLAUDE_KEY = """
import anthropic
c = anthropic.AnthropicBedrock(aws_region="us-west-2", api_key="bedrock-agent")
r = c.messages.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.content[0].text)
"""
VERTEX_CLAUDE = """
import anthropic
c = anthropic.AnthropicVertex(region="us-east5", project_id="p-1", access_token="ya29.agent")
r = c.messages.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.content[0].text)
"""
VERTEX_CLAUDE_STREAM = """
import anthropic
c = anthropic.AnthropicVertex(region="global", project_id="p-1", access_token="ya29.agent")
with c.messages.stream(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}]) as s:
    print("GOT", "".join(s.text_stream))
"""
VERTEX = """
from google import genai
from google.oauth2.credentials import Credentials
c = genai.Client(vertexai=True, project="p-1", location="us-central1", credentials=Credentials("ya29.agent"))
r = c.models.generate_content(model=MODEL, contents="hello", config={"max_output_tokens": 20})
print("GOT", r.text)
"""
VERTEX_EXPRESS_STREAM = """
from google import genai
c = genai.Client(vertexai=True, api_key="express-agent")
print("GOT", "".join(c.text or "" for c in c.models.generate_content_stream(model=MODEL, contents="hello", config={"max_output_tokens": 20})))
"""

NOVA = "us.amazon.nova-lite-v1:0"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
with_boto = pytest.mark.skipif(
    importlib.util.find_spec("boto3") is None, reason="boto3 is not installed"
)

PROGRAMS = [
    pytest.param("gpt-4o-mini", AZURE, "openai", id="azure"),
    pytest.param("gpt-4o-mini", AZURE_STREAM, "openai", id="azure stream, Entra"),
    pytest.param("gpt-4o-mini", AZURE_V1, "openai", id="azure v1 responses"),
    pytest.param(NOVA, CONVERSE, "botocore", id="bedrock converse", marks=with_boto),
    pytest.param(NOVA, CONVERSE_STREAM, "botocore", id="bedrock converse stream", marks=with_boto),
    pytest.param(HAIKU, CLAUDE, "anthropic", id="bedrock claude", marks=with_boto),
    pytest.param(HAIKU, CLAUDE_STREAM, "anthropic", id="bedrock claude stream", marks=with_boto),
    pytest.param(HAIKU, CLAUDE_KEY, "anthropic", id="bedrock claude, API key"),
    pytest.param("claude-haiku-4-5@20251001", VERTEX_CLAUDE, "anthropic", id="vertex claude"),
    pytest.param("claude-opus-4-6", VERTEX_CLAUDE_STREAM, "anthropic", id="vertex claude stream"),
    pytest.param("gemini-2.5-flash", VERTEX, "google", id="vertex gemini"),
    pytest.param("gemini-2.5-flash", VERTEX_EXPRESS_STREAM, "google", id="vertex express stream"),
]


def cloud(code: str) -> str:
    """The client's code, with the secret that it signs with."""
    return f"SECRET = {SECRET!r}\n{code.strip()}"


def body_of(call: dict[str, Any]) -> bytes:
    """What the provider was sent."""
    return base64.b64decode(call["body_base64"])


def clouds(world: World, **parts: Any) -> None:
    """A policy under which the clouds' names lead to the simulator."""
    lab = {"connect_to": f"127.0.0.1:{world.lab.port}", "trust": str(world.lab.certificate)}
    more = parts.pop("providers", {})
    world.policy({"providers": {name: lab | more.get(name, {}) for name in CLOUDS}, **parts})


@pytest.mark.parametrize(("model", "code", "own"), PROGRAMS)
def test_cloud_sdk_works_unchanged_and_is_charged(
    world: World, model: str, code: str, own: str
) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: 5 * NANO_PER_USD})
    proxy = world.proxy()

    done = world.python(program(model, cloud(code)), proxy)

    assert done.stdout.startswith("GOT Hello from the simulated"), done.stdout + done.stderr
    books = world.books()
    assert (books["calls"], books["open"]) == (1, 0)
    assert books["spent"] > 0
    assert {row["basis"] for row in world.ledger().rows("select basis from calls")} == {"measured"}


@pytest.mark.parametrize(("model", "code", "own"), PROGRAMS)
@pytest.mark.parametrize("cause", ["model", "budget"])
def test_cloud_sdk_raises_its_own_exception_with_our_sentence(
    world: World, model: str, code: str, own: str, cause: str
) -> None:
    clouds(world)
    limits = {"models": ("other",)} if cause == "model" else {"budget_nano_usd": {Window.DAY: 1}}
    world.agent(**limits)
    proxy = world.proxy()

    done = world.python(program(model, cloud(code)), proxy)

    assert done.stdout.startswith(f"RAISED {own} "), done.stdout + done.stderr
    if own == "botocore":
        wanted = "AccessDeniedException" if cause == "model" else "ServiceQuotaExceededException"
        assert wanted in done.stdout
    assert (model if cause == "model" else "budget_usd.day") in done.stdout
    [count] = list(world.ledger().rows("select count(*) as n from calls"))
    assert count["n"] == 1
    assert world.lab.calls() == []


@with_boto
@pytest.mark.parametrize(("model", "code"), [(NOVA, CONVERSE), (HAIKU, CLAUDE)])
def test_signature_of_a_forwarded_call_still_holds(world: World, model: str, code: str) -> None:
    clouds(world)
    world.agent()
    proxy = world.proxy()

    world.python(program(model, cloud(code)), proxy)

    [call] = world.lab.calls()
    headers = {name.lower(): value for name, value in call["headers"]}
    assert sigv4.is_valid("POST", call["path"], headers, body_of(call), SECRET)


@with_boto
def test_signed_call_that_would_be_changed_is_refused_and_one_with_an_injected_key_is_changed(
    world: World,
) -> None:
    clouds(world, agents={"atlas": {"max_output_tokens": 8}})
    world.agent()
    proxy = world.proxy()

    refused = world.python(program(NOVA, cloud(CONVERSE)), proxy)

    assert "RAISED botocore AccessDeniedException" in refused.stdout
    assert "signed with an AWS key" in refused.stdout
    assert "limits its output to 8 tokens" in refused.stdout
    assert world.lab.calls() == []

    clouds(
        world,
        agents={"atlas": {"max_output_tokens": 8}},
        providers={"bedrock": {"key": {"env": "BEDROCK_KEY"}}},
    )
    injecting = world.proxy(BEDROCK_KEY="bedrock-operator")

    changed = world.python(program(NOVA, cloud(CONVERSE)), injecting)

    assert changed.stdout.startswith("GOT "), changed.stdout
    [call] = world.lab.calls()
    sent = {name.lower(): value for name, value in call["headers"]}
    assert sent["authorization"] == "Bearer bedrock-operator"
    assert b'"maxTokens": 8' in body_of(call)


@with_boto
def test_signed_call_passes_unchanged_where_the_policy_only_observes(world: World) -> None:
    alias = {NOVA: {"provider": "bedrock", "model": "us.amazon.nova-micro-v1:0"}}
    clouds(world, mode="observe", models=alias)
    world.agent()
    proxy = world.proxy()

    done = world.python(program(NOVA, cloud(CONVERSE)), proxy)

    assert done.stdout.startswith("GOT "), done.stdout
    [call] = world.lab.calls()
    headers = {name.lower(): value for name, value in call["headers"]}
    assert sigv4.is_valid("POST", call["path"], headers, body_of(call), SECRET)


def test_deployment_costs_what_its_model_costs_and_an_unmapped_one_has_no_price(
    world: World,
) -> None:
    clouds(world, providers={"azure": {"deployments": {"chat-*": "gpt-4o-mini"}}})
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD}, models=("gpt-4o-mini", "mystery"))
    proxy = world.proxy()

    mapped = world.python(program("chat-prod", cloud(AZURE)), proxy)
    refused = world.python(program("mystery", cloud(AZURE)), proxy)

    assert mapped.stdout.startswith("GOT "), mapped.stdout
    assert "No price is known for deployment mystery of azure" in refused.stdout
    assert "providers.azure.deployments" in refused.stdout
    [call] = world.lab.calls()
    assert call["target"] == "/openai/deployments/chat-prod/chat/completions?api-version=2024-10-21"
    assert b'"model":"chat-prod"' in body_of(call)
    assert world.books()["spent"] == 9 * 150 + 5 * 600


@pytest.mark.parametrize("name", ["CHAT-Prod", "O3"])
def test_no_spelling_of_a_deployment_leads_past_a_rule_on_its_model(
    world: World, name: str
) -> None:
    deny = {"name": "dear", "call": {"model": ["gpt-4o-mini", "o3"]}, "deny": "Too dear."}
    clouds(world, providers={"azure": {"deployments": {"chat-*": "gpt-4o-mini"}}}, rules=[deny])
    world.agent()

    done = world.python(program(name, cloud(AZURE)), world.proxy())

    assert "Too dear." in done.stdout
    assert world.lab.calls() == []


def converse(prompt: str, **more: Any) -> str:
    """A body of Converse."""
    messages = [{"role": "user", "content": [{"text": prompt}]}]
    return json.dumps({"messages": messages, "inferenceConfig": {"maxTokens": 200}, **more})


def ask_bedrock(world: World, proxy: Proxy, body: str, model: str = NOVA, **more: Any) -> Any:
    """One streamed call with a Bedrock API key; its answer, byte for byte."""
    host = "bedrock-runtime.eu-west-1.amazonaws.com"
    fields = [["Host", host], ["Authorization", "Bearer k"], ["Content-Type", "application/json"]]
    path = f"/model/{quote(model, safe='')}/converse-stream"
    [answer] = world.calls(proxy, host=host, path=path, headers=fields, body=body, **more)
    return answer


def test_event_stream_passes_byte_for_byte_and_is_measured(world: World) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()

    answer = ask_bedrock(world, proxy, converse("[sim tokens=5 cache_read=4 input=10 split=7]"))

    events = EventStreamSplitter(payload_of).feed(answer["body"])
    assert b"".join(raw for raw, _ in events) == answer["body"]
    assert json.loads(events[-1][1] or b"")["usage"]["cacheReadInputTokens"] == 4
    [row] = list(world.ledger().rows("select * from calls"))
    assert (row["basis"], row["input_tokens"], row["output_tokens"]) == ("measured", 10, 5)
    assert row["cost_nano_usd"] == 6 * 60 + 4 * 15 + 5 * 240


def test_event_stream_that_is_cut_costs_what_was_seen(world: World) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()

    ask_bedrock(world, proxy, converse("[sim tokens=50 cut=5]"))

    [call] = world.lab.calls(ended=1)
    row = wait(
        lambda: next(iter(world.ledger().rows("select * from calls where cost_nano_usd")), None)
    )
    assert (row["outcome"], row["basis"]) == ("cut", "estimated")
    billed = call["billed"]
    assert row["cost_nano_usd"] >= billed["input_tokens"] * 60 + billed["output_tokens"] * 240
    assert row["cost_nano_usd"] <= row["worst_nano_usd"]


@pytest.mark.parametrize(
    ("model", "more", "sentence"),
    [
        ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/x", {}, "bedrock.deployments"),
        (
            NOVA,
            {"serviceTier": {"type": "priority"}},
            "No price is known for service tier priority",
        ),
        (NOVA, {"performanceConfig": {"latency": "optimized"}}, "service tier optimized"),
        (NOVA, {"guardrailConfig": {"guardrailIdentifier": "g"}}, "guardrail"),
        (NOVA, {"additionalModelRequestFields": {"max_tokens": 9}}, "inferenceConfig.maxTokens"),
    ],
)
def test_what_bedrock_may_bill_beyond_its_list_is_refused_under_a_budget(
    world: World, model: str, more: dict[str, Any], sentence: str
) -> None:
    clouds(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()

    answer = ask_bedrock(world, proxy, converse("hello", **more), model)

    assert answer["status"] in (400, 403)
    assert answer["headers"]["x-amzn-errortype"].endswith("Exception")
    assert sentence in json.loads(answer["body"])["message"]
    assert world.lab.calls() == []


def test_alias_leads_from_openai_to_a_deployment_of_the_owners(world: World) -> None:
    clouds(
        world,
        providers={
            "azure": {
                "hosts": ["corp.example"],
                "key": {"env": "AZURE_KEY"},
                "deployments": {"chat-prod": "gpt-4o-mini"},
            },
            "openai": {},
        },
        models={"house-model": {"provider": "azure", "model": "chat-prod"}},
    )
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy(AZURE_KEY="az-operator")

    body = {
        "model": "house-model",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }
    [answer] = world.calls(proxy, body=json.dumps(body))

    assert answer["status"] == 200
    [call] = world.lab.calls()
    sent = {name.lower(): value for name, value in call["headers"]}
    assert (call["host"], call["path"]) == ("corp.example", "/openai/v1/chat/completions")
    assert sent["api-key"] == "az-operator"
    assert "authorization" not in sent
    assert json.loads(body_of(call))["model"] == "chat-prod"
    assert world.books()["spent"] > 0
