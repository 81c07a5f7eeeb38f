"""The real SDKs read our refusals: their own exception, our sentence, and no second request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors

from tollkeeper.domain import Code, Dialect, Effect, Reason
from tollkeeper.wire.refusal import error_event, refusal, status_of

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
