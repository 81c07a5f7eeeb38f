"""OpenAI's Responses over a WebSocket: a frame that creates a response, and errors as events.

Source: https://developers.openai.com/api/docs/guides/websocket-mode,
https://developers.openai.com/api/reference/resources/responses/websocket-events
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect, Provider, Reason
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.document import canonical, read
from tollkeeper.wire.refusal import refusal, status_of

OPERATION: Final = "websocket"
"""The operation of the upgrade itself, which costs nothing."""

_OF_THE_FRAME: Final = frozenset({"type", "event_id", "generate", "stream_id"})
"""Members of a frame that the body of a request does not have."""

_BEGINS: Final = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress)"')
_ERROR: Final = re.compile(rb'"type"\s*:\s*"error"')


def call_in(provider: Provider, path: str, frame: bytes) -> tuple[Inbound, Call]:
    """The call that a client's frame makes, as if it had been the body of a request.

    Raises:
        WireError: One sentence on what cannot be read, and so cannot be metered.
    """
    body = read(frame).values()
    kind = body.get("type")
    if kind != "response.create":
        said = kind[:64] if isinstance(kind, str) else "of no type"
        raise WireError(
            f"Over a WebSocket only response.create is metered; a frame {said} is not forwarded."
        )
    if "response" in body:
        raise WireError("Put what response.create asks for beside its type, not under response.")
    if body.get("background"):
        raise WireError("A background call is sent over HTTPS.")
    plain = canonical({key: value for key, value in body.items() if key != "type"})
    inbound = Inbound(provider, "POST", path, "", {}, plain.encode("utf-8", "surrogatepass"))
    endpoint = route.recognise(provider, "POST", path)
    if endpoint is None or endpoint.dialect is not Dialect.OPENAI_RESPONSES:
        raise WireError("No calls are read on this path over a WebSocket.")
    call = route.parse(inbound, endpoint)
    unknown = tuple(key for key in call.unknown_parameters if key not in _OF_THE_FRAME)
    return inbound, replace(call, stream=True, unknown_parameters=unknown)


def begins_response(frame: bytes) -> bool:
    """Whether the provider has begun to answer."""
    return _BEGINS.search(frame) is not None


def is_error(frame: bytes) -> bool:
    """Whether the provider refuses a frame, or breaks an answer off."""
    if _ERROR.search(frame) is None:
        return False
    try:
        event: Any = json.loads(frame)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("type") == "error"


def as_event(frame: bytes) -> bytes:
    """The provider's frame as the event of a stream that says the same."""
    return b"data: " + frame.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


def as_frame(event: bytes) -> bytes:
    """The data of one event of a stream."""
    return event.partition(b"data: ")[2].strip()


def error_frame(reason: Reason, call_id: str) -> bytes:
    """A refusal as the provider's own error event."""
    status = status_of(reason.code)
    made = refusal(Dialect.OPENAI_RESPONSES, reason, call_id, stream=True, status=status)
    event = {"type": "error", "status": status} | json.loads(made.body)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
