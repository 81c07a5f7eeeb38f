"""Real SDK programs, unchanged, with nothing but the environment."""

from __future__ import annotations

import pytest

from e2e.world import World
from tollkeeper.domain import Window

OPENAI_SYNC = """
import openai
r = openai.OpenAI().chat.completions.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.choices[0].message.content)
"""
OPENAI_ASYNC = """
import asyncio, openai
async def main():
    r = await openai.AsyncOpenAI().chat.completions.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
    print("GOT", r.choices[0].message.content)
asyncio.run(main())
"""
OPENAI_STREAM = """
import openai
s = openai.OpenAI().chat.completions.create(model=MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello"}])
print("GOT", "".join(c.choices[0].delta.content or "" for c in s if c.choices))
"""
OPENAI_RESPONSES = """
import openai
r = openai.OpenAI().responses.create(model=MODEL, max_output_tokens=20, input="hello")
print("GOT", r.output_text)
"""
OPENAI_RESPONSES_STREAM = """
import openai
with openai.OpenAI().responses.stream(model=MODEL, max_output_tokens=20, input="hello") as s:
    for event in s: pass
    print("GOT", s.get_final_response().output_text)
"""
ANTHROPIC_SYNC = """
import anthropic
r = anthropic.Anthropic().messages.create(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.content[0].text)
"""
ANTHROPIC_STREAM = """
import anthropic
with anthropic.Anthropic().messages.stream(model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}]) as s:
    print("GOT", "".join(s.text_stream))
"""
GOOGLE = """
from google import genai
client = genai.Client()
r = client.models.generate_content(model=MODEL, contents="hello", config={"max_output_tokens": 20})
print("GOT", r.text)
"""
GOOGLE_STREAM = """
from google import genai
client = genai.Client()
print("GOT", "".join(c.text or "" for c in client.models.generate_content_stream(model=MODEL, contents="hello", config={"max_output_tokens": 20})))
"""

PROGRAMS = [
    pytest.param("gpt-4o-mini", OPENAI_SYNC, id="openai"),
    pytest.param("gpt-4o-mini", OPENAI_ASYNC, id="openai async"),
    pytest.param("gpt-4o-mini", OPENAI_STREAM, id="openai stream"),
    pytest.param("gpt-4o-mini", OPENAI_RESPONSES, id="openai responses"),
    pytest.param("gpt-4o-mini", OPENAI_RESPONSES_STREAM, id="openai responses stream"),
    pytest.param("claude-haiku-4-5", ANTHROPIC_SYNC, id="anthropic"),
    pytest.param("claude-haiku-4-5", ANTHROPIC_STREAM, id="anthropic stream"),
    pytest.param("gemini-2.5-flash", GOOGLE, id="google-genai"),
    pytest.param("gemini-2.5-flash", GOOGLE_STREAM, id="google-genai stream"),
]


def program(model: str, code: str) -> str:
    """The client's code, printing its own exception's type and text."""
    body = "\n".join("    " + line for line in code.strip().splitlines())
    return (
        f"MODEL = {model!r}\ntry:\n{body}\nexcept BaseException as e:\n"
        "    print('RAISED', type(e).__module__.split('.')[0], type(e).__name__, str(e).replace(chr(10), ' '))\n"
    )


@pytest.mark.parametrize(("model", "code"), PROGRAMS)
def test_sdk_works_unchanged_and_is_charged(world: World, model: str, code: str) -> None:
    world.agent()
    proxy = world.proxy()

    done = world.python(program(model, code), proxy)

    assert done.stdout.startswith("GOT "), done.stdout + done.stderr
    books = world.books()
    assert books["calls"] >= 1
    assert books["open"] == 0
    assert books["spent"] > 0
    assert {row["basis"] for row in world.ledger().rows("select basis from calls")} == {"measured"}


@pytest.mark.parametrize(("model", "code"), PROGRAMS)
@pytest.mark.parametrize("cause", ["model", "budget"])
def test_sdk_raises_its_own_exception_with_our_sentence_and_does_not_retry(
    world: World, model: str, code: str, cause: str
) -> None:
    limits = {"models": ("other",)} if cause == "model" else {"budget_nano_usd": {Window.DAY: 1}}
    world.agent(**limits)
    proxy = world.proxy()

    done = world.python(program(model, code), proxy)

    assert done.stdout.startswith("RAISED "), done.stdout + done.stderr
    own = {"gpt": "openai", "cla": "anthropic", "gem": "google"}[model[:3]]
    assert done.stdout.split()[1] == own
    assert (model if cause == "model" else "budget_usd.day") in done.stdout
    [count] = list(world.ledger().rows("select count(*) as n from calls"))
    assert count["n"] == 1
    assert world.lab.calls() == []


@pytest.mark.parametrize(("model", "code"), PROGRAMS)
def test_provider_that_cannot_be_reached_is_named_in_the_sdks_own_exception(
    world: World, model: str, code: str
) -> None:
    nowhere = {"connect_to": "127.0.0.1:1"}
    world.policy({"providers": dict.fromkeys(("openai", "anthropic", "google"), nowhere)})
    world.agent()

    done = world.python(program(model, code), world.proxy())

    own = {"gpt": "openai", "cla": "anthropic", "gem": "google"}[model[:3]]
    assert done.stdout.startswith(f"RAISED {own}"), done.stdout + done.stderr
    assert "The provider did not answer" in done.stdout
    assert world.books()["open"] == world.books()["spent"] == 0


def test_unknown_token_is_told_inside_the_tunnel_in_the_sdks_own_exception(world: World) -> None:
    world.agent()
    world.tokens["atlas"] = "tk_wrong"
    proxy = world.proxy()

    done = world.python(program("gpt-4o-mini", OPENAI_SYNC), proxy)

    assert "RAISED openai AuthenticationError" in done.stdout
    assert "not known" in done.stdout
