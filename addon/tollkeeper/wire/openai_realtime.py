"""OpenAI's Realtime over a WebSocket: a conversation whose every response is a call.

Who begins a response
    By default the provider answers by itself whenever it hears a turn end (voice detection,
    ``turn_detection.create_response``): one frame of audio could set off more than one response, and
    at any moment, so nothing could be reserved that is sure to cover them and does not lie idle the
    rest of the time. So the provider never begins one here. Voice detection stays on, and keeps
    interrupting; only ``create_response`` is set to false, once before the client's first frame and in
    each ``session.update`` that names a turn detection. When the provider says that it has heard
    a turn (``speech_stopped``, then ``committed``), the call is admitted like any other, and its
    ``response.create`` is sent from here. That is the provider's own documented way to look at a turn
    before it is answered. It costs one way to the provider and back, and lets a person be asked. A response that
    begins all the same ends the connection.
    Source: https://developers.openai.com/api/docs/guides/realtime-vad,
    https://developers.openai.com/api/docs/guides/realtime-conversations (keep VAD, disable automatic
    responses)

One at a time
    A response is asked for when none is under way, also out of band (``conversation: none``).

Whose error it is
    Errors name the event that caused them. Each ``response.create`` and ``session.update`` leaves with an
    id of ours, which no client can give to another event, so that an error about something else never
    ends a call or takes back a change; the client is shown its own.
    Source: https://developers.openai.com/api/reference/resources/realtime/server-events (``error``)
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Changes, Dialect, Provider, Reason
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.document import Document, canonical, encoded, read, splice
from tollkeeper.wire.realtime_session import (
    Conversation,
    Settings,
    check_response,
    output_limit,
    tool_names,
    turn_detection,
)
from tollkeeper.wire.realtime_transcripts import call_for, written_in
from tollkeeper.wire.refusal import refusal, status_of
from tollkeeper.wire.talk import Asked, Sound, Told

OPERATION: Final = "realtime"

_OURS: Final = "tollkeeper_"
_OPENING: Final = f"{_OURS}opening"
_MOST_REMEMBERED: Final = 256
"""Turns that were heard, and commits of the client's, whose own event has not come; ids of ours."""

_FREE: Final = fields.words("""conversation.item.delete conversation.item.retrieve conversation.item.truncate
    input_audio_buffer.clear input_audio_buffer.commit output_audio_buffer.clear response.cancel""")
"""Events that cost nothing.

Source: https://developers.openai.com/api/reference/resources/realtime/client-events
"""

_TELLS: Final = re.compile(
    rb'"type"\s*:\s*"(?:error|session\.(?:created|updated)|response\.(?:created|done)'
    rb"|input_audio_buffer\.(?:speech_stopped|committed)"
    rb'|conversation\.item\.input_audio_transcription\.(?:completed|failed))"'
)
_TRANSCRIPTS: Final = "conversation.item.input_audio_transcription."
_DETECTION: Final = ("session", "audio", "input", "turn_detection")


