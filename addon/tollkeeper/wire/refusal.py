"""Refusals in the provider's own error shape, so that each SDK raises its own exception.

Sources: https://platform.openai.com/docs/guides/error-codes,
https://docs.anthropic.com/en/api/errors, https://google.aip.dev/193 (``ErrorInfo``),
https://docs.cohere.com/reference/errors, https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from tollkeeper.domain import NANO_PER_USD, NS_PER_SECOND, Code, Dialect, Reason
from tollkeeper.wire.event_stream import message
from tollkeeper.wire.sse import Form

MAX_RETRY_AFTER_SECONDS: Final = 60
"""Some SDKs sleep on whatever they are told, an hour if need be."""

MOST_SAID_BYTES: Final = 2000
"""Of an error that is no JSON object, a gateway's page for example."""

UNANSWERED_CODE: Final = "provider_unreachable"

_STATUS: Final[Mapping[Code, int]] = MappingProxyType(
    {
        Code.UNKNOWN_AGENT: 401,
        Code.AGENT_PAUSED: 403,
        Code.POLICY_DENIED: 403,
        Code.BUDGET_EXHAUSTED: 402,
        Code.RATE_LIMITED: 429,
        Code.APPROVAL_REJECTED: 403,
        Code.APPROVAL_PENDING: 403,
        Code.APPROVAL_LAPSED: 403,
        Code.UNREADABLE_REQUEST: 400,
        Code.UNKNOWN_ENDPOINT: 403,
        Code.POLICY_UNAVAILABLE: 503,
    }
)

_ANTHROPIC_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "api_error",
        529: "overloaded_error",
    }
)
"""Source: https://docs.anthropic.com/en/api/errors#http-errors"""

_OPENAI_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        402: "invalid_request_error",
        403: "invalid_request_error",
        429: "rate_limit_error",
        502: "server_error",
        503: "server_error",
    }
)
"""For 403, what OpenAI says itself where a model is not for this project. litellm, and aider with it, sends
a call nine times in 64 s whose 402 or 403 has any other type.

Source: https://github.com/Aider-AI/aider/issues/604
"""

_GOOGLE_STATUSES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        402: "FAILED_PRECONDITION",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        422: "INVALID_ARGUMENT",
        429: "RESOURCE_EXHAUSTED",
        502: "UNAVAILABLE",
        503: "UNAVAILABLE",
    }
)
"""Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""


_AMAZON_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "ValidationException",
        401: "UnrecognizedClientException",
        402: "ServiceQuotaExceededException",
        403: "AccessDeniedException",
        404: "ResourceNotFoundException",
        429: "ThrottlingException",
        503: "ServiceUnavailableException",
    }
)
"""Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors"""

AMAZONS: Final = frozenset(
    {Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE, Dialect.BEDROCK_NATIVE}
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of our own: HTTP status, headers in order, body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def status_of(code: Code) -> int:
    """The status that says most about a cause; a client's family may need another one."""
    return _STATUS[code]


def refusal(
    dialect: Dialect | None, reason: Reason, call_id: str, *, stream: bool, status: int
) -> Refusal:
    """The answer that refuses a request.

    Args:
        dialect: None where there is no provider's shape to keep.
        reason: Its message reaches the client.
        call_id: For ``x-tollkeeper-id``.
        stream: Whether a stream was asked for. The answer is the same: SDKs read the status of a
            stream before its events.
        status: ``status_of`` the code, or what the client's family needs instead.
    """
    headers = [
        ("content-type", "application/json"),
        ("x-tollkeeper-id", call_id),
        ("cache-control", "no-store"),
    ]
    seconds = retry_after_seconds(reason)
    if seconds is not None and status == 429:
        headers.append(("retry-after", str(seconds)))
    else:
        headers.append(("x-should-retry", "false"))
    if reason.left_nano_usd is not None:
        headers.append(("x-tollkeeper-budget-left-usd", usd(reason.left_nano_usd)))
    if dialect is Dialect.ANTHROPIC:
        headers.append(("request-id", call_id))
    if dialect in AMAZONS:
        default = "InternalServerException" if status >= 500 else "ValidationException"
        headers.append(("x-amzn-errortype", _AMAZON_TYPES.get(status, default)))
        headers.append(("x-amzn-requestid", call_id))
    body = _body(dialect, str(reason.code), reason.message, call_id, status)
    return Refusal(status, headers, _json(body))


def unanswered(dialect: Dialect | None, why: str, call_id: str) -> Refusal:
    """The answer to a call whose provider gave none; unlike a refusal it may be tried again.

    Args:
        why: In the words of whoever tried; it reaches the client.
    """
    text = f"The provider did not answer: {why[:MOST_SAID_BYTES]}"
    body = _body(dialect, UNANSWERED_CODE, text, call_id, 502)
    headers = [("content-type", "application/json"), ("x-tollkeeper-id", call_id)]
    return Refusal(502, headers, _json(body))


