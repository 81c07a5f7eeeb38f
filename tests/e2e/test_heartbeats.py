"""Streaming clients that are kept waiting beyond their patience: real SDKs, three seconds of it each."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from e2e.test_sdks import program
from e2e.world import PATIENCE_SECONDS, Proxy, World, answers, wait

HOLD_ALL = {"rules": [{"name": "ask", "call": {"model": "*"}, "hold": {}}], "examples": []}

OPENAI = """
import openai
s = openai.OpenAI(timeout=3, max_retries=0).chat.completions.create(model=MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello SAY"}])
print("GOT", "".join(c.choices[0].delta.content or "" for c in s if c.choices))
"""
RESPONSES = """
import openai
with openai.OpenAI(timeout=3, max_retries=0).responses.stream(model=MODEL, max_output_tokens=20, input="hello SAY") as s:
    for event in s: pass
    print("GOT", s.get_final_response().output_text)
"""
ANTHROPIC = """
import anthropic
with anthropic.Anthropic(timeout=3, max_retries=0).messages.stream(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello SAY"}]) as s:
    print("GOT", "".join(s.text_stream))
"""
GOOGLE = """
from google import genai
client = genai.Client(http_options=genai.types.HttpOptions(timeout=10000))
print("GOT", "".join(c.text or "" for c in client.models.generate_content_stream(model=MODEL, contents="hello SAY", config={"max_output_tokens": 20})))
"""
PROGRAMS = [
    pytest.param("gpt-4o-mini", OPENAI, id="openai"),
    pytest.param("gpt-4o-mini", RESPONSES, id="openai responses"),
    pytest.param("claude-haiku-4-5", ANTHROPIC, id="anthropic"),
    pytest.param("gemini-2.5-flash", GOOGLE, id="google-genai"),
]
BEYOND_SECONDS = 5


def started(
    world: World, proxy: Proxy, model: str, code: str, say: str = ""
) -> subprocess.Popen[str]:
    text = program(model, code).replace("SAY", say)
    return subprocess.Popen(
        [sys.executable, "-c", text], env=world.environment(proxy), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def held_beyond_patience(
    world: World, model: str, code: str, say: str = "", **policy: object
) -> tuple[subprocess.Popen[str], str]:
    """A program that is kept waiting, and its approval."""
    world.agent()
    world.policy(HOLD_ALL | policy)
    client = started(world, world.proxy(), model, code, say)
    [approval] = world.waits_for_approval()
    time.sleep(BEYOND_SECONDS if "timeout=3" in code else 10 + 1)
    assert client.poll() is None
    assert world.books()["open"] == 1  # the reservation stands while the client waits
    return client, approval


@pytest.mark.parametrize(("model", "code"), PROGRAMS)
def test_client_is_kept_waiting_beyond_its_patience_and_gets_its_answer(
    world: World, model: str, code: str
) -> None:
    client, approval = held_beyond_patience(world, model, code)

    world.verdict(approval)

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("GOT "), out + err
    assert len(world.lab.calls(ended=1)) == 1
    wait(lambda: world.books()["open"] == 0)
    assert [row["basis"] for row in world.ledger().rows("select basis from calls")] == ["measured"]


@pytest.mark.parametrize(("model", "code"), PROGRAMS)
def test_rejection_after_heartbeats_is_raised_as_the_sdks_own_exception(
    world: World, model: str, code: str
) -> None:
    client, approval = held_beyond_patience(world, model, code)

    world.verdict(approval, "rejected", "not today")

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("RAISED "), out + err
    assert out.split()[1] == {"gpt": "openai", "cla": "anthropic", "gem": "google"}[model[:3]]
    assert "not today" in out
    assert world.lab.calls() == []
    assert world.books()["open"] == 0


def test_error_of_the_provider_after_heartbeats_is_said_in_the_stream(world: World) -> None:
    client, approval = held_beyond_patience(world, "gpt-4o-mini", OPENAI, "[sim status=500]")

    world.verdict(approval)

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("RAISED openai APIError "), out + err
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


@pytest.mark.parametrize(("model", "code"), PROGRAMS)
def test_provider_that_cannot_be_reached_after_heartbeats_is_told_in_the_stream(
    world: World, model: str, code: str
) -> None:
    nowhere = {name: {"connect_to": "127.0.0.1:1"} for name in ("openai", "anthropic", "google")}
    client, approval = held_beyond_patience(world, model, code, providers=nowhere)

    world.verdict(approval)

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("RAISED "), out + err
    assert "did not answer" in out
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


def test_provider_that_cannot_be_reached_is_told_over_http2_too(world: World) -> None:
    nowhere = {"openai": {"connect_to": "127.0.0.1:1"}}
    client, approval = held_beyond_patience(world, "gpt-4o-mini", HTTP2, providers=nowhere)

    world.verdict(approval)

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("RAISED openai APIError "), out + err
    assert "did not answer" in out


@pytest.mark.parametrize("http2", [False, True])
def test_client_that_leaves_between_heartbeats_gives_back_what_it_reserved(
    world: World, http2: bool
) -> None:
    client, approval = held_beyond_patience(world, "gpt-4o-mini", HTTP2 if http2 else OPENAI)

    client.kill()

    wait(lambda: world.books()["open"] == 0)
    assert world.ledger().approval(approval).waiting == 0


def test_proxy_that_ends_says_in_the_stream_that_the_question_stays_open(world: World) -> None:
    client, approval = held_beyond_patience(world, "gpt-4o-mini", OPENAI)

    world.proxies[0].stop()

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("RAISED openai APIError "), out + err
    assert approval in out
    assert world.books()["open"] == 0
    assert world.ledger().approval(approval).state == "open"


def test_proxy_that_dies_between_heartbeats_leaves_the_question_open_and_nothing_reserved(
    world: World,
) -> None:
    client, approval = held_beyond_patience(world, "gpt-4o-mini", OPENAI)

    world.proxies[0].kill()

    out, err = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.startswith("RAISED "), out + err
    world.proxy()
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0
    assert world.ledger().approval(approval).state == "open"
    assert world.lab.calls() == []


HTTP2 = """
import openai
client = openai.OpenAI(timeout=3, max_retries=0, http_client=openai.DefaultHttpxClient(http2=True))
s = client.chat.completions.create(model=MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello SAY"}])
print("GOT", "".join(c.choices[0].delta.content or "" for c in s if c.choices))
"""


def test_client_without_events_is_still_told_to_send_again(world: World) -> None:
    world.agent()
    world.policy(HOLD_ALL)
    fields = [
        ["Host", "api.openai.com"], ["x-stainless-read-timeout", "3"],
        ["User-Agent", "OpenAI/Python 3.0"],
    ]  # fmt: skip

    [answer] = answers(world.start_clients(world.proxy(), 1, headers=fields))

    assert answer["status"] == 403
    assert json.loads(answer["body"])["error"]["code"] == "approval_pending"
