"""OpenAI's Responses over a WebSocket: a frame that creates a response, and errors as events.

Source: https://developers.openai.com/api/docs/guides/websocket-mode,
https://developers.openai.com/api/reference/resources/responses/websocket-events
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Changes, Dialect, Provider, Reason
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, route
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.document import canonical, read
from tollkeeper.wire.refusal import refusal, status_of
from tollkeeper.wire.talk import Asked, Told

OPERATION: Final = "websocket"
"""The operation of the upgrade itself, which costs nothing."""

_OF_THE_FRAME: Final = frozenset({"type", "event_id", "generate", "stream_id"})
"""Members of a frame that the body of a request does not have."""

_BEGINS: Final = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress)"')
_ENDS: Final = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')
_ERROR: Final = re.compile(rb'"type"\s*:\s*"error"')


class Responses:
    """One connection to OpenAI's Responses: one call at a time, each a frame.

    Attributes:
        opening: Nothing goes before the client's first frame.
    """

    opening: bytes | None = None

    def __init__(self, provider: Provider, path: str) -> None:
        """Follow a connection that was opened at a path of a provider."""
        self.provider = provider
        self.path = path

    def asked(self, frame: bytes, *, busy: bool) -> Asked:
        """The call that a client's frame makes.

        Raises:
            WireError: When it cannot be read, or another call is held or under way.
        """
        if busy:
            raise WireError("Wait for the end of the response before you ask for another.")
        return Asked(frame, *call_in(self.provider, self.path, frame))

    def told(self, frame: bytes) -> Told:
        """What a provider's frame begins, ends or refuses."""
        begins, ends = _BEGINS.search(frame) is not None, _ENDS.search(frame) is not None
        if not begins and not ends and _ERROR.search(frame) is None:
            return Told()
        event = parsed(frame)
        kind, response = event.get("type"), event.get("response")
        named = response.get("id") if isinstance(response, dict) else None
        return Told(
            begins=begins,
            ends=ends,
            failed=kind == "response.failed",
            response=named if isinstance(named, str) else None,
            error=kind == "error",
        )

    def changed(self, call: Call, frame: bytes, changes: Changes) -> bytes:
        """The frame with the model and the output limit that were decided."""
        return route.rewrite(call, frame, "", changes, include_usage=False)[0]

    def flows(self, frame: bytes) -> bool:
        """No: each frame is a call, and each is answered."""
        return False

    def error_frame(self, reason: Reason, call_id: str) -> bytes:
        """A refusal as the provider's own error event."""
        return error_frame(reason, call_id)


def call_in(provider: Provider, path: str, frame: bytes) -> tuple[Inbound, Call]:
    """The call that a client's frame makes, as if it had been the body of a request.

    Raises:
        WireError: One sentence on what cannot be read, and so cannot be metered.
    """
    body = read(frame).values()
    kind = body.get("type")
    if kind != "response.create":
        said = fields.shown(kind)
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


def parsed(frame: bytes) -> dict[str, Any]:
    """A provider's frame, empty where it is no object; an answer is never refused for that."""
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def error_frame(reason: Reason, call_id: str) -> bytes:
    """A refusal as the error event of Responses."""
    status = status_of(reason.code)
    made = refusal(Dialect.OPENAI_RESPONSES, reason, call_id, stream=True, status=status)
    event = {"type": "error", "status": status} | json.loads(made.body)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
