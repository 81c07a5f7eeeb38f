"""Transcripts of what is heard in a session: another model writes them down, and bills them.

Each piece of audio is written down when it is committed, by the client or by voice detection, whether
a response follows or not. So what may be written down is reserved before the audio leaves: a stretch
of it at a time, by its length, as if it were cut into the shortest pieces that can be committed, each
billed a whole second, its prompt and what a model adds to it.

Source: https://developers.openai.com/api/docs/guides/realtime-costs (input transcription),
https://developers.openai.com/api/reference/resources/realtime/server-events
(``conversation.item.input_audio_transcription.completed``)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect, Provider, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields, task_usage
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.document import canonical, encoded
from tollkeeper.wire.openai_audio import tokens_of
from tollkeeper.wire.talk import Written

OPERATION: Final = "transcription"

_KNOWN: Final = fields.words("model language languages prompt keywords")
_OF_TURNS: Final = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe")
"""Models that write down what is committed; the others write down all that they hear, at once."""

_SHORTEST_MS: Final = 100
"""Less is not committed.

Source: https://community.openai.com/t/realtime-api-input-audio-buffer-commit-empty/1016937
"""

_PIECE_TOKENS: Final = 16
_SECOND_MS: Final = 1000


def model_in(heard: Mapping[str, Any]) -> str | None:
    """The model that ``audio.input.transcription`` names, or None where nothing is written down.

    Raises:
        WireError: When it names none, or one that does not wait for what is committed.
    """
    asked = fields.mapping(heard, "transcription")
    if not asked:
        return None
    for key in asked:
        if key not in _KNOWN:
            raise WireError(f"transcription.{fields.shown(key)} is not metered here; leave it out.")
    model = fields.text(asked, "model")
    if model is None or not model.startswith(_OF_TURNS):
        raise WireError(
            "transcription.model must be one that is billed by what is committed: "
            f"{', '.join(_OF_TURNS)}."
        )
    return model


def call_for(
    provider: Provider, path: str, asked: Mapping[str, Any], microseconds: int
) -> tuple[Inbound, Call]:
    """What writing down so much audio comes to at most."""
    model = str(asked["model"])
    length = -(-microseconds // 1000)
    pieces = length // _SHORTEST_MS + 1
    heard, written, unbounded = tokens_of(model, length)
    plain = canonical(dict(asked))
    each = bound.text_bound(plain) + _PIECE_TOKENS
    billed = length + pieces * _SECOND_MS
    body = canonical({"transcription": dict(asked), "audio_seconds": length // _SECOND_MS})
    inbound = Inbound(provider, "POST", path, "", {}, encoded(body))
    prompt = asked.get("prompt")
    call = Call(
        provider=provider.name,
        dialect=Dialect.AUDIO,
        operation=OPERATION,
        metered=True,
        model=model,
        head_bound_tokens=heard + pieces * each,
        max_output_tokens=0,
        extra_output_tokens=written,
        features=frozenset({"audio_in", "fixed_model"}),
        prompt=prompt[: bound.PROMPT_BYTES] if isinstance(prompt, str) else "",
        approval_digest=hashlib.sha256(encoded(provider.name + plain)).hexdigest(),
        most=Usage(audio_milliseconds=max(billed, facts.least_audio_milliseconds(provider.name))),
        tokens_unbounded=unbounded,
    )
    return inbound, call


def written_in(event: Mapping[str, Any]) -> Written | None:
    """The piece that an event says was written down, or failed."""
    item = event.get("item_id")
    if not isinstance(item, str):
        return None
    if event.get("type") == "conversation.item.input_audio_transcription.failed":
        return Written(item, Usage())
    return Written(item, task_usage.audio(event, Call("", Dialect.AUDIO, OPERATION, metered=True)))
