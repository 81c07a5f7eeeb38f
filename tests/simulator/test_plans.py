"""What the simulated subscription backends say."""

from __future__ import annotations

import json

import pytest
import zstandard

from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.providers import simulate

INNER = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
ENVELOPE = json.dumps({"model": "gemini-2.5-pro", "request": INNER}).encode()


def received(target: str, body: bytes = b"", method: str = "POST", **headers: str) -> Received:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Received(method, target, b"", named, body, 10**18)


def said(request: Received, host: str = "cloudcode-pa.googleapis.com") -> bytes:
    return b"".join(frame.data for frame in simulate(request, host, "", 1).answer.frames)


@pytest.mark.parametrize(
    ("target", "start"),
    [
        ("/v1internal:generateContent", b'{"response":{"candidates"'),
        ("/v1internal:streamGenerateContent?alt=sse", b'data: {"response":{"candidates"'),
        ("/v1internal:streamGenerateContent", b'[{"response":{"candidates"'),
        ("/v1internal:countTokens", b'{"totalTokens"'),
    ],
)
def test_code_assist_answers_in_its_envelope(target: str, start: bytes) -> None:
    assert said(received(target, ENVELOPE)).startswith(start)


def test_array_of_envelopes_is_json() -> None:
    whole = json.loads(said(received("/v1internal:streamGenerateContent", ENVELOPE)))

    assert whole[-1]["response"]["usageMetadata"]["totalTokenCount"] > 0


def test_packed_body_is_read_and_a_broken_one_is_refused() -> None:
    packed = zstandard.compress(json.dumps({"model": "gpt-5.4", "input": "hi"}).encode())
    path, host = "/backend-api/codex/responses", "chatgpt.com"

    whole = said(received(path, packed, content_encoding="zstd"), host)
    broken = simulate(received(path, b"no", content_encoding="zstd"), host, "", 1)

    assert b'"usage"' in whole
    assert broken.answer.status == 400


def test_account_that_asks_is_among_those_that_are_told() -> None:
    asked = received("/backend-api/wham/accounts/check", method="GET", chatgpt_account_id="a1")

    assert json.loads(said(asked, "chatgpt.com"))["accounts"][0]["id"] == "a1"
