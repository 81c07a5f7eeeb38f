"""Calls that are no conversation, with the real SDKs: judged, forwarded, settled to the nano-dollar."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from e2e.world import World, wait
from tollkeeper import facts
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Mode, Policy, Usage, Window
from wire.asking import FORM, form

NOW = 1_795_000_000 * 10**9
BOOK = PriceBook(Policy("", Mode.ENFORCE, "UTC", facts.providers()))
WAV = """
import io, wave
held = io.BytesIO()
with wave.open(held, "wb") as w:
    w.setnchannels(1); w.setsampwidth(2); w.setframerate(16000); w.writeframes(b"\\0\\0" * 40000)
held.name = "a.wav"; held.seek(0)
"""
PROGRAMS = [
    ("embeddings", "openai", "text-embedding-3-small", """
r = openai.OpenAI().embeddings.create(model=MODEL, input=["one", "two and a half"])
print("GOT", len(r.data))
"""),
    ("text", "openai", "gpt-3.5-turbo-instruct", """
r = openai.OpenAI().completions.create(model=MODEL, prompt=["a", "b"], max_tokens=4, n=2)
print("GOT", r.choices[0].text)
"""),
    ("image", "openai", "gpt-image-1-mini", """
r = openai.OpenAI().images.generate(model=MODEL, prompt="an otter", n=2)
print("GOT", len(r.data))
"""),
    ("image in events", "openai", "gpt-image-1-mini", """
for e in openai.OpenAI().images.generate(model=MODEL, prompt="an otter", stream=True, partial_images=1): pass
print("GOT", e.type)
"""),
    ("edit", "openai", "gpt-image-1-mini", """
import base64
png = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC")
r = openai.OpenAI().images.edit(model=MODEL, prompt="a hat", image=[("a.png", png, "image/png"), ("b.png", png, "image/png")])
print("GOT", len(r.data))
"""),
    ("speech", "openai", "tts-1", """
r = openai.OpenAI().audio.speech.create(model=MODEL, voice="alloy", input="Hello there")
print("GOT", len(r.content))
"""),
    ("whisper", "openai", "whisper-1", WAV + """
r = openai.OpenAI().audio.transcriptions.create(model=MODEL, file=held)
print("GOT", r.text)
"""),
    ("transcription", "openai", "gpt-4o-transcribe", WAV + """
r = openai.OpenAI().audio.transcriptions.create(model=MODEL, file=held, chunking_strategy={"type": "server_vad", "threshold": 0.5}, include=["logprobs"])
print("GOT", r.text)
"""),
    ("transcription in events", "openai", "gpt-4o-transcribe", WAV + """
for e in openai.OpenAI().audio.transcriptions.create(model=MODEL, file=held, stream=True): pass
print("GOT", e.text)
"""),
    ("gemini", "google", "gemini-embedding-001", """