class Realtime:
    """One session.

    Attributes:
        opening: Goes before the client's first frame, so that the provider begins nothing itself.
    """

    opening: bytes | None = json.dumps(
        {
            "type": "session.update",
            "event_id": _OPENING,
            "session": {
                "type": "realtime",
                "audio": {
                    "input": {"turn_detection": {"type": "server_vad", "create_response": False}}
                },
            },
        }
    ).encode()

    def __init__(self, provider: Provider, path: str, model: str) -> None:
        """Follow a session with a model that was opened at a path of a provider."""
        self.provider = provider
        self.path = path
        self.model = model
        self.settings = Settings()
        self.conversation = Conversation(model)
        self.window = facts.realtime_window(model)
        self._numbers = itertools.count(1)
        self._event: str | None = None
        self._names: dict[str, str | None] = {}
        self._begun = False
        self._opened = False
        self._heard: dict[str, int | None] = {}
        self._sent = self._taken = 0
        self._committed_at: deque[int] = deque()

    # ------------------------------------------------------------------------------ from the client

    def asked(self, frame: bytes, *, busy: bool) -> Asked:
        """Read a client's event.

        Raises:
            WireError: When it is unknown, cannot be metered, or asks for a second response at once.
        """
        document = read(frame)
        event = document.values()
        kind = event.get("type")
        event_id = fields.text(event, "event_id")
        if event_id is not None and event_id.startswith(_OURS):
            raise WireError(f"An event_id that begins with {_OURS} is ours; choose another one.")
        match kind:
            case "response.create":
                if busy:
                    raise WireError("Wait for the end of the response before you ask for another.")
                return self._response(document, event, event_id)
            case "session.update":
                return Asked(self._update(document, event, event_id))
            case "conversation.item.create":
                item = fields.mapping(event, "item")
                self.conversation.item(item, self.settings.bytes_per_ms())
            case "input_audio_buffer.append":
                return Asked(frame, sound=self._append(event.get("audio")))
            case str() if kind in _FREE:
                commits = kind == "input_audio_buffer.commit"
                if commits and len(self._committed_at) < _MOST_REMEMBERED:
                    self._committed_at.append(self._sent)
                plain = {key: value for key, value in event.items() if key != "event_id"}
                self.conversation.link(canonical(plain))
                return Asked(frame, commits=commits)
            case _:
                said = fields.shown(kind)
                raise WireError(f"An event {said} is not known here, so it is not forwarded.")
        return Asked(frame)

    def _append(self, audio: object) -> Sound | None:
        """Take in audio; what of it another model writes down."""
        before = self.conversation.microseconds
        self.conversation.append(audio, self.settings.bytes_per_ms())
        asked = self.settings.transcription()
        lasts = self.conversation.microseconds - before
        self._sent += lasts
        if not asked:
            return None
        return Sound(lasts, lambda most: call_for(self.provider, self.path, asked, most))

    def _update(self, document: Document, event: Mapping[str, Any], event_id: str | None) -> bytes:
        session = fields.mapping(event, "session")
        heard = fields.mapping(fields.mapping(session, "audio"), "input")
        if (
            heard.get("transcription")
            and self._sent > self._taken
            and not self.settings.transcribers()
        ):
            raise WireError(
                "Ask for transcripts before you send audio: what was sent is not reserved for them."
            )
        ours = self._ours("session", event_id)
        self.settings.ask(ours, session, self.model)
        edits: dict[tuple[str, ...], Any] = {("event_id",): ours}
        if turn_detection(heard) is not None:
            edits[*_DETECTION, "create_response"] = False
        return splice(document, edits)

    def _response(
        self, document: Document, event: Mapping[str, Any], event_id: str | None
    ) -> Asked:
        response = fields.mapping(event, "response")
        check_response(response)
        ours = self._ours("response", event_id)
        asked = Asked(
            splice(document, {("event_id",): ours}), self._inbound(response), self._call(response)
        )
        self._event, self._begun = ours, False
        return asked

    def _ours(self, what: str, named: str | None) -> str:
        """An id of ours for an event that the client has named so, or not at all."""
        ours = f"{_OURS}{what}_{next(self._numbers)}"
        self._names[ours] = named
        if len(self._names) > _MOST_REMEMBERED:
            del self._names[next(iter(self._names))]
        return ours

    # ------------------------------------------------------------------------------------- the call

    def _call(self, response: Mapping[str, Any]) -> Call:
        """The call that a response is, by all that it may be shown and may say."""
        settings, shown = self.settings, self.conversation
        tokens, features, texts = self._extra(response)
        tokens += settings.head_tokens() + shown.most_tokens()
        if response.get("tools") is not None:
            tools = tool_names(response)
        else:
            tools = tuple(name for one in settings.possible() for name in tool_names(one))
        tokens += facts.hidden_input_tokens(Dialect.OPENAI_REALTIME, self.model, bool(tools))
        if "max_output_tokens" in response:
            limit = output_limit(response)
        else:
            limit = settings.output_limit()
        modalities = response.get("output_modalities")
        if modalities != ["text"] and (modalities is not None or settings.speaks()):
            features.add("audio_out")
        if any(_reasons(one) for one in (response, *settings.possible())):
            features.add("reasoning")
        digest = [self.provider.name, OPERATION, self.model, shown.chain.hexdigest()]
        digest += [canonical(dict(one)) for one in (_lasting(self._newest()), response)]
        return Call(
            provider=self.provider.name,
            dialect=Dialect.OPENAI_REALTIME,
            operation=OPERATION,
            metered=True,
            model=self.model,
            stream=True,
            head_bound_tokens=tokens if self.window is None else min(tokens, self.window),
            max_output_tokens=limit,
            features=frozenset(features | shown.features | {"fixed_model"}),
            tools_offered=fields.unique(tools),
            prompt=bound.prompt_of([*shown.texts, *texts]),
            approval_digest=hashlib.sha256(encoded(canonical(digest))).hexdigest(),
        )

    def _extra(self, response: Mapping[str, Any]) -> tuple[int, set[str], list[str]]:
        """Tokens, features and texts of what only one response is shown."""
        own = {key: response[key] for key in ("instructions", "tools") if key in response}
        tokens = bound.head_bound(own, canonical(own)) if own else 0
        beside = Conversation(self.model)
        for item in fields.objects(response, "input"):
            if item.get("type") != "item_reference":
                beside.item(item, self.settings.bytes_per_ms())
        instructions = response.get("instructions")
        texts = [*beside.texts, *([instructions] if isinstance(instructions, str) else [])]
        return tokens + beside.most_tokens(), beside.features, texts

    def _newest(self) -> Mapping[str, Any]:
        return list(self.settings.possible())[-1]

    def _inbound(self, response: Mapping[str, Any]) -> Inbound:
        """What a person is shown, and the record keeps."""
        shown = self.conversation
        heard = shown.microseconds // 1_000_000
        body = {
            "model": self.model,
            "session": _lasting(self._newest()),
            "conversation": list(shown.texts),
            "audio_seconds": heard,
            "response": dict(response),
        }
        data = canonical(body).encode("utf-8", "surrogatepass")
        return Inbound(self.provider, "POST", self.path, "", {}, data)

    # ---------------------------------------------------------------------------- from the provider

    def told(self, frame: bytes) -> Told:
        """Read a provider's event.

        Raises:
            WireError: When the provider does not take the session's opening.
        """
        if _TELLS.search(frame) is None:
            return Told()
        try:
            event = json.loads(frame)
        except (ValueError, RecursionError):
            return Told()
        match event:
            case {"type": "session.created" | "session.updated" as kind, "session": dict(session)}:
                return self._session(session, updated=kind == "session.updated")
            case {"type": "response.created" | "response.done" as kind, "response": dict(response)}:
                return self._answer(response, ends=kind == "response.done")
            case {"type": "input_audio_buffer.speech_stopped", "item_id": str(item)}:
                self._stopped(item, event.get("audio_end_ms"))
            case {"type": "input_audio_buffer.committed", "item_id": str(item)}:
                return self._committed(item)
            case {"type": str(kind)} if kind.startswith(_TRANSCRIPTS):
                return Told(written=written_in(event))
            case {"type": "error", "error": {"event_id": str(event_id)}}:
                return self._error(event, event_id)
        return Told()

    def _session(self, session: dict[str, Any], *, updated: bool) -> Told:
        opening = updated and not self._opened
        self._opened = self._opened or updated
        self.settings.tell(session, updated=updated and not opening)
        return Told(passes=not opening)

    def _answer(self, response: dict[str, Any], *, ends: bool) -> Told:
        named = response.get("id")
        if ends:
            usage = response.get("usage")
            said = usage.get("output_tokens") if isinstance(usage, dict) else None
            self.conversation.answered(
                said if type(said) is int else self.window or bound.PROMPT_BYTES
            )
        self._begun = True
        return Told(begins=not ends, ends=ends, response=named if isinstance(named, str) else None)

    def _stopped(self, item: str, end_ms: object) -> None:
        """A turn was heard to end; how much of all audio it and those before it are."""
        self._heard[item] = end_ms * 1000 if type(end_ms) is int else None
        if len(self._heard) > _MOST_REMEMBERED:
            del self._heard[next(iter(self._heard))]

    def _committed(self, item: str) -> Told:
        """A turn is in the conversation; one that the provider has heard end may want an answer."""
        self.conversation.tokens += bound.TURN_ALLOWANCE
        spoken = item in self._heard
        if spoken:
            end = self._heard.pop(item)
        else:
            end = self._committed_at.popleft() if self._committed_at else None
        self._taken = max(self._taken, end or 0)
        return Told(
            committed=item if self.settings.transcribers() else None,
            buffered=max(self._sent - self._taken, 0),
            asks=self._speech if spoken and self.settings.answers_speech else None,
        )

    def _speech(self) -> Asked:
        """The call that answers what was said."""
        event_id = self._ours("speech", None)
        frame = json.dumps({"type": "response.create", "event_id": event_id}).encode()
        asked = Asked(frame, self._inbound({}), self._call({}))
        self._event, self._begun = event_id, False
        return asked

    def _error(self, event: dict[str, Any], event_id: str) -> Told:
        if event_id == _OPENING:
            raise WireError("The provider does not let this session be followed.")
        if event_id not in self._names:
            return Told()
        self.settings.fail(event_id)
        event["error"]["event_id"] = self._names.pop(event_id)
        ends = event_id == self._event and not self._begun
        return Told(error=ends, shown=json.dumps(event).encode())

    # --------------------------------------------------------------------------------- of our own

    def changed(self, call: Call, frame: bytes, changes: Changes) -> bytes:
        """The frame with the output limit that was decided."""
        if changes.max_output_tokens is None:
            return frame
        path = ("response", "max_output_tokens")
        return splice(read(frame), {path: changes.max_output_tokens})

    def flows(self, frame: bytes) -> bool:
        """Whether it is audio, which comes in pieces of a few milliseconds."""
        return b'"input_audio_buffer.append"' in frame

    def error_frame(self, reason: Reason, call_id: str) -> bytes:
        """A refusal as the error event of a session."""
        status = status_of(reason.code)
        made = refusal(Dialect.OPENAI_REALTIME, reason, call_id, stream=True, status=status)
        event = {"type": "error", "event_id": f"{_OURS}{call_id}"} | json.loads(made.body)
        event["error"]["event_id"] = None
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _reasons(values: Mapping[str, Any]) -> bool:
    reasoning = fields.mapping(values, "reasoning")
    return bool(reasoning) and reasoning.get("effort") != "none"


def _lasting(session: Mapping[str, Any]) -> dict[str, Any]:
    """A session without what is another one each time."""
    kept = deepcopy(dict(session))
    for key in ("id", "object", "expires_at", "client_secret"):
        kept.pop(key, None)
    return kept