def error_event(dialect: Dialect | None, body: bytes, form: Form = Form.EVENTS) -> bytes:
    """An error's body as the event that says it in a stream whose 200 has gone out; the stream ends.

    Args:
        body: Ours or the provider's; what is no JSON object becomes a message.
        form: Of the stream; in an array at least one element stands before.

    Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming#error-events,
    https://platform.openai.com/docs/api-reference/responses-streaming/error,
    https://docs.cohere.com/reference/chat-stream (``message-end``), https://docs.cohere.com/v1/reference/chat-stream
    (``stream-end``), https://github.com/ollama/ollama/blob/main/docs/api.md (``error``)
    """
    error = _error_in(dialect, body)
    if form is Form.ARRAY:
        return b",\n" + _json(error) + b"]"
    if form is Form.LINES or dialect is Dialect.OLLAMA:
        return _json(_last_line(dialect, error["error"].get("message"))) + b"\n"
    if dialect is Dialect.COHERE:
        delta = {"error": error["error"].get("message"), "finish_reason": "ERROR"}
        return (
            b"event: message-end\ndata: " + _json({"type": "message-end", "delta": delta}) + b"\n\n"
        )
    if dialect in AMAZONS:
        return _exception(error)
    if dialect is Dialect.ANTHROPIC:
        return b"event: error\ndata: " + _json(error) + b"\n\n"
    if dialect is Dialect.OPENAI_RESPONSES:
        told = error["error"]
        event = {
            "type": "error",
            "code": told.get("code"),
            "message": told.get("message"),
            "param": told.get("param"),
            "sequence_number": 0,
            "error": told,
        }
        return b"event: error\ndata: " + _json(event) + b"\n\n"
    if dialect is Dialect.OPENAI_REALTIME:
        error = {"type": "error", **error}
    return b"data: " + _json(error) + b"\n\n"


def _last_line(dialect: Dialect | None, message: Any) -> dict[str, Any]:
    """The last object of a stream that has one a line."""
    if dialect is not Dialect.COHERE:
        return {"error": message}
    return {
        "is_finished": True,
        "event_type": "stream-end",
        "finish_reason": "ERROR",
        "error": message,
        "response": {"text": "", "finish_reason": "ERROR"},
    }


def _exception(error: Mapping[str, Any]) -> bytes:
    """An error as a message of an event stream, of a kind that both kinds of stream have.

    Source: https://smithy.io/2.0/aws/amazon-eventstream.html,
    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html
    """
    headers = {
        ":exception-type": "validationException",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(headers, _json({"message": error["error"].get("message")}))


def _error_in(dialect: Dialect | None, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        return found
    if isinstance(found, dict) and isinstance(found.get("message"), str):
        code = found.get("code")
        return {"type": "error", "error": {"type": "api_error", "code": code, **found}}
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        said = found["error"]
        return {
            "type": "error",
            "error": {"type": "api_error", "code": found.get("code"), "message": said},
        }
    text = body[:MOST_SAID_BYTES].decode("utf-8", "replace") or "The provider sent no reason."
    if dialect is Dialect.GEMINI:  # its SDK passes over an error without a number
        return {"error": {"code": 503, "message": text, "status": "UNAVAILABLE"}}
    return {"type": "error", "error": {"type": "api_error", "code": None, "message": text}}


def retry_after_seconds(reason: Reason) -> int | None:
    """Whole seconds that are enough, at least 1; None where waiting helps nothing.

    Above 60 the wait is cut to 60, because clients sleep on whatever they are told.
    """
    if reason.retry_after_ns is None:
        return None
    seconds = -(-reason.retry_after_ns // NS_PER_SECOND)
    return min(max(seconds, 1), MAX_RETRY_AFTER_SECONDS)


def usd(nano_usd: int) -> str:
    """An amount in USD with as many decimals as it needs, at most nine: ``0.5``, ``-0.000000001``."""
    sign = "-" if nano_usd < 0 else ""
    whole, rest = divmod(abs(nano_usd), NANO_PER_USD)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _body(
    dialect: Dialect | None, code: str, said: str, call_id: str, status: int
) -> dict[str, Any]:
    match dialect:
        case Dialect.COHERE:
            return {"id": call_id, "message": said, "code": code}
        case Dialect.OLLAMA:
            return {"error": said, "code": code}
        case None:
            return {"error": {"code": code, "message": said, "id": call_id}}
        case Dialect.ANTHROPIC:
            default = "api_error" if status >= 500 else "invalid_request_error"
            kind = _ANTHROPIC_TYPES.get(status, default)
            return {
                "type": "error",
                "error": {"type": kind, "message": said, "code": code},
                "request_id": call_id,
            }
        case Dialect.GEMINI | Dialect.CODE_ASSIST:
            return {
                "error": {
                    "code": status,
                    "message": said,
                    "status": _GOOGLE_STATUSES.get(status, "FAILED_PRECONDITION"),
                    "details": [
                        {
                            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                            "reason": code.upper(),
                            "domain": "tollkeeper",
                            "metadata": {"id": call_id},
                        }
                    ],
                }
            }
        case _ if dialect in AMAZONS:
            return {"message": said, "code": code}
        case _:
            return {
                "error": {
                    "message": said,
                    "type": _OPENAI_TYPES.get(status, "invalid_request_error"),
                    "param": None,
                    "code": code,
                }
            }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
