"""OpenAI's Realtime, with its SDK, through the real proxy.

It is the asynchronous client, called like the blocking one: that one reads and writes one TLS connection
from two threads, which loses records and sometimes hangs, also without a proxy between.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from e2e.test_sdks import program
from e2e.world import Proxy, World, wait
from tollkeeper.simulator.lab import body_of

MODEL = "gpt-realtime"
OPEN = {"websockets": True, "agents": {"default": {"budget_usd": {"total": 5}}}}
TALK = """
import asyncio, base64, inspect, openai
from websockets.exceptions import ConnectionClosedOK
LOOP = asyncio.new_event_loop()
class InOneThread:
    def __init__(self, it): self.it = it
    def __getattr__(self, name): return InOneThread(getattr(self.it, name))
    def __call__(self, *words, **more):
        made = self.it(*words, **more)
        return LOOP.run_until_complete(made) if inspect.isawaitable(made) else InOneThread(made)
    def __enter__(self): return InOneThread(LOOP.run_until_complete(self.it.__aenter__()))
    def __exit__(self, *error): LOOP.run_until_complete(self.it.__aexit__(*error))
    def __iter__(self):
        while True:
            try: yield self.recv()
            except ConnectionClosedOK: return
client = InOneThread(openai.AsyncOpenAI(max_retries=0))
def until(ws, *kinds):
    for event in ws:
        if event.type in kinds: return event
def text(ws, words):
    ws.conversation.item.create(item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]})
def audio(ws, ms, loud=True):
    for _ in range(ms // 100):
        ws.input_audio_buffer.append(audio=base64.b64encode((b"\\1\\2" if loud else b"\\0\\0") * 2400).decode())
def said(event):
    if event.type == "error": return "error " + str(event.error.code) + " " + event.error.message
    return event.type + " " + event.response.status
"""
TWO = (
    TALK
    + """
with client.realtime.connect(model=MODEL) as ws:
    ws.session.update(session={"type": "realtime", "output_modalities": ["text"], "instructions": "Be brief."})
    for words in "hello", "go on":
        text(ws, words)
        ws.response.create()
        print("GOT", said(until(ws, "response.done", "error")), flush=True)
"""
)
ONE = (
    TALK
    + """
with client.realtime.connect(model=MODEL) as ws:
    text(ws, "hello")
    ws.response.create(response={"max_output_tokens": 200})
    print("GOT", said(until(ws, "response.done", "error")))
"""
)
SPOKEN = (
    TALK
    + """
with client.realtime.connect(model=MODEL) as ws:
    for _ in range(2):
        audio(ws, 1000)
        audio(ws, 600, loud=False)
        print("GOT", said(until(ws, "response.done", "error")), flush=True)
"""
)


def rows(world: World) -> list[dict[str, Any]]:
    return list(
        world.ledger().rows("select * from calls where operation = 'realtime' order by at_ns, id")
    )


def billed(world: World) -> int:
    """What the simulator billed, by OpenAI's price list, in nano-USD."""
    total = 0
    for call in world.lab.calls():
        used = call["billed"]
        if used["model"] != MODEL:
            continue
        heard, heard_before = used["audio_input_tokens"], used["cache_read_audio_input_tokens"]
        cached = used["cache_read_input_tokens"]
        aloud = used["audio_output_tokens"]
        written_in = used["input_tokens"] - heard - (cached - heard_before)
        total += written_in * 4000 + cached * 400 + (heard - heard_before) * 32000
        total += (used["output_tokens"] - aloud) * 16000 + aloud * 64000
    return total


@pytest.mark.parametrize("code", [TWO, SPOKEN], ids=["written", "spoken"])
def test_every_response_of_a_session_is_admitted_and_settled_as_it_is_billed(
    world: World, code: str
) -> None:
    world.agent()
    world.policy(dict(OPEN))

    done = world.python(program(MODEL, code), world.proxy())

    assert done.stdout == "GOT response.done completed\n" * 2, done.stdout + done.stderr
    wait(lambda: world.books()["open"] == 0)
    settled = rows(world)
    assert [row["basis"] for row in settled] == ["measured", "measured"]
    assert all(0 < row["cost_nano_usd"] <= row["worst_nano_usd"] for row in settled)
    assert world.books()["spent"] == billed(world) > 0


def started(world: World, proxy: Proxy, code: str, model: str = MODEL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program(model, code)], env=world.environment(proxy),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_response_over_its_budget_is_refused_as_an_error_event_and_never_leaves(
    world: World,
) -> None:
    world.agent()
    world.policy({**OPEN, "agents": {"default": {"budget_usd": {"total": 0.001}}}})

    done = world.python(program(MODEL, ONE), world.proxy())

    assert done.stdout.startswith("GOT error budget_exhausted"), done.stdout + done.stderr
    assert world.lab.calls() == []
    assert (world.books()["spent"], world.books()["open"]) == (0, 0)


def test_spoken_turn_over_its_budget_is_refused_though_the_provider_would_have_answered(
    world: World,
) -> None:
    world.agent()
    world.policy({**OPEN, "agents": {"default": {"budget_usd": {"total": 0.001}}}})

    done = world.python(program(MODEL, SPOKEN), world.proxy())

    assert done.stdout.count("GOT error budget_exhausted") == 2, done.stdout + done.stderr
    assert world.lab.calls() == []


def test_model_that_an_agent_may_not_use_opens_no_session(world: World) -> None:
    world.agent(models=("gpt-4o-mini",))
    world.policy(dict(OPEN))

    done = world.python(program(MODEL, ONE), world.proxy())

    assert "RAISED websockets InvalidStatus" in done.stdout, done.stdout
    assert "403" in done.stdout
    assert world.lab.calls() == []


def test_unknown_price_is_refused_under_a_budget(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))

    done = world.python(program("gpt-realtime-99", ONE), world.proxy())

    assert "No price" in done.stdout, done.stdout + done.stderr
    assert world.lab.calls() == []


