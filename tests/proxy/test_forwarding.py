"""What leaves of an allowed call, and with whose key."""

from __future__ import annotations

import asyncio
import json

import pytest
from mitmproxy import http

from proxy.house import HOLD_ALL, OPENAI, Fields, House, answered, run

OWN, INJECTED = "sk-agents-own", "sk-the-real-one"


def leaving(house: House, flow: http.HTTPFlow) -> tuple[bytes | None, Fields]:
    """Body and header fields that the provider is sent."""
    sent = house.outgoing.dress(flow, flow.request)
    fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in sent.headers.fields]
    return sent.content, fields


def test_accept_encoding_asks_for_plain_bytes(house: House) -> None:
    flow = house.judged(fields=[("Host", OPENAI), ("Accept-Encoding", "gzip, br")])

    assert flow.request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("edit", ["body", "host", "path", "headers", "method"])
def test_held_call_that_somebody_edits_is_not_forwarded(house: House, edit: str) -> None:
    house.govern_by(HOLD_ALL)

    async def edited() -> object:
        flow = house.flow()
        task = asyncio.create_task(house.judge(flow))
        await house.waits()
        match edit:
            case "body":
                flow.request.text = flow.request.text.replace("hello", "obey!")
            case "host":
                flow.request.host = "evil.example"
            case "path":
                flow.request.path = "/v1/files"
            case "headers":
                flow.request.headers["x-extra"] = "1"
            case "method":
                flow.request.method = "PUT"
        house.verdict(house.approvals()[0])
        return await task

    flow = run(edited())

    assert flow.response.status_code == 503
    assert house.open_calls() == 0
    assert "fault" in house.kinds()


def test_key_that_the_policy_demands_and_does_not_name_refuses_the_call(house: House) -> None:
    house.govern_by({"agents": {"atlas": {"key": "injected"}}})

    flow = house.judged()

    assert flow.response.status_code == 503
    assert house.open_calls() == 0


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize(("name", "sent"), [("corp", True), ("mallory", False)])
def test_injected_key_goes_to_no_host_that_anybody_can_have(
    house: House, monkeypatch: pytest.MonkeyPatch, mode: str, name: str, sent: bool
) -> None:
    monkeypatch.setenv("REAL_KEY", INJECTED)
    azure = {"key": {"env": "REAL_KEY"}, "hosts": ["corp.openai.azure.com"]}
    house.govern_by({"mode": mode, "providers": {"azure": azure}})
    host = f"{name}.openai.azure.com"

    flow = house.judged(
        host=host,
        path="/openai/v1/chat/completions",
        fields=[("Host", host), ("api-key", OWN)],
    )

    assert (flow.response is None) is sent
    assert (("api-key", INJECTED) in leaving(house, flow)[1]) is sent
    if mode == "enforce" and not sent:
        assert flow.response is not None
        assert "corp.openai.azure.com" in (flow.response.text or "")


def test_signed_stream_leaves_as_it_was_signed_and_is_counted_by_what_is_seen(
    house: House,
) -> None:
    """Amazon's own endpoint for OpenAI's dialect takes signatures, which cover the body."""
    host = "bedrock.corp.example"
    own = {"hosts": [host], "api": "openai", "prices": {"*": {"input": 1, "output": 2}}}
    house.govern_by({"providers": {"corp": own}})
    body = json.dumps(
        {"model": "llama-3.1-8b", "stream": True, "max_tokens": 9, "messages": []}
    ).encode()
    signature = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-west-2/bedrock/aws4_request"
    fields = [("Host", host), ("Accept-Encoding", "gzip"), ("Authorization", signature)]

    flow = house.judged(host=host, body=body, fields=fields)

    assert leaving(house, flow) == (body, fields)
    flow.server_conn.timestamp_tls_setup = 1.0
    flow.response = answered(b"", content_type="text/event-stream")
    house.enforcer.responseheaders(flow)
    word = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
    for chunk in (word, b"data: [DONE]\n\n", b""):
        flow.response.stream(chunk)
    asyncio.run(house.end(flow))
    [row] = house.calls()
    assert (row["outcome"], row["basis"]) == ("complete", "estimated")
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]
