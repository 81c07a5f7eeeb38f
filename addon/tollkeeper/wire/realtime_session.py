"""What a Realtime session may hold: its settings, as asked and as told, and its conversation.

Settings
    A client asks for changes, the provider says which hold (``session.created``, ``session.updated``)
    or refuses one with an error. Until it has said so both may hold, so a call is bounded by the
    loosest of them.

The conversation
    All that the model is shown has passed here: what the client puts in, counted as ``bound.py``
    counts it, and what the model answered, as the provider counts it. Deleting and truncating only
    shorten it, so the sum is an upper bound. Audio is one token for each 100 ms; the model's context
    window bounds it all the same.
    Source: https://developers.openai.com/api/docs/guides/realtime-costs
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tollkeeper.domain import Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.document import canonical, encoded
from tollkeeper.wire.realtime_transcripts import model_in

DEFAULT_INSTRUCTIONS_TOKENS: Final = 1024
"""Before the provider says which instructions it gives a session by default: a paragraph."""

MOST_PENDING: Final = 16
"""Changes that a client may ask for before the provider has answered the first of them."""

_SESSION: Final = fields.words("""type audio include instructions max_output_tokens model output_modalities
    parallel_tool_calls reasoning tool_choice tools tracing truncation""")
_INPUT: Final = fields.words("format noise_reduction transcription turn_detection")
_OUTPUT: Final = fields.words("format voice speed")
_RESPONSE: Final = fields.words("""audio conversation input instructions max_output_tokens metadata
    output_modalities parallel_tool_calls reasoning tool_choice tools""")
_PART: Final = fields.words("type text audio transcript image_url detail")
_ITEMS: Final = fields.words("message function_call function_call_output")
_BYTES_PER_MS: Final = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}
"""16 bits at 24 kHz, 8 bits at 8 kHz.

