"""Streams of a provider that writes past its limit: cut on both sides, or booked in full."""

from __future__ import annotations

import json
import re

import pytest

from e2e.test_sdks import program
from e2e.world import World, wait

OPENAI = """
import openai
s = openai.OpenAI(CLIENT).chat.completions.create(model=MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello"}])
for c in s: print("SAW", c.choices[0].delta.content if c.choices else "")
"""
RESPONSES = """
import openai
with openai.OpenAI(CLIENT).responses.stream(model=MODEL, max_output_tokens=20, input="hello") as s:
    for event in s: print("SAW", event.type)
"""
ANTHROPIC = """
import anthropic
with anthropic.Anthropic(CLIENT).messages.stream(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}]) as s:
    for text in s.text_stream: print("SAW", text)
"""
GOOGLE = """
from google import genai
client = genai.Client()
for c in client.models.generate_content_stream(model=MODEL, contents="hello", config={"max_output_tokens": 20}): print("SAW", c.text)
"""
HTTP2 = {
    "openai": "http_client=openai.DefaultHttpxClient(http2=True)",
    "anthropic": "http_client=anthropic.DefaultHttpxClient(http2=True)",
}
PROGRAMS = [
    pytest.param("gpt-4o-mini", OPENAI, "", id="openai"),
    pytest.param("gpt-4o-mini", OPENAI, HTTP2["openai"], id="openai over HTTP/2"),
    pytest.param("gpt-4o-mini", RESPONSES, "", id="openai responses"),
    pytest.param("gpt-4o-mini", RESPONSES, HTTP2["openai"], id="openai responses over HTTP/2"),
    pytest.param("claude-3-5-haiku-latest", ANTHROPIC, "", id="anthropic"),
    pytest.param("claude-3-5-haiku-latest", ANTHROPIC, HTTP2["anthropic"], id="anthropic over HTTP/2"),
    pytest.param("gemini-2.0-flash", GOOGLE, "", id="google-genai"),
]  # fmt: skip
RUNAWAY = "tokens=400 ignore_limit delay=0.01"
CUT = {"agents": {"atlas": {"budget_usd": {"total": 1}, "on_overrun": "cut"}}}


@pytest.mark.parametrize(("model", "code", "client"), PROGRAMS)
def test_stream_that_outgrows_its_reservation_is_cut_and_its_sdk_raises_our_sentence(
    world: World, model: str, code: str, client: str
) -> None:
    world.agent()
    world.policy(dict(CUT))
    proxy = world.proxy()
    world.lab.order(RUNAWAY)

    done = world.python(program(model, code.replace("CLIENT", client)), proxy, check=False)

    raised = [line for line in done.stdout.splitlines() if line.startswith("RAISED ")]
    assert raised, done.stdout + done.stderr
    assert raised[0].split()[1] == {"gpt": "openai", "cla": "anthropic", "gem": "google"}[model[:3]]
    assert "outgrew what was reserved" in raised[0]
    assert "agents.atlas.on_overrun" in raised[0]
    assert done.stdout.count("SAW") >= 20
    wait(lambda: world.books()["open"] == 0)
    [call] = world.lab.calls(ended=1)
    assert call["outcome"] == "client_gone"
    [row] = world.ledger().rows("select * from calls")
    assert (row["outcome"], row["status"]) == ("cut", 200)
    assert row["cost_nano_usd"] >= row["worst_nano_usd"] > 0


@pytest.mark.parametrize("on_overrun", [{}, {"on_overrun": "book"}])
def test_without_the_wish_it_goes_on_and_is_booked_in_full(
    world: World, on_overrun: dict[str, str]
) -> None:
    world.agent()
    world.policy({"agents": {"atlas": {"budget_usd": {"total": 1}, **on_overrun}}})
    world.lab.order(RUNAWAY)

    done = world.python(program("gpt-4o-mini", OPENAI.replace("CLIENT", "")), world.proxy())

    assert done.stdout.count("SAW") >= 400
    wait(lambda: world.books()["open"] == 0)
    [row] = world.ledger().rows("select * from calls")
    assert (row["basis"], row["output_tokens"]) == ("measured", 400)
    assert row["cost_nano_usd"] > row["worst_nano_usd"]


