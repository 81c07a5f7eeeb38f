"""Background responses, as simulated: taken in, worked on while they are asked for, then whole.

Source: https://platform.openai.com/docs/guides/background
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tollkeeper.simulator.exchange import Answer, Frame
from tollkeeper.simulator.frames import EVENT_STREAM, JSON, dump, event
from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.providers import Simulated, error

_PATH = re.compile(r"(?:/openai)?(?:/v1)?/responses/(?P<id>resp_\w+)(?P<cancel>/cancel)?")
_MOST = 1000


@dataclass(slots=True)
class _Kept:
    whole: dict[str, Any]
    polls: int
    status: str = "queued"

    def told(self) -> dict[str, Any]:
        """The response as it stands; what is not whole has neither output nor usage."""
        if self.status == self.whole["status"]:
            return self.whole
        return self.whole | {"status": self.status, "output": [], "usage": None}


class Background:
    """The responses that clients may ask for."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def take(self, received: Received, simulated: Simulated) -> Simulated:
        """Answer with what a background call is told at first; other calls as they are."""
        if not received.path.endswith("/responses") or simulated.usage is None:
            return simulated
        if b'"background"' not in received.body or not json.loads(received.body).get("background"):
            return simulated
        data = b"".join(frame.data for frame in simulated.answer.frames)
        if simulated.answer.streamed:
            data = data.rpartition(b"\ndata: ")[2]
            whole = json.loads(data)["response"]
        else:
            whole = json.loads(data)
        whole |= {"background": True}
        if len(self._kept) >= _MOST:
            self._kept.clear()
        kept = self._kept[whole["id"]] = _Kept(whole, simulated.script.polls)
        if simulated.answer.streamed:
            return simulated
        return Simulated(_json(kept.told()), simulated.script, simulated.usage, simulated.dialect)

    def asked(self, received: Received) -> Simulated | None:
        """The answer to a request for a kept response; None for other requests."""
        at = _PATH.fullmatch(received.path)
        if at is None or received.method not in ("GET", "POST"):
            return None
        kept = self._kept.get(at["id"])
        if kept is None:
            return Simulated(error("openai", 404, "No such response."))
        if at["cancel"]:
            kept.status = "cancelled"
        elif kept.status in ("queued", "in_progress"):
            kept.status = "in_progress" if kept.polls > 0 else kept.whole["status"]
            kept.polls -= 1
        if parse_qs(received.target.partition("?")[2]).get("stream") == ["true"]:
            data = {"type": "response.completed", "sequence_number": 9, "response": kept.whole}
            frame = Frame(event(data, "response.completed"))
            return Simulated(
                Answer(200, (("Content-Type", EVENT_STREAM),), (frame,), streamed=True)
            )
        return Simulated(_json(kept.told()))


def _json(body: dict[str, Any]) -> Answer:
    return Answer(200, (("Content-Type", JSON),), (Frame(dump(body)),))
