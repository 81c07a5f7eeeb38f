"""Streaming clients that are kept waiting beyond their patience: real SDKs, six seconds of it each."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from e2e import world as worlds
from e2e.test_sdks import program
from e2e.world import PATIENCE_SECONDS, Proxy, World, answers, wait

HOLD_ALL = {"rules": [{"name": "ask", "call": {"model": "*"}, "hold": {}}], "examples": []}

OPENAI = """
import openai
s = openai.OpenAI(timeout=6, max_retries=0).chat.completions.create(model=MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello SAY"}])
print("GOT", "".join(c.choices[0].delta.content or "" for c in s if c.choices))
"""
RESPONSES = """
import openai
with openai.OpenAI(timeout=6, max_retries=0).responses.stream(model=MODEL, max_output_tokens=20, input="hello SAY") as s:
    for event in s: pass
    print("GOT", s.get_final_response().output_text)
"""
ANTHROPIC = """
import anthropic
with anthropic.Anthropic(timeout=6, max_retries=0).messages.stream(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello SAY"}]) as s:
    print("GOT", "".join(s.text_stream))
"""
GOOGLE = """
from google import genai
client = genai.Client(http_options=genai.types.HttpOptions(timeout=10000))
print("GOT", "".join(c.text or "" for c in client.models.generate_content_stream(model=MODEL, contents="hello SAY", config={"max_output_tokens": 20})))
"""
PROGRAMS = [
    ("gpt-4o-mini", OPENAI),
    ("gpt-4o-mini", RESPONSES),
    ("claude-haiku-4-5", ANTHROPIC),
    ("gemini-2.5-flash", GOOGLE),
]
PATIENCE = {GOOGLE: 10}
HASTY = "import tollkeeper.facts.clients as c; c._margin = lambda: (0.7, 1);"
"""Beats come long before a client's patience ends: on a busy machine they need more than a moment."""


def started(
    world: World, proxy: Proxy, model: str, code: str, say: str = ""
) -> subprocess.Popen[str]:
    text = program(model, code).replace("SAY", say)
    return subprocess.Popen(
        [sys.executable, "-c", text], env=world.environment(proxy), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def held_beyond_patience(
    world: World, *programs: tuple[str, str], say: str = "", **policy: object
) -> tuple[list[subprocess.Popen[str]], list[str]]:
    """Programs that are kept waiting, and their approvals."""
    world.agent()
    world.policy(HOLD_ALL | policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "SERVE", worlds.SERVE.replace("import sys", HASTY + "import sys"))
        proxy = world.proxy()
    clients = [started(world, proxy, model, code, say) for model, code in programs]
    approvals = world.waits_for_approval(len(programs))
    time.sleep(max(PATIENCE.get(code, 6) for _, code in programs) + 1.5)
    assert [client.poll() for client in clients] == [None] * len(programs)
    assert world.books()["open"] == len(programs)  # reservations stand while clients wait
    return clients, approvals


def said(client: subprocess.Popen[str], *words: str) -> str:
    """What a program printed, which begins with these words."""
    out, errors = client.communicate(timeout=PATIENCE_SECONDS)
    assert out.split()[: len(words)] == list(words), out + errors
    return out


def test_client_is_kept_waiting_beyond_its_patience_and_gets_its_answer(world: World) -> None:
    clients, approvals = held_beyond_patience(world, *PROGRAMS)

    for approval in approvals:
        world.verdict(approval)

    for client in clients:
        said(client, "GOT")
    assert len(world.lab.calls(ended=len(clients))) == len(clients)
    wait(lambda: world.books()["open"] == 0)
    assert {row["basis"] for row in world.ledger().rows("select basis from calls")} == {"measured"}


def test_rejection_after_heartbeats_is_raised_as_the_sdks_own_exception(world: World) -> None:
    clients, approvals = held_beyond_patience(world, *PROGRAMS)

    for approval in approvals:
        world.verdict(approval, "rejected", "not today")

    for client, own in zip(clients, ("openai", "openai", "anthropic", "google"), strict=True):
        assert "not today" in said(client, "RAISED", own)
    assert world.lab.calls() == []
    assert world.books()["open"] == 0


def test_error_of_the_provider_after_heartbeats_is_said_in_the_stream(world: World) -> None:
    [client], [approval] = held_beyond_patience(world, PROGRAMS[0], say="[sim status=500]")

    world.verdict(approval)

    said(client, "RAISED", "openai", "APIError")
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


def test_provider_that_cannot_be_reached_after_heartbeats_is_told_in_the_stream(
    world: World,
) -> None:
    nowhere = {name: {"connect_to": "127.0.0.1:1"} for name in ("openai", "anthropic", "google")}
    clients, approvals = held_beyond_patience(world, *PROGRAMS, providers=nowhere)

    for approval in approvals:
        world.verdict(approval)

    for client in clients:
        assert "did not answer" in said(client, "RAISED")
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


def test_provider_that_cannot_be_reached_is_told_over_http2_too(world: World) -> None:
    nowhere = {"openai": {"connect_to": "127.0.0.1:1"}}
    [client], [approval] = held_beyond_patience(world, ("gpt-4o-mini", HTTP2), providers=nowhere)

    world.verdict(approval)

    assert "did not answer" in said(client, "RAISED", "openai", "APIError")


@pytest.mark.parametrize("http2", [False, True])
def test_client_that_leaves_between_heartbeats_gives_back_what_it_reserved(
    world: World, http2: bool
) -> None:
    code = HTTP2 if http2 else OPENAI
    [client], [approval] = held_beyond_patience(world, ("gpt-4o-mini", code))

    client.kill()
    client.communicate()

    wait(lambda: world.books()["open"] == 0)
    assert world.ledger().approval(approval).waiting == 0


def test_proxy_that_ends_says_in_the_stream_that_the_question_stays_open(world: World) -> None:
    [client], [approval] = held_beyond_patience(world, PROGRAMS[0])

    world.proxies[0].stop()

    assert approval in said(client, "RAISED", "openai", "APIError")
    assert world.books()["open"] == 0
    assert world.ledger().approval(approval).state == "open"


def test_proxy_that_dies_between_heartbeats_leaves_the_question_open_and_nothing_reserved(
    world: World,
) -> None:
    [client], [approval] = held_beyond_patience(world, PROGRAMS[0])

    world.proxies[0].kill()

    said(client, "RAISED")
    world.proxy()
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0
    assert world.ledger().approval(approval).state == "open"
    assert world.lab.calls() == []


HTTP2 = """
import openai
client = openai.OpenAI(timeout=6, max_retries=0, http_client=openai.DefaultHttpxClient(http2=True))
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
