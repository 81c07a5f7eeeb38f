"""Which provider's endpoint a request means, and how that provider would answer it.

Paths decide, hosts only where two providers share a path (model lists, errors).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tollkeeper.domain import Dialect, Usage
from tollkeeper.errors import UsageError
from tollkeeper.simulator import (
    anthropic_messages,
    bedrock,
    gemini,
    gemini_caches,
    openai_chat,
    openai_responses,
    plans,
    tasks,
)
from tollkeeper.simulator.exchange import Answer, Exchange, Frame, plan, usage
from tollkeeper.simulator.frames import JSON, dump
from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.script import Script, find, parse
from tollkeeper.wire.event_stream import CONTENT_TYPE

_VERTEX = r"(?:/projects/[^/]+/locations/[^/]+)?/publishers"
_GEMINI = re.compile(
    rf"/v1(?:beta1?|alpha)?(?:{_VERTEX}/google)?/(?:models|tunedModels)/(?P<model>[^:/]+):(?P<verb>\w+)"
)
_VERTEX_CLAUDE = re.compile(
    rf"/v1(?:beta1)?{_VERTEX}/anthropic/models/(?P<model>[^:/]+):(?P<verb>\w+)"
)
_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<model>[^/]+)/.*")
_MODEL_LIST = re.compile(r"(?P<prefix>.*/v1(?:beta|alpha)?)/models(?:/(?P<model>[^:]+))?")
_TELEMETRY = re.compile(
    r"/v1/traces/ingest|/api/(?:event_logging|eval|claude_code|claude_cli)/.*|/log"
)
_MODELS = {
    "openai": ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o3"),
    "anthropic": ("claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5"),
    "gemini": ("gemini-2.5-pro", "gemini-2.5-flash"),
}
_AMAZON_NAMES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_HEALTHY = Script()
_EPOCH_S = 1_700_000_000
_STATUS_NAMES = {
    400: ("invalid_request_error", "INVALID_ARGUMENT"),
    401: ("authentication_error", "UNAUTHENTICATED"),
    403: ("permission_error", "PERMISSION_DENIED"),
    404: ("not_found_error", "NOT_FOUND"),
    413: ("request_too_large", "INVALID_ARGUMENT"),
    429: ("rate_limit_error", "RESOURCE_EXHAUSTED"),
    500: ("api_error", "INTERNAL"),
    503: ("api_error", "UNAVAILABLE"),
    529: ("overloaded_error", "UNAVAILABLE"),
}


@dataclass(frozen=True, slots=True)
class Simulated:
    """How one request is answered.

    Attributes:
        usage: What the whole answer bills; None for what is free.
    """

    answer: Answer
    script: Script = _HEALTHY
    usage: Usage | None = None
    dialect: Dialect | None = None


def simulate(received: Received, host: str, order: str, serial: int) -> Simulated:
    """What to answer to one request; ``order`` are directives that go before the prompt's own."""
    now_s = received.received_ns // 1_000_000_000
    family = family_of(received, host)
    if _TELEMETRY.fullmatch(received.path):
        return Simulated(Answer(200, (("Content-Type", JSON),), (Frame(b"{}"),)))
    if beside := plans.side_answer(received):
        return Simulated(beside)
    if gemini_caches.PATH.fullmatch(received.path):
        return _cache(received, serial, family)
    if received.method == "GET":
        return Simulated(_models(received, host, family) or error(family, 404, "No such path."))
    try:
        told = tasks.simulate(received) if not order else None
        if told is not None:
            return Simulated(told[0], usage=told[1])
        body = json.loads(plans.unpacked(received))
        return _call(received, body, order, serial, now_s, family)
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as e:
        sentence = f"missing {e}" if isinstance(e, KeyError) else str(e)
        return Simulated(error(family, 400, f"Invalid request: {sentence}"))


def _cache(received: Received, serial: int, family: str) -> Simulated:
    try:
        kept = gemini_caches.simulate(received, serial)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        return Simulated(error(family, 400, f"Invalid request: {e}"))
    assert kept is not None
    return Simulated(kept[0], usage=kept[1])


