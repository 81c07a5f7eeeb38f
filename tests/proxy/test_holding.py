"""Who is kept waiting by heartbeats, and what is said in a stream that has begun."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from mitmproxy import http

from proxy.house import House, answered
from tollkeeper.domain import Dialect
from tollkeeper.errors import WireError
from tollkeeper.proxy.holding import fits_begun_stream, in_events, kept_waiting
from tollkeeper.proxy.layers import STREAMS, GovernedStream

AMAZONS = {Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE, Dialect.BEDROCK_NATIVE}
WITHOUT_BEATS = {Dialect.COHERE, Dialect.OLLAMA}
"""Their streams may be lines, where a heartbeat would be no object, so that none is begun before the answer."""

STREAM = {
    "model": "gpt-4o-mini",
    "max_tokens": 10,
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}


@pytest.fixture
def stream() -> GovernedStream:
    return object.__new__(GovernedStream)


def asked(
    house: House,
    ours: GovernedStream,
    agent: str = "OpenAI/Python 3.0",
    **body: Any,
) -> http.HTTPFlow:
    """A judged flow of this client, on a stream of ours."""
    flow = house.flow(client=house.connected(), body=STREAM | body)
    flow.request.headers["user-agent"] = agent
    STREAMS[flow.id] = ours
    return flow


def judged(house: House, flow: http.HTTPFlow) -> GovernedStream | None:
    asyncio.run(house.judge(flow))
    return kept_waiting(flow, house.enforcer.passages[flow])


def test_streaming_sdk_is_kept_waiting(house: House, stream: GovernedStream) -> None:
    assert judged(house, asked(house, stream)) is stream


@pytest.mark.parametrize("agent", ["codex_cli_rs/0.169", "claude-cli/2.1", "curl/8", ""])
def test_client_that_was_not_measured_to_bear_heartbeats_is_not(
    house: House, stream: GovernedStream, agent: str
) -> None:
    assert judged(house, asked(house, stream, agent)) is None


def test_client_that_reads_no_events_is_not(house: House, stream: GovernedStream) -> None:
    assert judged(house, asked(house, stream, stream=False)) is None


@pytest.mark.parametrize("dialect", sorted(AMAZONS))
def test_client_of_an_event_stream_reads_no_empty_events(
    house: House, stream: GovernedStream, dialect: Dialect
) -> None:
    flow = asked(house, stream)
    asyncio.run(house.judge(flow))
    passage = house.enforcer.passages[flow]
    assert passage.call is not None
    passage.call = replace(passage.call, dialect=dialect)

    assert kept_waiting(flow, passage) is None


def test_http_1_0_has_no_chunks_to_beat_in(house: House, stream: GovernedStream) -> None:
    flow = asked(house, stream)
    flow.request.http_version = "HTTP/1.0"

    assert judged(house, flow) is None


def test_flow_on_no_stream_of_ours_is_not(house: House, stream: GovernedStream) -> None:
    flow = asked(house, stream)
    del STREAMS[flow.id]

    assert judged(house, flow) is None


@pytest.mark.parametrize(
    "body", [b"<html>Bad gateway</html>", b"", b"[1]", b'{"error": "text"}', b"\xff"]
)
@pytest.mark.parametrize("dialect", [*sorted(set(Dialect) - AMAZONS - WITHOUT_BEATS), None])
def test_error_of_any_shape_becomes_one_event(dialect: Dialect | None, body: bytes) -> None:
    event = in_events(dialect, answered(body, status=502)).decode()

    data = event.rstrip("\n").rpartition("data: ")[2]
    assert event.endswith("\n\n")
    assert json.loads(data)["error"]["message"]


def test_encoded_answer_does_not_fit_a_stream_that_has_begun(
    house: House, stream: GovernedStream
) -> None:
    flow = asked(house, stream)
    flow.response = answered()
    flow.response.headers["content-encoding"] = "gzip"
    fits_begun_stream(flow)

    stream.opened = True
    with pytest.raises(WireError, match="gzip"):
        fits_begun_stream(flow)
    flow.response.headers["content-encoding"] = "identity"
    fits_begun_stream(flow)
