"""The real SDKs read our refusals: their own exception, our sentence, and no second request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors

from tollkeeper.domain import Code, Dialect, Effect, Reason
from tollkeeper.wire.refusal import error_event, refusal, status_of
from tollkeeper.wire.sse import Form

with_cohere = pytest.mark.skipif(find_spec("cohere") is None, reason="cohere is not installed")
with_ollama = pytest.mark.skipif(find_spec("ollama") is None, reason="ollama is not installed")

SENTENCE = "agents.atlas.budget_usd.day: 5 USD are spent; it resets at 00:00 UTC."


@dataclass
class Answering:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    requests: int = 0
    url: str = ""
    paths: list[str] = field(default_factory=list)


@contextmanager
def server(answer: Answering) -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            answer.requests += 1
            answer.paths.append(self.path)
            self.send_response(answer.status)
            for name, value in [*answer.headers, ("content-length", str(len(answer.body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answer.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield answer
    finally:
        http.shutdown()
        http.server_close()


def chat(url: str, *, stream: bool = False) -> None:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1")
    list(
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
    )


def chat_async(url: str, *, stream: bool = False) -> None:
    async def call() -> None:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1")
        await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )

    asyncio.run(call())


def responses(url: str, *, stream: bool = False) -> None:
    client = openai.OpenAI(api_key="k", base_url=f"{url}/v1")
    list(client.responses.create(model="m", input="hi", stream=stream))


def messages(url: str, *, stream: bool = False) -> None:
    client = anthropic.Anthropic(api_key="k", base_url=url)
    list(
        client.messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "hi"}], stream=stream
        )
    )


def gemini(url: str, *, stream: bool = False) -> None:
    client = genai.Client(api_key="k", http_options=genai.types.HttpOptions(base_url=url))
    if stream:
        list(client.models.generate_content_stream(model="gemini-2.5-pro", contents="hi"))
    else:
        client.models.generate_content(model="gemini-2.5-pro", contents="hi")


CALLS = [
    pytest.param(Dialect.OPENAI_CHAT, chat, openai, id="openai-chat"),
    pytest.param(Dialect.OPENAI_CHAT, chat_async, openai, id="openai-chat-async"),
    pytest.param(Dialect.OPENAI_RESPONSES, responses, openai, id="openai-responses"),
    pytest.param(Dialect.ANTHROPIC, messages, anthropic, id="anthropic"),
]


def answering(dialect: Dialect, code: Code, status: int | None = None) -> Answering:
    reason = Reason(Effect.DENY, code, "agents.atlas", SENTENCE)
    refused = refusal(dialect, reason, "call-1", stream=False, status=status or status_of(code))
    return Answering(refused.status, refused.headers, refused.body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "exception"),
    [
        (Code.UNKNOWN_AGENT, None, "AuthenticationError"),
        (Code.POLICY_DENIED, None, "PermissionDeniedError"),
        (Code.POLICY_DENIED, 400, "BadRequestError"),
        (Code.BUDGET_EXHAUSTED, None, "APIStatusError"),
        (Code.RATE_LIMITED, None, "RateLimitError"),
        (Code.UNREADABLE_REQUEST, None, "BadRequestError"),
        (Code.POLICY_UNAVAILABLE, None, "InternalServerError"),
    ],
)
@pytest.mark.parametrize(("dialect", "call", "sdk"), CALLS)
def test_the_sdk_raises_its_own_exception_with_our_sentence_and_tries_once(
    dialect: Dialect,
    call: Callable[..., None],
    sdk: Any,
    code: Code,
    status: int | None,
    exception: str,
    stream: bool,
) -> None:
    with (
        server(answering(dialect, code, status)) as at,
        pytest.raises(getattr(sdk, exception)) as caught,
    ):
        call(at.url, stream=stream)

    assert SENTENCE in str(caught.value)
    assert caught.value.status_code == at.status
    assert caught.value.body is not None
    assert str(code) in json.dumps(caught.value.body)
    assert at.requests == 1


def test_openai_finds_the_code_where_it_looks_for_it() -> None:
    with (
        server(answering(Dialect.OPENAI_CHAT, Code.BUDGET_EXHAUSTED)) as at,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        chat(at.url)

    assert caught.value.code == "budget_exhausted"
    assert caught.value.request_id is None or caught.value.request_id


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "exception"),
    [
        (Code.POLICY_DENIED, google_errors.ClientError),
        (Code.BUDGET_EXHAUSTED, google_errors.ClientError),
        (Code.RATE_LIMITED, google_errors.ClientError),
        (Code.POLICY_UNAVAILABLE, google_errors.ServerError),
    ],
)
def test_google_genai_raises_its_own_exception_with_our_sentence_and_tries_once(
    code, exception, stream
) -> None:
    with server(answering(Dialect.GEMINI, code)) as at, pytest.raises(exception) as caught:
        gemini(at.url, stream=stream)

    assert SENTENCE in str(caught.value)
    assert caught.value.code == at.status
    assert at.requests == 1


@pytest.mark.parametrize(("dialect", "call", "sdk"), CALLS[:1] + CALLS[2:])
def test_a_refusal_inside_a_stream_is_raised_too(
    dialect: Dialect, call: Callable[..., None], sdk: Any
) -> None:
    refused = answering(dialect, Code.APPROVAL_REJECTED)
    events = Answering(
        200, [("content-type", "text/event-stream")], error_event(dialect, refused.body)
    )

    with server(events) as at, pytest.raises(sdk.APIError) as caught:
        call(at.url, stream=True)

    assert SENTENCE in str(caught.value)


def test_a_refusal_inside_a_gemini_stream_is_raised_too() -> None:
    refused = answering(Dialect.GEMINI, Code.APPROVAL_REJECTED)
    events = Answering(
        200, [("content-type", "text/event-stream")], error_event(Dialect.GEMINI, refused.body)
    )

    with server(events) as at, pytest.raises(google_errors.APIError) as caught:
        gemini(at.url, stream=True)

    assert SENTENCE in str(caught.value)


COHERE_V2 = b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"hi"}}}}\n\n'
COHERE_V1 = b'{"event_type":"text-generation","text":"hi","is_finished":false}\n'


@with_cohere
def test_a_refusal_inside_coheres_stream_is_its_end_with_our_sentence() -> None:
    import cohere

    refused = answering(Dialect.COHERE, Code.BUDGET_EXHAUSTED)
    kind = [("content-type", "text/event-stream")]
    with server(Answering(200, kind, COHERE_V2 + error_event(Dialect.COHERE, refused.body))) as at:
        client = cohere.ClientV2("key", base_url=at.url)
        events = list(client.chat_stream(model="m", messages=[{"role": "user", "content": "x"}]))

    assert [event.type for event in events] == ["content-delta", "message-end"]
    assert events[-1].delta.error == SENTENCE
    assert events[-1].delta.finish_reason == "ERROR"


@with_cohere
def test_a_refusal_inside_coheres_older_stream_is_its_end_with_our_sentence() -> None:
    import cohere

    refused = answering(Dialect.COHERE, Code.BUDGET_EXHAUSTED)
    line = error_event(Dialect.COHERE, refused.body, Form.LINES)
    with server(
        Answering(200, [("content-type", "application/stream+json")], COHERE_V1 + line)
    ) as at:
        client = cohere.Client("key", base_url=at.url)
        events = list(client.chat_stream(model="m", message="x"))

    assert [event.event_type for event in events] == ["text-generation", "stream-end"]
    assert (events[-1].finish_reason, events[-1].error) == ("ERROR", SENTENCE)


@with_ollama
def test_a_refusal_inside_ollamas_stream_is_raised() -> None:
    import ollama

    refused = answering(Dialect.OLLAMA, Code.BUDGET_EXHAUSTED)
    line = error_event(Dialect.OLLAMA, refused.body, Form.LINES)
    begun = b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}\n'
    with server(Answering(200, [("content-type", "application/x-ndjson")], begun + line)) as at:
        client = ollama.Client(at.url)
        stream = client.chat("m", [{"role": "user", "content": "x"}], stream=True)
        seen = [next(stream).message.content]
        with pytest.raises(ollama.ResponseError) as caught:
            next(stream)

    assert seen == ["hi"]
    assert caught.value.error == SENTENCE
