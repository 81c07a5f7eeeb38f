"""OpenAI's Responses over WebSockets, with its SDK, through the real proxy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from e2e.test_sdks import program
from e2e.world import Proxy, World, wait

OPEN = {"websockets": True, "agents": {"default": {"budget_usd": {"total": 1}}}}
TURN = """
async def turn(ws, text, **more):
    await ws.response.create(model=MODEL, input=text, max_output_tokens=20, **more)
    seen = ""
    async for event in ws:
        if event.type == "response.output_text.delta": seen += event.delta
        if event.type in ("response.completed", "response.incomplete", "error"): return event, seen
"""
TWO = """
first, said = await turn(ws, "hello")
second, more = await turn(ws, "go on", previous_response_id=first.response.id)
print("GOT", first.type, second.type, len(said) > 0)
"""
ONE = """
event, said = await turn(ws, "hello")
print("GOT", event.type, getattr(event, "error", None))
"""


def connected(code: str) -> str:
    """A program with the SDK's asynchronous client, whose connection is ``ws``.

    The blocking one reads and writes one TLS connection from two threads, which loses or garbles
    records at times, also without a proxy (seen with websockets 17 on Python 3.13.0).
    """
    body = "".join(f"        {line}\n" for line in code.strip().splitlines())
    return program(
        "gpt-4o-mini",
        f"{TURN}\nimport asyncio, openai, os\nasync def main():\n"
        "    client = openai.AsyncOpenAI(max_retries=0)\n"
        f"    async with client.responses.connect() as ws:\n{body}asyncio.run(main())",
    )


def rows(world: World) -> list[dict[str, Any]]:
    return list(
        world.ledger().rows("select * from calls where operation = 'responses' order by at_ns, id")
    )


@pytest.mark.parametrize("injected", [False, True])
def test_every_call_on_a_connection_is_admitted_and_settled(world: World, injected: bool) -> None:
    world.agent()
    key = {"providers": {"openai": {"key": {"env": "REAL_KEY"}}}} if injected else {}
    world.policy({**OPEN, **key})
    if injected:
        world.lab.expect_keys({"api.openai.com": ["sk-real"]})

    done = world.python(connected(TWO), world.proxy(REAL_KEY="sk-real"))

    assert done.stdout.startswith("GOT response.completed response.completed True"), done.stdout
    wait(lambda: world.books()["open"] == 0)
    first, second = rows(world)
    assert (first["basis"], second["basis"]) == ("measured", "measured")
    assert 0 < first["cost_nano_usd"] <= first["worst_nano_usd"]
    assert len(world.lab.calls(ended=2)) == 2


def test_call_over_its_budget_is_refused_as_an_error_event_and_never_leaves(world: World) -> None:
    world.agent()
    world.policy({**OPEN, "agents": {"default": {"budget_usd": {"total": 0.000001}}}})

    done = world.python(connected(ONE), world.proxy())

    assert done.stdout.startswith("GOT error "), done.stdout
    assert "budget_exhausted" in done.stdout
    assert world.lab.calls() == []
    assert world.books()["open"] == 0


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ('{"type": "response.steer", "input": "x"}', "response.steer"),
        ('{"type": "response.create", "model": "gpt-4o-mini", "model": "o3"}', "model"),
        ("no json", "JSON"),
        ('{"type": "response.create", "response": {"model": "gpt-4o-mini"}}', "beside its type"),
        ('{"type": "response.create", "model": "gpt-4o-mini", "background": true}', "HTTPS"),
    ],
)
def test_frame_that_cannot_be_metered_goes_nowhere(world: World, frame: str, why: str) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = f"""
await ws._connection.send({frame!r})
event = await ws.recv()
print("GOT", event.type, event.error.message)
"""

    done = world.python(connected(code), world.proxy())

    assert done.stdout.startswith("GOT error "), done.stdout
    assert why in done.stdout
    assert world.lab.calls() == []


def test_second_call_while_one_is_under_way_is_refused(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=10 delay=0.05")
    code = """