def key_of(received: Received) -> str | None:
    """The key that the client sent, wherever its provider wants it."""
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if value := received.header(name):
            return value
    bearer = received.header("authorization") or ""
    if bearer.lower().startswith("bearer "):
        return bearer[7:].strip()
    query = parse_qs(received.target.partition("?")[2])
    return query["key"][0] if "key" in query else None


def family_of(received: Received, host: str) -> str:
    """``openai``, ``anthropic``, ``gemini`` or ``bedrock``: whose shapes to answer in."""
    if host.endswith((".amazonaws.com", ".api.aws")):
        return "bedrock"
    if "/publishers/anthropic/" in received.path:
        return "anthropic"
    if host.endswith("googleapis.com") or received.header("x-goog-api-key"):
        return "gemini"
    if host.endswith("anthropic.com") or received.header("anthropic-version"):
        return "anthropic"
    return "openai"


def error(
    family: str, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """An error in the provider's own shape.

    Source: https://platform.openai.com/docs/guides/error-codes
    Source: https://docs.anthropic.com/en/api/errors
    Source: https://cloud.google.com/apis/design/errors
    """
    kind, name = _STATUS_NAMES.get(status, _STATUS_NAMES[500 if status >= 500 else 400])
    body: dict[str, Any]
    match family:
        case "anthropic":
            body = {"type": "error", "error": {"type": kind, "message": message}}
            body["request_id"] = "req_simulated"
        case "gemini":
            body = {"error": {"code": status, "message": message, "status": name}}
        case "bedrock":
            body = {"message": message}
            headers = (
                *headers,
                ("x-amzn-ErrorType", _AMAZON_NAMES.get(status, "InternalServerException")),
            )
        case _:
            code = "invalid_api_key" if status == 401 else None
            kind = "invalid_request_error" if status < 429 else kind
            body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status, (("Content-Type", JSON), *headers), (Frame(dump(body)),))


def refused_key(family: str) -> Answer:
    """What a provider says to a key it does not know."""
    if family == "gemini":
        return error(family, 400, "API key not valid. Please pass a valid API key.")
    return error(family, 401, "Incorrect API key provided.")


def _call(
    received: Received, body: dict[str, Any], order: str, serial: int, now_s: int, family: str
) -> Simulated:
    path = received.path
    at = _GEMINI.fullmatch(path)
    exchange: Exchange
    if deployed := _DEPLOYMENT.fullmatch(path):
        body = {"model": deployed["model"]} | body
    if amazons := bedrock.PATH.fullmatch(path):
        if told := bedrock.made(body, amazons["model"]):
            return Simulated(told[0], usage=told[1])
        exchange, dialect = bedrock.read(body, amazons["model"], amazons["verb"], serial, now_s)
    elif claude := _VERTEX_CLAUDE.fullmatch(path):
        _ = body["anthropic_version"]
        streamed = {"rawPredict": False, "streamRawPredict": True}[claude["verb"]]
        whole = body | {"model": claude["model"], "stream": streamed}
        exchange, dialect = anthropic_messages.read(whole, serial, now_s), Dialect.ANTHROPIC
    elif at:
        model, verb = at["model"], at["verb"]
        if verb == "countTokens":
            return _free(gemini.count_answer(gemini.read_count(body, model)))
        sse = parse_qs(received.target.partition("?")[2]).get("alt") == ["sse"]
        streams = {"generateContent": False, "streamGenerateContent": True}
        exchange = gemini.read(body, model, serial, now_s, stream=streams[verb], sse=sse)
        dialect = Dialect.GEMINI
    elif at := plans.CODE_ASSIST.fullmatch(path):
        model, inner = plans.unwrapped(body)
        if at["verb"] == "countTokens":
            return _free(gemini.count_answer(gemini.read_count(inner, model)))
        sse = parse_qs(received.target.partition("?")[2]).get("alt") == ["sse"]
        stream = at["verb"] == "streamGenerateContent"
        exchange = gemini.read(inner, model, serial, now_s, stream=stream, sse=sse)
        dialect = Dialect.CODE_ASSIST
    elif path.endswith("/messages/count_tokens"):
        return _free(
            anthropic_messages.count_answer(
                anthropic_messages.read(body, serial, now_s, counting=True)
            )
        )
    elif path.endswith("/responses/input_tokens"):
        return _free(openai_responses.count_answer(openai_responses.read(body, serial, now_s)))
    elif path.endswith("/chat/completions"):
        exchange, dialect = openai_chat.read(body, serial, now_s), Dialect.OPENAI_CHAT
    elif path.endswith("/responses"):
        exchange, dialect = openai_responses.read(body, serial, now_s), Dialect.OPENAI_RESPONSES
    elif path.endswith("/messages"):
        exchange, dialect = anthropic_messages.read(body, serial, now_s), Dialect.ANTHROPIC
    else:
        return Simulated(error(family, 404, f"Unknown path {path}."))
    script = parse(f"{find(exchange.last_text)} {order}")
    return _answered(received, exchange, script, dialect, family)