@pytest.mark.parametrize("answer", ["approved", "rejected"])
@pytest.mark.parametrize("code", [ONE, SPOKEN], ids=["written", "spoken"])
def test_held_response_waits_while_the_session_lives(world: World, code: str, answer: str) -> None:
    world.agent()
    rule = {"name": "ask", "call": {"operation": "realtime"}, "hold": {}}
    world.policy({**OPEN, "rules": [rule]})
    client = started(world, world.proxy(), code.replace("range(2)", "range(1)"))
    [approval] = world.waits_for_approval()
    assert world.books()["open"] == 1
    assert world.lab.calls() == []

    world.verdict(approval, answer, "not today")

    out, err = client.communicate(timeout=30)
    expected = "GOT response.done" if answer == "approved" else "GOT error approval_rejected"
    assert expected in out, out + err
    assert len(world.lab.calls()) == (answer == "approved")
    wait(lambda: world.books()["open"] == 0)


def test_person_who_is_asked_sees_what_is_said_and_what_was_set(world: World) -> None:
    world.agent()
    rule = {"name": "ask", "call": {"prompt": {"matches": "transfer"}}, "hold": {}}
    world.policy({**OPEN, "rules": [rule]})
    code = ONE.replace('"hello"', '"transfer all of it"')
    client = started(world, world.proxy(), code)

    [approval] = world.waits_for_approval()
    client.kill()

    ledger = world.ledger()
    [row] = ledger.rows("select body from approvals")
    assert b"transfer all of it" in bytes(row["body"])
    assert approval
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