def test_call_after_a_cut_one_goes_through_the_same_proxy(world: World) -> None:
    world.agent()
    world.policy(dict(CUT))
    proxy = world.proxy()
    world.lab.order(RUNAWAY)
    body = {"model": "gpt-4o-mini", "max_tokens": 20, "stream": True,
            "messages": [{"role": "user", "content": "hello"}]}  # fmt: skip

    [cut] = world.calls(proxy, body=json.dumps(body))
    [whole] = world.calls(proxy, body=json.dumps(body))

    assert cut["body"].endswith(b'"code":"budget_exhausted"}}\n\n')
    assert whole["body"].endswith(b"data: [DONE]\n\n")


def test_array_of_gemini_ends_with_the_error_as_its_last_element(world: World) -> None:
    world.agent()
    world.policy(dict(CUT))
    world.lab.order(RUNAWAY + " split=7")
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "generationConfig": {"maxOutputTokens": 20}}  # fmt: skip

    [answer] = world.calls(
        world.proxy(), host="generativelanguage.googleapis.com", body=json.dumps(body),
        path="/v1beta/models/gemini-2.0-flash:streamGenerateContent",
    )  # fmt: skip

    *elements, last = json.loads(answer["body"])
    assert all("candidates" in element for element in elements)
    assert "outgrew what was reserved" in last["error"]["message"]


def test_encoded_stream_is_broken_off_without_a_word(world: World) -> None:
    world.agent()
    world.policy(dict(CUT))
    world.lab.order(RUNAWAY + " encoding=gzip")
    body = {"model": "gpt-4o-mini", "max_tokens": 20, "stream": True,
            "messages": [{"role": "user", "content": "hello"}]}  # fmt: skip

    [answer] = world.calls(world.proxy(), body=json.dumps(body))

    assert not answer["body"].endswith(b"0\r\n\r\n")
    wait(lambda: world.books()["open"] == 0)
    [call] = world.lab.calls(ended=1)
    assert call["outcome"] == "client_gone"
    [row] = world.ledger().rows("select * from calls")
    assert row["cost_nano_usd"] >= row["worst_nano_usd"] > 0


def test_observing_cuts_nothing(world: World) -> None:
    world.agent()
    world.policy({"mode": "observe", **CUT})
    world.lab.order(RUNAWAY)

    done = world.python(program("gpt-4o-mini", OPENAI.replace("CLIENT", "")), world.proxy())

    assert len(re.findall("SAW", done.stdout)) >= 400


LINES = json.dumps(
    {"model": "priced", "prompt": "[sim tokens=400 ignore_limit]", "options": {"num_predict": 20}}
)
EVENTS = json.dumps({"model": "command-r-08-2024", "max_tokens": 20, "stream": True,
                     "messages": [{"role": "user", "content": "[sim tokens=400 ignore_limit]"}]})  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "host", "path", "body", "ending"),
    [
        ("ollama-cloud", "ollama.com", "/api/generate", LINES, b'{"error":"'),
        ("cohere", "api.cohere.com", "/v2/chat", EVENTS, b"event: message-end\ndata: "),
    ],
)
def test_stream_of_a_dialect_of_its_own_is_cut_and_ends_in_its_own_words(
    world: World, provider: str, host: str, path: str, body: str, ending: bytes
) -> None:
    at = {"connect_to": f"127.0.0.1:{world.lab.port}", "trust": str(world.lab.certificate)}
    prices = {"prices": {"*": {"input": 1, "output": 1}}}
    world.agent()
    world.policy({"providers": {provider: at | prices}, **CUT})

    [answer] = world.calls(world.proxy(), host=host, path=path, body=body)

    assert answer["status"] == 200
    _, found, last = answer["body"].rpartition(ending)
    assert found, answer["body"][-300:]
    assert b"outgrew what was reserved" in last
    assert 20 <= answer["body"].count(b"so ") * 5 <= 40
    wait(lambda: world.books()["open"] == 0)
    [row] = world.ledger().rows("select * from calls")
    assert row["outcome"] == "cut"
    assert row["cost_nano_usd"] >= row["worst_nano_usd"] > 0