Source: https://developers.openai.com/api/reference/resources/realtime (``audio.input.format``)
"""

_PCM_RATE: Final = 24_000
_MS_OF_A_TOKEN: Final = 100


@dataclass(slots=True)
class Settings:
    """What holds, and what may hold when the provider has answered.

    Attributes:
        told: The session as the provider last told it; None before it has.
        pending: The event's id and the session as it would be, for each change that is not answered.
        answers_speech: Whether the client wants each turn that the provider hears to be answered.
    """

    told: dict[str, Any] | None = None
    pending: deque[tuple[str | None, dict[str, Any]]] = field(default_factory=deque)
    answers_speech: bool = True

    def ask(self, event_id: str | None, session: Mapping[str, Any], model: str) -> None:
        """Take in what a client wants to change.

        Raises:
            WireError: For what cannot be metered.
        """
        check(session, _SESSION, "session")
        if session.get("type", "realtime") != "realtime":
            raise WireError(
                "Only sessions of type realtime are metered; to have speech written down send it to "
                "/v1/audio/transcriptions."
            )
        if session.get("model", model) != model:
            raise WireError(
                "session.model must be the model in the URL; connect again for another."
            )
        audio = fields.mapping(session, "audio")
        for values, key, where in ((session, "audio", "audio"), (audio, "input", "audio.input")):
            if key in values and values[key] is None:
                raise WireError(f"session.{where} is null, which nobody defines; leave it out.")
        check(audio, frozenset({"input", "output"}), "session.audio")
        heard = fields.mapping(audio, "input")
        check(heard, _INPUT, "session.audio.input")
        check(fields.mapping(audio, "output"), _OUTPUT, "session.audio.output")
        transcriber = model_in(heard)
        if transcriber is not None and self.transcribers() - {transcriber}:
            raise WireError("Transcripts have another model already; connect again for this one.")
        detection = turn_detection(heard)
        tool_names(session)
        output_limit(session)
        bytes_per_ms(heard)
        if len(self.pending) >= MOST_PENDING:
            raise WireError("Wait for session.updated before you change the session again.")
        before = self.pending[-1][1] if self.pending else self.told or {}
        self.pending.append((event_id, merged(before, session)))
        if detection is not None:
            self.answers_speech = detection.get("create_response") is not False

    def tell(self, session: Mapping[str, Any], *, updated: bool) -> None:
        """Take in what the provider says that holds."""
        self.told = dict(session)
        if updated and self.pending:
            self.pending.popleft()

    def fail(self, event_id: str) -> None:
        """Forget a change that the provider refuses."""
        kept = [one for one in self.pending if one[0] != event_id]
        self.pending = deque(kept)

    def possible(self) -> Iterator[Mapping[str, Any]]:
        """Every session that may hold now."""
        yield self.told or {}
        yield from (session for _, session in self.pending)

    def head_tokens(self) -> int:
        """The most that instructions and tools may be billed."""
        most = 0 if self.told is not None else DEFAULT_INSTRUCTIONS_TOKENS
        for session in self.possible():
            head = {key: session.get(key) for key in ("instructions", "tools", "tool_choice")}
            most = max(most, bound.head_bound(head, canonical(head)))
        return most

    def output_limit(self) -> int | None:
        """The largest output limit that may hold; None where none may."""
        limits = [output_limit(session) for session in self.possible()]
        named = [limit for limit in limits if limit is not None]
        return max(named) if len(named) == len(limits) else None

    def speaks(self) -> bool:
        """Whether answers may be audio."""
        return any(session.get("output_modalities") != ["text"] for session in self.possible())

    def inputs(self) -> Iterator[dict[str, Any]]:
        """What may hold of audio that comes in."""
        for session in self.possible():
            yield fields.mapping(fields.mapping(session, "audio"), "input")

    def transcribers(self) -> set[str]:
        """The models that may write down what is heard; never more than one."""
        asked = (fields.mapping(heard, "transcription").get("model") for heard in self.inputs())
        return {model for model in asked if isinstance(model, str)}

    def transcription(self) -> dict[str, Any]:
        """The longest of the wishes for transcripts that may hold; empty where there is none."""
        asked = [fields.mapping(heard, "transcription") for heard in self.inputs()]
        named = [one for one in asked if isinstance(one.get("model"), str)]
        return max(named, key=lambda one: len(canonical(one)), default={})

    def bytes_per_ms(self) -> int:
        """Of audio that comes in: the fewest that may hold, so that it lasts longest."""
        return min(bytes_per_ms(heard) for heard in self.inputs())


@dataclass(slots=True)
class Conversation:
    """What the model is shown, as an upper bound.

    Attributes:
        tokens: Of everything but the audio that was appended.
        microseconds: Of that audio.
        features: ``audio_in`` and ``vision``, once there is any of it.
        texts: The newest of it, for rules and for the person who is asked.
        characters: Of all these texts.
        chain: Over all of it, in order.
    """

    model: str
    tokens: int = 0
    microseconds: int = 0
    features: set[str] = field(default_factory=set)
    texts: deque[str] = field(default_factory=deque)
    characters: int = 0
    chain: Any = field(default_factory=hashlib.sha256)

    def most_tokens(self) -> int:
        """The most tokens that it may be billed as input."""
        return self.tokens + -(-self.microseconds // (1000 * _MS_OF_A_TOKEN))

    def append(self, audio: object, bytes_per_ms: int) -> None:
        """Audio that goes into the input buffer.

        Raises:
            WireError: When it is no text.
        """
        if not isinstance(audio, str):
            raise WireError("audio must be text in base64.")
        self.features.add("audio_in")
        self.microseconds += -(-len(audio) * 750 // bytes_per_ms)
        self.link(audio)

    def item(self, item: Mapping[str, Any], bytes_per_ms: int) -> None:
        """An item that the client puts into the conversation, or into one response's input.

        Raises:
            WireError: When it cannot be read.
        """
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in _ITEMS:
            said = fields.shown(kind)
            raise WireError(f"An item {said} is not metered here; send messages and functions.")
        tally = bound.Tally(Dialect.OPENAI_REALTIME, self.model)
        shown = dict(item)
        if kind == "message":
            shown["content"] = [
                self._part(part, tally, bytes_per_ms) for part in fields.objects(item, "content")
            ]
        else:
            tally.tool_call()
            for key in ("output", "arguments"):
                tally.text(fields.text(item, key))
        plain = canonical(shown)
        self.tokens += bound.text_bound(plain) + tally.more_tokens + bound.TURN_ALLOWANCE
        self.features |= tally.features
        for text in tally.texts:
            self.remember(text)
        self.link(canonical({key: value for key, value in item.items() if key != "id"}))

    def _part(
        self, part: Mapping[str, Any], tally: bound.Tally, bytes_per_ms: int
    ) -> dict[str, Any]:
        """A part without its media, which are counted by what they show."""
        check(part, _PART, "content")
        shown = dict(part)
        audio, image = part.get("audio"), part.get("image_url")
        if audio is not None:
            if not isinstance(audio, str):
                raise WireError("audio must be text in base64.")
            self.features.add("audio_in")
            self.microseconds += -(-len(audio) * 750 // bytes_per_ms)
            shown["audio"] = ""
        if image is not None:
            if not isinstance(image, str) or image[:5].lower() != "data:":
                raise WireError("image_url must be a data URI, so that the image can be measured.")
            tally.image(image)
            shown["image_url"] = ""
        tally.text(part.get("text"))
        return shown

    def answered(self, output_tokens: int) -> None:
        """An answer, which is part of what the next one is shown."""
        self.features.add("audio_in")
        self.tokens += output_tokens + bound.TURN_ALLOWANCE

    def remember(self, text: str) -> None:
        """Keep a text for rules and people, within a bound; an empty one says nothing to them."""
        if not text:
            return
        self.texts.append(text)
        self.characters += len(text)
        while len(self.texts) > 1 and self.characters > bound.PROMPT_BYTES:
            self.characters -= len(self.texts.popleft())

    def link(self, text: str) -> None:
        """One more part of what an approval is bound to."""
        data = encoded(text)
        self.chain.update(len(data).to_bytes(8))
        self.chain.update(data)


def check(values: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    """Nothing, where every member is known; what is not may be billed.

    Raises:
        WireError: For the first that is not.
    """
    for key in values:
        if key not in known:
            raise WireError(f"{where}.{fields.shown(key)} is not metered here; leave it out.")


def check_response(response: Mapping[str, Any]) -> None:
    """Nothing, for what response.create may ask for.

    Raises:
        WireError: For anything else.
    """
    check(response, _RESPONSE, "response")


def turn_detection(heard: Mapping[str, Any]) -> dict[str, Any] | None:
    """The turn detection that a change names; None where it names none, or turns it off.

    Raises:
        WireError: For what would have the provider answer on its own.
    """
    if heard.get("turn_detection") is None:
        return None
    detection = fields.mapping(heard, "turn_detection")
    if detection.get("type") not in ("server_vad", "semantic_vad"):
        raise WireError("turn_detection.type must be server_vad or semantic_vad.")
    if detection.get("idle_timeout_ms") is not None:
        raise WireError(
            "turn_detection.idle_timeout_ms has the provider answer on its own, before anything could "
            "be reserved: leave it out, and send response.create when you want an answer."
        )
    return detection


def tool_names(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The functions that a session or a response offers.

    Raises:
        WireError: For tools that the provider runs: it would answer on its own behind them.
    """
    names = []
    for tool in fields.objects(values, "tools"):
        if tool.get("type") != "function":
            raise WireError("Only tools of type function are metered here; call others yourself.")
        names.append(fields.name_of(tool))
    return tuple(names)


def output_limit(values: Mapping[str, Any]) -> int | None:
    """``max_output_tokens``, None for ``inf``."""
    if values.get("max_output_tokens") == "inf":
        return None
    return fields.count(values, "max_output_tokens")


def bytes_per_ms(heard: Mapping[str, Any]) -> int:
    """How many bytes a millisecond of audio has.

    Raises:
        WireError: For a format that nobody knows.
    """
    said = fields.mapping(heard, "format")
    kind = said.get("type", "audio/pcm")
    if not isinstance(kind, str) or kind not in _BYTES_PER_MS:
        raise WireError("audio.input.format.type must be audio/pcm, audio/pcmu or audio/pcma.")
    if kind == "audio/pcm" and said.get("rate") not in (None, _PCM_RATE):
        raise WireError(f"audio.input.format.rate must be {_PCM_RATE}, by which audio is measured.")
    return _BYTES_PER_MS[kind]


def merged(session: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A session with a change: only the members that are named are other ones then."""
    made = {**session, **change}
    old, new = fields.mapping(session, "audio"), fields.mapping(change, "audio")
    if old and new:
        made["audio"] = {
            side: {**fields.mapping(old, side), **fields.mapping(new, side)}
            for side in ("input", "output")
        }
    return made