def test_session_that_is_cut_in_the_middle_is_settled_from_what_was_seen(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=20 cut=5")

    done = world.python(program(MODEL, ONE), world.proxy(), check=False)

    assert "RAISED" in done.stdout, done.stdout
    wait(lambda: world.books()["open"] == 0)
    [row] = rows(world)
    assert (row["outcome"], row["basis"]) == ("cut", "estimated")
    assert billed(world) <= row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_client_that_is_killed_leaves_nothing_open(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=20 delay=0.3")
    code = ONE.replace(
        'print("GOT", said(until(ws, "response.done", "error")))',
        "until(ws, 'response.output_audio.delta'); print('SOME', flush=True); until(ws)",
    )
    client = started(world, world.proxy(), code)
    assert client.stdout is not None
    assert client.stdout.readline() == "SOME\n"

    client.kill()

    wait(lambda: world.books()["open"] == 0)
    [row] = rows(world)
    assert row["basis"] == "estimated"
    assert billed(world) <= row["cost_nano_usd"] <= row["worst_nano_usd"]


def test_speech_interrupts_an_answer_and_both_are_settled(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=30 delay=0.2")
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    audio(ws, 1000); audio(ws, 600, loud=False)
    until(ws, "response.output_audio.delta")
    audio(ws, 1000); audio(ws, 600, loud=False)
    for _ in range(2): print("GOT", said(until(ws, "response.done", "error")), flush=True)
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert done.stdout == "GOT response.done cancelled\nGOT response.done completed\n", done.stdout
    wait(lambda: world.books()["open"] == 0)
    assert [row["basis"] for row in rows(world)] == ["measured", "measured"]
    assert world.books()["spent"] == billed(world)


def test_client_sees_its_own_session_and_no_event_of_ours(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    ws.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}}})
    text(ws, "hello")
    kinds = [ws.recv() for _ in range(3)]
    print("GOT", [event.type for event in kinds], kinds[1].session.audio.input.turn_detection)
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    kinds = "['session.created', 'session.updated', 'conversation.item.added']"
    assert done.stdout.startswith(f"GOT {kinds}"), done.stdout
    assert "create_response=False" in done.stdout
    assert "silence_duration_ms=300" in done.stdout


