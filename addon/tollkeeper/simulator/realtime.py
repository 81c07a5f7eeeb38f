"""OpenAI's Realtime, as simulated: one session on a WebSocket, billed as its guide says.

Audio that comes in is a token for each 100 ms, what is said aloud one for each 50 ms beside the words of
its transcript; a word is said in a quarter of a second. What an earlier response was shown is cached.
Speech is any audio that is not silence (zeros).

Source: https://developers.openai.com/api/docs/guides/realtime-costs,
https://developers.openai.com/api/docs/guides/realtime-vad,
https://developers.openai.com/api/reference/resources/realtime/server-events
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs

from tollkeeper.domain import Usage
from tollkeeper.simulator import realtime_bill
from tollkeeper.simulator.exchange import Exchange, Plan, plan, texts_in
from tollkeeper.simulator.http1 import ClientGone, Received
from tollkeeper.simulator.record import Billed, CallRecord
from tollkeeper.simulator.script import Script, find, parse

SILENCE_MS: Final = 500
MS_OF_A_WORD: Final = 250
TOKENS_OF_A_WORD: Final = 5
BYTES_PER_MS: Final = 48

DEFAULTS: Final[Mapping[str, Any]] = {
    "type": "realtime",
    "object": "realtime.session",
    "output_modalities": ["audio"],
    "instructions": "Your knowledge cutoff is a while ago. You are a helpful and friendly voice.",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "truncation": "auto",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad", "silence_duration_ms": SILENCE_MS,
                "create_response": True, "interrupt_response": True,
            },
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"},
    },
}  # fmt: skip

type Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Desk:
    """What a session needs of the simulator: a record of each response, and what to do with it.

    Attributes:
        opens: A new record of a call with this body.
        closed: The call of a record is over.
        order: The directives that were ordered for a call.
    """

    opens: Callable[[bytes], Awaitable[CallRecord]]
    closed: Callable[[CallRecord], Awaitable[None]]
    order: Callable[[CallRecord], str]


@dataclass(slots=True)
class Session:
    """One connection.

    Attributes:
        items: The conversation: texts and milliseconds of audio, ours at half the length a token.
        buffer_ms: Of audio that is not committed.
        seen_tokens: What the last response was shown.
    """

    model: str
    write: Write
    desk: Desk
    abort: Callable[[], None]
    settings: dict[str, Any] = field(default_factory=lambda: deepcopy(dict(DEFAULTS)))
    items: list[dict[str, Any]] = field(default_factory=list)
    buffer_ms: float = 0.0
    heard_ms: float = 0.0
    speaking: bool = False
    silent_ms: float = 0.0
    seen_tokens: int = 0
    running: asyncio.Task[None] | None = None
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def tell(self, kind: str, **members: Any) -> None:
        """Send an event."""
        event = {"type": kind, "event_id": f"event_sim{next(self.numbers)}"} | members
        await self.write(json.dumps(event).encode())

    async def begin(self) -> None:
        """Say which session this is."""
        self.settings |= {"id": "sess_sim", "model": self.model}
        await self.tell("session.created", session=self.settings)

    async def end(self) -> None:
        """Break off what runs: its client has left."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    async def error(self, event: Mapping[str, Any], code: str, message: str) -> None:
        """Refuse an event."""
        told = {
            "type": "invalid_request_error", "code": code, "message": message, "param": None,
            "event_id": event.get("event_id"),
        }  # fmt: skip
        await self.tell("error", error=told)

    async def take(self, frame: str) -> None:
        """One event of the client's."""
        event = json.loads(frame)
        match event.get("type"):
            case "session.update":
                self.change(event["session"])
                await self.tell("session.updated", session=self.settings)
            case "conversation.item.create":
                item = event["item"] | {"id": f"item_sim{next(self.numbers)}"}
                self.items.append(item)
                await self.tell("conversation.item.added", item=item)
            case "input_audio_buffer.append":
                await self.hear(base64.b64decode(event["audio"]))
            case "input_audio_buffer.commit" if self.buffer_ms < realtime_bill.MS_HEARD:
                await self.error(event, "input_audio_buffer_commit_empty", "The buffer is empty.")
            case "input_audio_buffer.commit":
                await self.commit(f"item_sim{next(self.numbers)}")
            case "input_audio_buffer.clear":
                self.buffer_ms, self.speaking = 0.0, False
                await self.tell("input_audio_buffer.cleared")
            case "response.create" if self.running is not None and not self.running.done():
                code = "conversation_already_has_active_response"
                await self.error(event, code, "A response is in progress.")
            case "response.create":
                await self.respond(event.get("response") or {}, event)
            case "response.cancel":
                await self.cancel("client_cancelled")
            case "conversation.item.delete" | "conversation.item.truncate":
                pass
            case kind:
                await self.error(event, "unknown_event", f"{kind} is not known.")

    def change(self, session: Mapping[str, Any]) -> None:
        """Take over the members that are named, below ``audio`` too."""
        audio = session.get("audio") or {}
        for side in ("input", "output"):
            self.settings["audio"][side] |= audio.get(side) or {}
        self.settings |= {key: value for key, value in session.items() if key != "audio"}

    # -------------------------------------------------------------------------------- what is heard

    async def hear(self, audio: bytes) -> None:
        """Audio into the buffer; its silence after speech ends a turn."""
        length = len(audio) / BYTES_PER_MS
        self.buffer_ms += length
        self.heard_ms += length
        detection = self.settings["audio"]["input"]["turn_detection"]
        if not detection:
            return
        if any(audio):
            self.silent_ms = 0.0
            if not self.speaking:
                self.speaking = True
                await self.tell("input_audio_buffer.speech_started", item_id="item_next")
                if detection.get("interrupt_response", True):
                    await self.cancel("turn_detected")
            return
        self.silent_ms += length
        if self.speaking and self.silent_ms >= detection.get("silence_duration_ms", SILENCE_MS):
            self.speaking = False
            item = f"item_sim{next(self.numbers)}"
            end = int(self.heard_ms)
            await self.tell("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=end)
            await self.commit(item)
            if detection.get("create_response", True):
                await self.respond({}, {})

    async def commit(self, item: str) -> None:
        """The buffer becomes a message of the user's."""
        heard_ms, self.buffer_ms = self.buffer_ms, 0.0
        self.items.append({"type": "message", "role": "user", "heard_ms": heard_ms})
        await self.tell("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        transcription = self.settings["audio"]["input"]["transcription"]
        if transcription:
            await self.write_down(item, heard_ms, transcription)

    async def write_down(self, item: str, heard_ms: float, asked: Mapping[str, Any]) -> None:
        """What another model writes down, billed by its own price: whole seconds, or tokens."""
        body = json.dumps({"type": "transcription"} | dict(asked)).encode()
        call = await self.desk.opens(body)
        usage, billed = realtime_bill.written_down(asked, heard_ms)
        call.billed, call.outcome = Billed(billed, billed.output_tokens or 0), "complete"
        await self.desk.closed(call)
        kind = "conversation.item.input_audio_transcription.completed"
        await self.tell(kind, item_id=item, content_index=0, transcript="said", usage=usage)

    # ------------------------------------------------------------------------------ what is answered

    async def respond(self, asked: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Begin a response, or refuse to where an order says so."""
        told = self.settings | dict(asked)
        items = asked["input"] if asked.get("input") is not None else self.items
        call = await self.desk.opens(json.dumps(event or {"type": "speech"}).encode())
        texts = [
            text for item in items for text in texts_in(item.get("content", item.get("output")))
        ]
        script = parse(f"{self.desk.order(call)} {find(' '.join(texts[-1:]))}")
        if script.status is not None:
            call.status, call.outcome = script.status, "complete"
            await self.desk.closed(call)
            await self.error(event, "server_error", script.message or "Not now.")
            return
        usage = self.shown(told, items)
        speaks = told["output_modalities"] != ["text"]
        limit = told["max_output_tokens"]
        each = 1 + (TOKENS_OF_A_WORD if speaks else 0)
        most = None if limit == "inf" or script.ignore_limit else limit // each
        exchange = Exchange(
            self.model, True, texts[-1] if texts else "", usage.input_tokens or 0, most,
            tools={tool["name"]: tool.get("parameters") or {} for tool in told["tools"]},
        )  # fmt: skip
        call.billed, call.status = Billed(usage), 101
        call.outcome = "client_gone"
        made = plan(exchange, script)
        answer = Answering(self, call, script, made, usage, speaks, dict(asked))
        self.running = asyncio.create_task(answer.run())
        await asyncio.sleep(0)

    def shown(self, told: Mapping[str, Any], items: list[dict[str, Any]]) -> Usage:
        """What a response is shown; the next one finds it cached."""
        usage = realtime_bill.shown(self.model, told, items, self.seen_tokens)
        self.seen_tokens = usage.input_tokens or 0
        return usage

    async def cancel(self, why: str) -> None:
        """Break a response off; what was said is billed."""
        task = self.running
        if task is not None and not task.done():
            task.cancel(why)
            with suppress(asyncio.CancelledError):
                await task


@dataclass(slots=True)
class Answering:
    """One response on its way."""

    session: Session
    call: CallRecord
    script: Script
    planned: Plan
    usage: Usage
    speaks: bool
    asked: Mapping[str, Any]
    said: int = 0

    @property
    def response_id(self) -> str:
        """As the provider would name it."""
        return f"resp_sim{self.call.serial:08d}"

    async def run(self) -> None:
        """Say it piece by piece, and what it came to."""
        status, details = "completed", None
        if self.planned.finish == "length":
            status, details = "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
        try:
            await self.session.tell("response.created", response=self.body("in_progress", None))
            await self.pieces()
        except asyncio.CancelledError as error:
            if not error.args:
                await self.session.desk.closed(self.call)
                raise
            status, details = "cancelled", {"type": "cancelled", "reason": error.args[0]}
        except ClientGone:
            await self.session.desk.closed(self.call)
            return
        self.call.outcome = "complete"
        spoken = {"type": "message", "role": "assistant", "content": [], "said_tokens": self.said}
        if self.asked.get("conversation") != "none":
            self.session.items.append(spoken)
        await self.session.desk.closed(self.call)
        await self.session.tell("response.done", response=self.body(status, details))

    async def pieces(self) -> None:
        """Words, aloud or written, and the arguments of a tool call."""
        at = {"response_id": self.response_id, "item_id": "item_answer", "output_index": 0}
        part = at | {"content_index": 0}
        for number, word in enumerate((*self.planned.words, *self.planned.arguments)):
            if number == self.script.cut:
                self.session.abort()
                await asyncio.sleep(60)
            await asyncio.sleep(self.script.delay if number else 0)
            if number >= len(self.planned.words):
                self.bill(1, 0)
                await self.session.tell("response.function_call_arguments.delta", **at, delta=word)
            elif not self.speaks:
                self.bill(1, 0)
                await self.session.tell("response.output_text.delta", **part, delta=word)
            else:
                self.bill(1, TOKENS_OF_A_WORD)
                sound = base64.b64encode(bytes(MS_OF_A_WORD * BYTES_PER_MS)).decode()
                kind = "response.output_audio_transcript.delta"
                await self.session.tell(kind, **part, delta=word)
                await self.session.tell("response.output_audio.delta", **part, delta=sound)

    def bill(self, written: int, spoken: int) -> None:
        """Count what is generated."""
        self.said += written + spoken
        billed = self.call.billed
        assert billed is not None
        aloud = billed.whole.audio_output_tokens + spoken
        whole = replace(billed.whole, output_tokens=self.said, audio_output_tokens=aloud)
        self.call.billed = Billed(whole, self.said)

    def told(self) -> dict[str, Any]:
        """The usage as ``response.done`` has it."""
        assert self.call.billed is not None
        return realtime_bill.as_told(self.call.billed.usage)

    def body(self, status: str, details: Mapping[str, Any] | None) -> dict[str, Any]:
        """The response as its events have it."""
        done = status != "in_progress"
        return {
            "id": self.response_id, "object": "realtime.response", "status": status,
            "status_details": details, "output": [], "conversation_id": "conv_sim",
            "output_modalities": ["audio"] if self.speaks else ["text"],
            "usage": self.told() if done and not self.script.no_usage else None,
        }  # fmt: skip


def model_of(received: Received) -> str:
    """The model that the URL names."""
    return parse_qs(received.target.partition("?")[2])["model"][0]