def _answered(
    received: Received, exchange: Exchange, script: Script, dialect: Dialect, family: str
) -> Simulated:
    if script.status is not None:
        headers = (("Retry-After", script.retry_after),) if script.retry_after else ()
        message = script.message or f"Simulated error {script.status}."
        return Simulated(error(family, script.status, message, headers), script, None, dialect)
    planned = plan(exchange, script)
    billed = usage(exchange, script, planned)
    if script.raw is not None:
        frame = Frame(script.raw_body, billed.output_tokens or 0)
        kind = "text/event-stream" if exchange.stream else JSON
        if exchange.stream and family == "bedrock":
            kind = CONTENT_TYPE
        raw = Answer(200, (("Content-Type", kind),), (frame,))
        return Simulated(raw, script, billed, dialect)
    match dialect:
        case Dialect.OPENAI_CHAT:
            said = openai_chat.answer(exchange, script, planned, billed)
        case Dialect.OPENAI_RESPONSES:
            said = openai_responses.answer(exchange, script, planned, billed)
        case Dialect.ANTHROPIC:
            plain = anthropic_messages.answer(exchange, script, planned, billed)
            said = plans.with_plan(plain, received, script.plan)
        case Dialect.BEDROCK_CONVERSE | Dialect.BEDROCK_INVOKE | Dialect.BEDROCK_NATIVE:
            said = bedrock.answer(exchange, script, planned, billed, dialect)
        case Dialect.GEMINI:
            said = gemini.answer(exchange, script, planned, billed)
        case Dialect.CODE_ASSIST:
            said = plans.wrapped(gemini.answer(exchange, script, planned, billed))
    return Simulated(said, script, billed, dialect)


def _free(body: dict[str, Any]) -> Simulated:
    return Simulated(Answer(200, (("Content-Type", JSON),), (Frame(dump(body)),)))


def _models(received: Received, host: str, family: str) -> Answer | None:
    asked = _MODEL_LIST.fullmatch(received.path)
    if not asked:
        return None
    described = [_model(family, name) for name in _MODELS[family]]
    body: dict[str, Any]
    if asked["model"]:
        body = _model(family, asked["model"])
    elif family == "anthropic":
        ids = _MODELS[family]
        body = {"data": described, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}
    elif family == "gemini":
        body = {"models": described}
    else:
        body = {"object": "list", "data": described}
    return Answer(200, (("Content-Type", JSON),), (Frame(dump(body)),))


def _model(family: str, name: str) -> dict[str, Any]:
    match family:
        case "anthropic":
            return {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2025-01-01T00:00:00Z",
                "lifecycle": "active",
            }
        case "gemini":
            return {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name,
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
    return {"id": name, "object": "model", "created": _EPOCH_S, "owned_by": "simulated"}