def test_turns_that_the_client_answers_itself_are_not_answered_for_it(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    ws.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad", "create_response": False}}}})
    audio(ws, 1000); audio(ws, 600, loud=False)
    until(ws, "input_audio_buffer.committed")
    text(ws, "and this")
    print("GOT", until(ws, "response.created", "conversation.item.added").type)
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert done.stdout == "GOT conversation.item.added\n", done.stdout
    assert rows(world) == []


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"type": "session.explode"}, "session.explode"),
        ({"type": "response.create", "response": {"prompt": {"id": "pmpt_1"}}}, "response.prompt"),
        ({"type": "session.update", "session": {"type": "transcription"}}, "of type realtime"),
        (
            {"type": "session.update", "session": {"model": "gpt-realtime-2"}},
            "the model in the URL",
        ),
        ({"type": "session.update", "session": {"tools": [{"type": "mcp"}]}}, "of type function"),
        (
            {
                "type": "session.update",
                "session": {
                    "audio": {
                        "input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}
                    }
                },
            },
            "idle_timeout_ms",
        ),
        ({"type": "session.update", "session": {"turn_detection": None}}, "session.turn_detection"),
    ],
)
def test_event_that_cannot_be_metered_goes_nowhere_and_the_session_lives(
    world: World, event: dict[str, Any], why: str
) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = (
        TALK
        + f"""
with client.realtime.connect(model=MODEL) as ws:
    ws._connection.send({json.dumps(event)!r})
    print("GOT", until(ws, "error").error.message)
    text(ws, "hello")
    ws.response.create(response={{"max_output_tokens": 200}})
    print("GOT", said(until(ws, "response.done", "error")))
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    first, second = done.stdout.splitlines()
    assert why in first, done.stdout
    assert second == "GOT response.done completed"


def test_second_response_at_once_is_refused_also_out_of_band(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=10 delay=0.05")
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    text(ws, "hello")
    ws.response.create()
    ws.response.create(response={"conversation": "none", "input": []})
    print("GOT", said(until(ws, "error")))
    print("GOT", said(until(ws, "response.done")))
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert "Wait for the end of the response" in done.stdout, done.stdout
    assert done.stdout.endswith("GOT response.done completed\n")
    assert len(world.lab.calls(ended=1)) == 1


def test_response_that_the_provider_refuses_costs_nothing(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("status=500 message=Not%20now.")

    done = world.python(program(MODEL, ONE), world.proxy())

    assert done.stdout.startswith("GOT error server_error Not now."), done.stdout
    wait(lambda: world.books()["open"] == 0)
    assert world.books()["spent"] == 0


def test_error_about_something_else_does_not_end_a_response(world: World) -> None:
    world.agent()
    world.policy(dict(OPEN))
    world.lab.order("tokens=10 delay=0.05")
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    text(ws, "hello")
    ws.response.create()
    ws.input_audio_buffer.commit()
    print("GOT", said(until(ws, "error")))
    print("GOT", said(until(ws, "response.done")))
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert "commit_empty" in done.stdout, done.stdout
    wait(lambda: world.books()["open"] == 0)
    [row] = rows(world)
    assert row["basis"] == "measured"
    assert world.books()["spent"] == billed(world)


def test_tool_that_a_session_may_not_offer_is_refused(world: World) -> None:
    world.agent(tools=("read_file",))
    world.policy(dict(OPEN))
    code = ONE.replace(
        "    text(ws,",
        '    ws.session.update(session={"type": "realtime", "tools": [{"type": "function", "name": "shell"}]})\n    text(ws,',
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert "GOT error policy_denied" in done.stdout, done.stdout
    assert "shell" in done.stdout
    assert world.lab.calls() == []


def test_output_limit_of_the_policy_is_put_into_every_response(world: World) -> None:
    world.agent(max_output_tokens=12)
    world.policy(dict(OPEN))

    for code in (TWO, SPOKEN):
        done = world.python(program(MODEL, code), world.proxy())
        assert done.stdout.startswith(
            "GOT response.done incomplete" if code == SPOKEN else "GOT"
        ), done.stdout

    asked = [json.loads(body_of(call)) for call in world.lab.calls()]
    assert [event["response"]["max_output_tokens"] for event in asked] == [12] * 4
    assert all((row["cost_nano_usd"] or 0) <= row["worst_nano_usd"] for row in rows(world))


@pytest.mark.parametrize("cause", ["policy", "agent"])
def test_session_ends_with_its_next_frame_when_the_operator_has_changed_his_mind(
    world: World, cause: str
) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    text(ws, "hello"); until(ws, "conversation.item.added")
    print("OPEN", flush=True); input()
    audio(ws, 100)
    print(said(until(ws, "error")), flush=True)
    ws.recv()
"""
    )
    proxy = world.proxy()
    client = subprocess.Popen(
        [sys.executable, "-c", program(MODEL, code)], env=world.environment(proxy), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stdout.readline() == "OPEN\n"
    if cause == "policy":
        world.policy({**OPEN, "websockets": False})
        wait(lambda: closed_to_sockets(world, proxy))
    else:
        ledger = world.ledger()
        ledger.set_agent_state("atlas", "paused", time.time_ns(), "tester")
        ledger.close()

    out, _ = client.communicate("\n", timeout=30)

    assert ("websockets" if cause == "policy" else "paused") in out, out
    assert "RAISED websockets ConnectionClosed" in out


def closed_to_sockets(world: World, proxy: Proxy) -> bool:
    """Whether the policy that refuses them is in force."""
    done = world.python(program(MODEL, ONE), proxy)
    return "426" in done.stdout


@pytest.mark.parametrize("injected", [False, True])
def test_key_that_is_a_subprotocol_is_kept_like_any_other(world: World, injected: bool) -> None:
    world.agent()
    key = {"providers": {"openai": {"key": {"env": "REAL_KEY"}}}} if injected else {}
    world.policy({**OPEN, **key})
    world.lab.expect_keys({"api.openai.com": ["sk-real" if injected else "sk-browser"]})
    code = """
import asyncio, os, ssl, websockets
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
protocols = ["realtime", "openai-insecure-api-key.sk-browser", "openai-project.proj_1"]
async def talk():
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime", subprotocols=protocols, ssl=context) as ws:
        print("GOT", ws.subprotocol, "session.created" in await ws.recv())
        await ws.send('{"type": "response.create"}')
        while "response.done" not in await ws.recv(): pass
asyncio.run(talk())
"""

    done = world.python(program(MODEL, code), world.proxy(REAL_KEY="sk-real"))

    assert done.stdout == "GOT realtime True\n", done.stdout
    [call] = world.lab.calls(ended=1)
    named = {name.lower() for name, _ in call["headers"]}
    assert "sk-browser" not in str([h for h in call["headers"] if h[0].lower() != "authorization"])
    assert ("openai-project" in named) is not injected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/v1/realtime/client_secrets", "past the proxy"),
        ("/v1/realtime/sessions", "past the proxy"),
        ("/v1/realtime/calls", "past the proxy"),
        ("/v1/realtime?model=gpt-realtime", "as a WebSocket"),
        ("/v1/realtime/translations", "/audio/transcriptions"),
    ],
)
def test_other_ways_into_a_session_say_what_to_do_instead(
    world: World, path: str, why: str
) -> None:
    world.agent()
    world.policy(dict(OPEN))

    [answer] = world.calls(world.proxy(), method="POST", path=path, body="{}")

    assert (answer["status"], world.lab.calls()) == (403, [])
    assert why in answer["body"].decode()