for text in "hello", "again":
    await ws.response.create(model=MODEL, input=text, max_output_tokens=20)
kinds = []
async for event in ws:
    kinds.append(event.type)
    if event.type == "response.completed": break
print("GOT", kinds.count("error"), kinds.count("response.completed"))
"""

    done = world.python(connected(code), world.proxy())

    assert done.stdout.startswith("GOT 1 1"), done.stdout
    assert len(world.lab.calls(ended=1)) == 1


@pytest.mark.parametrize("answer", ["approved", "rejected"])
def test_held_frame_waits_while_the_connection_lives(world: World, answer: str) -> None:
    world.agent()
    rule = {"name": "ask", "call": {"model": "gpt-4o-mini"}, "hold": {}}
    world.policy({**OPEN, "rules": [rule]})
    client = started(world, world.proxy(), ONE)
    [approval] = world.waits_for_approval()
    assert world.books()["open"] == 1

    world.verdict(approval, answer, "not today")

    out, err = client.communicate(timeout=30)
    expected = "GOT response.completed" if answer == "approved" else "GOT error"
    assert out.startswith(expected), out + err
    assert len(world.lab.calls()) == (answer == "approved")
    wait(lambda: world.books()["open"] == 0)


def test_client_that_leaves_while_held_gives_back_what_it_reserved(world: World) -> None:
    world.agent()
    rule = {"name": "ask", "call": {"model": "gpt-4o-mini"}, "hold": {}}
    world.policy({**OPEN, "rules": [rule]})
    client = started(world, world.proxy(), ONE)
    world.waits_for_approval()

    client.kill()

    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


def test_connection_that_ends_settles_what_was_open(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=20 delay=0.5")
    code = """
await ws.response.create(model=MODEL, input="hello", max_output_tokens=20)
async for event in ws:
    if event.type == "response.output_text.delta": os._exit(0)
"""

    world.python(connected(code), world.proxy())

    wait(lambda: world.books()["open"] == 0 and rows(world))
    [row] = rows(world)
    assert (row["outcome"], row["basis"]) == ("cut", "estimated")
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_answer_that_outgrows_its_reservation_ends_the_connection(world: World) -> None:
    world.agent()
    world.policy({**OPEN, "agents": {"default": {"budget_usd": {"total": 1}, "on_overrun": "cut"}}})
    world.lab.order("tokens=400 ignore_limit delay=0.01")

    done = world.python(connected(ONE), world.proxy(), check=False)

    assert "outgrew what was reserved" in done.stdout, done.stdout + done.stderr
    wait(lambda: world.books()["open"] == 0)
    [row] = rows(world)
    assert row["cost_nano_usd"] >= row["worst_nano_usd"] > 0


def test_proxy_that_ends_does_not_wait_for_an_idle_connection(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    proxy = world.proxy("grace_seconds=600")
    code = TWO.replace(
        "second, more =", 'print("IDLE", flush=True)\nawait ws.recv()\nsecond, more ='
    )
    client = started(world, proxy, code)
    assert client.stdout is not None
    assert client.stdout.readline() == "IDLE\n"

    proxy.stop()  # in less than twenty seconds

    out, _ = client.communicate(timeout=20)
    assert out.startswith("RAISED "), out
    assert world.books()["open"] == 0


def test_plain_request_for_the_path_of_the_socket_is_unknown(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))

    [answer] = world.calls(world.proxy(), method="GET", path="/v1/responses", body=" ")

    assert (answer["status"], world.lab.calls()) == (403, [])


def test_message_that_never_ends_ends_the_connection(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = """
try:
    await ws._connection.send(b"x" * 1_000_000 for _ in range(80))
    await ws.recv()
except Exception as error: print("GOT", type(error).__name__)
"""

    done = world.python(connected(code), world.proxy(), check=False)

    assert done.stdout.startswith("GOT ConnectionClosed"), done.stdout + done.stderr
    assert world.lab.calls() == []


def started(world: World, proxy: Proxy, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", connected(code)], env=world.environment(proxy),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