from google import genai
client = genai.Client()
r = client.models.embed_content(model=MODEL, contents=["one", "two"])
print("GOT", len(r.embeddings))
"""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "model", "program"), [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS]
)
def test_an_sdk_gets_its_answer_and_the_books_say_what_was_billed(
    world: World, provider: str, model: str, program: str
) -> None:
    world.agent(budget_nano_usd={Window.DAY: 5 * 10**9})
    proxy = world.proxy()

    done = world.python(f"import openai\nMODEL = {model!r}\n{program}", proxy)

    assert "GOT" in done.stdout
    [billed] = [call["billed"] for call in world.lab.calls() if call["billed"]]
    sheet = BOOK.sheet(provider, model, NOW)
    assert sheet is not None
    cost = sheet.cost_nano_usd(usage_of(billed))
    assert cost > 0
    assert world.books() == {"spent": cost, "calls": 1, "open": 0}
    [row] = rows(world)
    assert row["cost_nano_usd"] <= row["worst_nano_usd"]
    assert row["basis"] == "measured"


def usage_of(billed: dict[str, Any]) -> Usage:
    known = Usage.__dataclass_fields__
    return Usage(**{key: value for key, value in billed.items() if key in known and value})


def rows(world: World) -> list[dict[str, Any]]:
    ledger = world.ledger()
    found = [dict(row) for row in ledger.rows("select * from calls")]
    ledger.close()
    return found


COHERE = {"model": "command-r7b-12-2024", "messages": [{"role": "user", "content": "hello"}]}
RERANK = {"model": "rerank-v3.5", "query": "which?", "documents": ["this", "that"]}
OLLAMA = {"model": "llama3", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("stream", [False, True])
def test_cohere_is_metered_in_its_own_words(world: World, stream: bool) -> None:
    world.policy(
        {"providers": {"cohere": wired(world)}, "agents": {"default": {"max_output_tokens": 50}}}
    )
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()

    [said] = ask(world, proxy, "api.cohere.com", "/v2/chat", COHERE | {"stream": stream})

    assert said["status"] == 200
    [row] = rows(world)
    assert (row["basis"], row["cost_nano_usd"]) == (
        "measured",
        -(-(2 * 37_500 + 5 * 150_000) // 1000),
    )


def test_a_search_unit_has_its_price_and_an_unknown_reranker_a_reason(world: World) -> None:
    world.policy({"providers": {"cohere": wired(world)}})
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()

    [known] = ask(world, proxy, "api.cohere.com", "/v2/rerank", RERANK)
    [unknown] = ask(world, proxy, "api.cohere.com", "/v2/rerank", RERANK | {"model": "rerank-v9"})

    assert known["status"] == 200
    assert world.books()["spent"] == 2_000_000
    assert unknown["status"] == 403
    assert b"No price" in unknown["body"]


def test_ollama_streams_a_line_at_a_time_and_gets_its_output_limit(world: World) -> None:
    own = wired(world) | {
        "hosts": ["ollama.corp.example"], "api": "ollama", "prices": {"*": {"input": 1, "output": 2}},
    }  # fmt: skip
    world.policy({"providers": {"my-ollama": own}, "agents": {"default": {"max_output_tokens": 3}}})
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()

    [said] = ask(world, proxy, "ollama.corp.example", "/api/chat", OLLAMA)

    assert said["status"] == 200
    assert json.loads(said["body"].splitlines()[-1])["eval_count"] == 3
    [row] = rows(world)
    assert (row["basis"], row["cost_nano_usd"]) == ("measured", (2 * 1000 + 3 * 2000))


def test_speech_without_a_bound_is_refused_under_a_budget_with_what_to_set(world: World) -> None:
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()
    body = {"model": "gpt-4o-mini-tts", "input": "hello", "voice": "coral"}

    [refused] = ask(world, proxy, "api.openai.com", "/v1/audio/speech", body)
    world.policy(
        {
            "providers": {
                "openai": {
                    "prices": {"gpt-4o-mini-tts": {"input": 0, "output": 0, "characters": 20}}
                }
            }
        }
    )
    wait(lambda: "Policy reloaded" in proxy.log.read_text())
    [passed] = ask(world, proxy, "api.openai.com", "/v1/audio/speech", body)

    assert refused["status"] == 403
    assert b"by characters" in refused["body"]
    assert passed["status"] == 200
    assert world.books()["spent"] == 5 * 20_000


def test_what_nothing_bounds_passes_without_a_budget_and_costs_what_it_says(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    body = {"model": "gpt-4o-mini-tts", "input": "hello", "voice": "coral"}

    [told] = ask(
        world, proxy, "api.openai.com", "/v1/audio/speech", body | {"stream_format": "sse"}
    )
    [silent] = ask(world, proxy, "api.openai.com", "/v1/audio/speech", body)

    assert (told["status"], silent["status"]) == (200, 200)
    costs = {row["basis"]: row["cost_nano_usd"] for row in rows(world)}
    assert costs == {"measured": 2 * 600 + 100 * 12_000, "reserved": None}


def test_batches_are_refused_with_what_to_do_instead(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [said] = ask(world, proxy, "api.openai.com", "/v1/batches", {"input_file_id": "file-1"})

    assert said["status"] == 403
    assert b"send the calls one by one" in said["body"]


@pytest.mark.parametrize(
    "fields",
    [
        (("model", "whisper-1"), ("model", "gpt-4o-transcribe"), ("file", b"RIFF")),
        (("model", "whisper-1"), ("model[]", "gpt-4o-transcribe"), ("file", b"RIFF")),
        (("mo%64el", "gpt-4o-transcribe"), ("model", "whisper-1"), ("file", b"RIFF")),
    ],
)
def test_a_form_that_can_be_misread_reaches_nobody(
    world: World, fields: tuple[tuple[str, str | bytes], ...]
) -> None:
    world.agent()
    proxy = world.proxy()

    [said] = world.calls(
        proxy, path="/v1/audio/transcriptions",
        body_base64=base64.b64encode(form(*fields)).decode(),
        headers=[["Host", "api.openai.com"], ["Content-Type", FORM]],
    )  # fmt: skip

    assert said["status"] == 400
    assert json.loads(said["body"])["error"]["code"] == "unreadable_request"
    assert world.lab.calls() == []


def test_an_alias_names_its_model_in_a_form(world: World) -> None:
    world.policy({"models": {"ears": {"provider": "openai", "model": "whisper-1"}}})
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()
    program = (
        WAV + "import openai\nopenai.OpenAI().audio.transcriptions.create(model='ears', file=held)"
    )

    world.python(program, proxy)

    [call] = world.lab.calls()
    assert b"\r\n\r\nwhisper-1\r\n" in base64.b64decode(call["body_base64"])
    assert world.books() == {"spent": 300_000, "calls": 1, "open": 0}


def wired(world: World) -> dict[str, Any]:
    return {"connect_to": f"127.0.0.1:{world.lab.port}", "trust": str(world.lab.certificate)}


def ask(
    world: World, proxy: Any, host: str, path: str, body: dict[str, Any]
) -> list[dict[str, Any]]:
    return world.calls(proxy, host=host, path=path, body=json.dumps(body))