@pytest.mark.parametrize(
    "query", ["?intent=transcription", "?model=gpt-realtime&call_id=rtc_1", ""]
)
def test_session_that_names_no_model_alone_is_not_opened(world: World, query: str) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = f"""
import asyncio, os, ssl, websockets
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
async def call():
    await websockets.connect("wss://api.openai.com/v1/realtime{query}", ssl=context)
asyncio.run(call())
"""

    done = world.python(program(MODEL, code), world.proxy())

    assert "RAISED websockets InvalidStatus" in done.stdout, done.stdout
    assert "400" in done.stdout


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-mini-transcribe"])
def test_transcripts_are_reserved_ahead_and_settled_as_they_are_billed(
    world: World, model: str
) -> None:
    world.agent()
    world.policy(dict(OPEN))
    asked = f'''
    ws.session.update(session={{"type": "realtime", "audio": {{"input": {{"transcription": {{"model": "{model}", "prompt": "a name"}}}}}}}})
    for _ in range(2):
        audio(ws, 1000); audio(ws, 600, loud=False)
        done = 0
        for event in ws:
            done += event.type in ("response.done", "conversation.item.input_audio_transcription.completed")
            if event.type == "error": print("GOT", said(event), flush=True)
            if done == 2 or event.type == "error": break
    print("END")
'''
    code = TALK + "with client.realtime.connect(model=MODEL) as ws:" + asked

    done = world.python(program(MODEL, code), world.proxy())

    assert done.stdout == "END\n", done.stdout
    wait(lambda: world.books()["open"] == 0)
    [heard] = world.ledger().rows("select * from calls where operation = 'transcription'")
    seconds, tokens, written = 2 * 2, 2 * (2 + 3), 2 * 3
    by_hand = {
        "whisper-1": seconds * 100_000,
        "gpt-4o-mini-transcribe": (tokens + 15 + 16) * 1250 + written * 5000,
    }
    assert (heard["model"], heard["basis"]) == (model, "measured")
    assert heard["cost_nano_usd"] == by_hand[model] <= heard["worst_nano_usd"]
    assert world.books()["spent"] == billed(world) + by_hand[model]


def test_client_that_leaves_after_its_commit_has_not_had_it_written_down_for_nothing(
    world: World,
) -> None:
    world.agent()
    world.policy(dict(OPEN))
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    ws.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}})
    audio(ws, 2000)
    ws.input_audio_buffer.commit()
print("END")
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert done.stdout == "END\n", done.stdout + done.stderr
    wait(lambda: world.books()["open"] == 0)
    [heard] = world.ledger().rows("select * from calls where operation = 'transcription'")
    assert 200_000 <= heard["cost_nano_usd"] <= heard["worst_nano_usd"]


def test_audio_whose_transcripts_no_budget_bears_is_refused(world: World) -> None:
    world.agent(models=(MODEL,))
    world.policy(dict(OPEN))
    code = (
        TALK
        + """
with client.realtime.connect(model=MODEL) as ws:
    ws.session.update(session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}})
    audio(ws, 1000)
    print("GOT", said(until(ws, "error")))
"""
    )

    done = world.python(program(MODEL, code), world.proxy())

    assert "GOT error policy_denied" in done.stdout, done.stdout
    assert "whisper-1" in done.stdout
    assert world.lab.calls() == []


def test_response_that_outgrows_its_reservation_ends_the_session(world: World) -> None:
    world.agent()
    world.policy({**OPEN, "agents": {"default": {"budget_usd": {"total": 5}, "on_overrun": "cut"}}})
    world.lab.order("tokens=400 ignore_limit delay=0.01")

    done = world.python(program(MODEL, ONE), world.proxy(), check=False)

    assert "outgrew what was reserved" in done.stdout, done.stdout + done.stderr
    wait(lambda: world.books()["open"] == 0)
    [row] = rows(world)
    assert row["cost_nano_usd"] >= row["worst_nano_usd"] > 0
