"""OpenAI's audio API: speech from text, and text from speech.

Speech is billed by the characters that are spoken (``tts-1``) or by tokens of audio, which nothing
bounds (``gpt-4o-mini-tts``). Text is billed by the length of what is heard (``whisper-1``) or by
tokens of audio and text. How long a recording may last is told by its bytes
(``wire/audio_length.py``); where they do not say, no budget can be kept.

Source: https://platform.openai.com/docs/api-reference/audio,
https://console.groq.com/docs/speech-to-text, https://docs.mistral.ai/capabilities/audio
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from tollkeeper import facts
from tollkeeper.domain import Call, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, tasks
from tollkeeper.wire.audio_length import most_milliseconds
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.multipart import Part

_SPEECH: Final = fields.words("""model input voice instructions response_format speed stream_format
    sample_rate stream user""")
_HEARD: Final = fields.words("""model language prompt response_format temperature stream
    diarize user context_bias""")
_BY_REFERENCE: Final = ("url", "file_url", "file_id")
"""Recordings that are not in the request. Source: https://console.groq.com/docs/speech-to-text"""

_HALF_MINUTE_MS: Final = 30_000
_SECOND_MS: Final = 1000


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A text to be spoken, or a recording to be written down.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    return (
        _spoken(inbound, endpoint) if endpoint.operation == "speech" else _heard(inbound, endpoint)
    )


def _spoken(inbound: Inbound, endpoint: Endpoint) -> Call:
    values = tasks.values_of(inbound, None)
    model = tasks.model_of(values, endpoint)
    text = fields.text(values, "input")
    if text is None:
        raise WireError("input is missing; the text to be spoken was expected.")
    return tasks.task(
        inbound,
        endpoint,
        model,
        values,
        _SPEECH,
        input_tokens=tasks.json_bound(values),
        texts=(text,),
        features=frozenset({"audio_out"}),
        most=Usage(characters=characters_of(text)),
        unbounded="the speech that it makes",
    )


def characters_of(text: str) -> int:
    """As a provider may count them: beyond the basic plane one may count as two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _heard(inbound: Inbound, endpoint: Endpoint) -> Call:
    form = tasks.form_of(inbound)
    if form is None:
        raise WireError(
            "The body must be multipart/form-data with the recording in its field file."
        )
    values = tasks.values_of(inbound, form)
    model = tasks.model_of(values, endpoint)
    files = form.files("file")
    by_reference = any(values.get(name) for name in _BY_REFERENCE)
    if not files and not by_reference:
        raise WireError("file is missing; a recording was expected.")
    content = b"".join(file.content for file in files)
    length = None if by_reference or len(files) != 1 else most_milliseconds(content)
    tokens, written, unbounded = tokens_of(model, length)
    least = facts.least_audio_milliseconds(inbound.provider.name)
    prompt = values.get("prompt")
    call = tasks.task(
        inbound,
        endpoint,
        model,
        values,
        _HEARD | {*_BY_REFERENCE},
        input_tokens=tasks.json_bound([values, *_lists(form.parts)]) + tokens,
        output_tokens=written,
        texts=(prompt,) if isinstance(prompt, str) else (),
        features=frozenset({"audio_in"}),
        most=Usage(audio_milliseconds=max(length, least)) if length is not None else None,
        unbounded=unbounded,
        digest=hashlib.sha256(content).hexdigest(),
    )
    return replace(call, stored="file_id") if values.get("file_id") else call


def tokens_of(model: str, length_ms: int | None) -> tuple[int, int, str | None]:
    """Tokens in and out that a recording may be billed, and what nothing bounds."""
    if length_ms is None:
        return 0, 0, "how long the recording lasts"
    known = facts.speech_fact(model)
    if known is None:
        return 0, 0, "the recording"
    heard = known.heard_per_second * (length_ms // _SECOND_MS + 1)
    return heard, known.written_per_half_minute * (length_ms // _HALF_MINUTE_MS + 1), None


def _lists(parts: Iterable[Part]) -> list[Mapping[str, str]]:
    return [{part.name: part.text()} for part in parts if not part.is_file and "[" in part.name]
