"""Calls that are no conversation, as simulated: embeddings, text, images, audio, reranking, Cohere, Ollama.

Forms are read with Python's own mail parser and recordings with its own WAV reader, so that nothing of
the proxy's reading judges itself. Counted as in ``exchange.py``; an image is billed as the dearest.

Source: https://platform.openai.com/docs/api-reference, https://docs.cohere.com/reference,
https://github.com/ollama/ollama/blob/main/docs/api.md, https://ai.google.dev/api/embeddings,
https://docs.mistral.ai/api/#tag/ocr
"""

from __future__ import annotations

import email.parser
import email.policy
import io
import json
import math
import wave
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from typing import Any, Final

from tollkeeper.domain import Usage
from tollkeeper.simulator.exchange import Answer, Frame, texts_in
from tollkeeper.simulator.frames import EVENT_STREAM, JSON, dump, event
from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.script import find, parse

IMAGE_TOKENS: Final = 6500
GIVEN_TOKENS: Final = 323
_WORDS: Final = 5
_SAID: Final = "so it is and was"

type Told = tuple[Answer, Usage]
type Fields = Mapping[str, Any]


def simulate(received: Received) -> Told | None:
    """The answer and what it bills, or None when the path is none of these.

    Raises:
        KeyError: A required member is missing.
        ValueError: The body cannot be read.
    """
    for ending, made in _ANSWERS.items():
        if received.path.endswith(ending):
            return made(_fields(received))
    return None


def _fields(received: Received) -> dict[str, Any]:
    kind = received.header("content-type") or ""
    if not kind.startswith("multipart/"):
        body: dict[str, Any] = json.loads(received.body)
        return body
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1")
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    fields: dict[str, Any] = {}
    for part in parser.parsebytes(head + received.body).iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields[name] = content if part.get_filename() is not None else content.decode()
    return fields


def tokens_of(value: Any) -> int:
    """One for four bytes of each text, rounded up; tokens that were sent are themselves."""
    if isinstance(value, list) and value and all(type(one) is int for one in value):
        return len(value)
    if isinstance(value, list):
        return sum(tokens_of(one) for one in value)
    return sum(-(-len(text.encode()) // 4) for text in texts_in(value))


def _json(body: Fields, usage: Usage) -> Told:
    return Answer(200, (("Content-Type", JSON),), (Frame(dump(body)),)), usage


def _events(usage: Usage, *events: Fields, named: bool = True) -> Told:
    frames = tuple(
        Frame(event(one, one["type"] if named else None), paced=True) for one in events[:-1]
    )
    last = Frame(event(events[-1], events[-1]["type"]), usage.output_tokens or 0)
    return Answer(200, (("Content-Type", EVENT_STREAM),), (*frames, last), streamed=True), usage


def _embeddings(body: Fields) -> Told:
    given = body["input"]
    tokens = tokens_of(given)
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
    said = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": body["model"], "usage": said}
    return _json(answer, Usage(input_tokens=tokens, output_tokens=0))


def _gemini_embedding(body: Fields) -> Told:
    tokens = tokens_of(body.get("content") or [one["content"] for one in body["requests"]])
    answer: dict[str, Any] = {"usageMetadata": {"promptTokenCount": tokens}}
    one = {"values": [0.5, -0.5]}
    if "requests" in body:
        answer["embeddings"] = [one] * len(body["requests"])
    else:
        answer["embedding"] = one
    return _json(answer, Usage(input_tokens=tokens, output_tokens=0))


def _text(body: Fields) -> Told:
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    if all(type(one) is int for one in prompts):
        prompts = [prompts]
    each = max(body.get("n") or 1, body.get("best_of") or 1)
    written = min(body.get("max_tokens") or 16, _WORDS) * each * len(prompts)
    read = tokens_of(body["prompt"]) + tokens_of(body.get("suffix"))
    choices = [{"text": "so it is", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    answer = {
        "id": "cmpl-sim", "object": "text_completion", "created": 1_700_000_000,
        "model": body["model"], "choices": choices,
        "usage": {
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
        },
    }  # fmt: skip
    return _json(answer, Usage(input_tokens=read, output_tokens=written))


def _images(body: Fields) -> Told:
    count = int(body.get("n") or 1)
    if str(body["model"]).startswith(("dall-e", "grok")):
        return _json({"created": 1, "data": [{"b64_json": "AA=="}] * count}, Usage(images=count))
    given = sum(1 for name in body if name.partition("[")[0] in ("image", "images", "mask"))
    text, seen = tokens_of(body.get("prompt")), given * GIVEN_TOKENS
    made = IMAGE_TOKENS * count
    said = {
        "input_tokens": text + seen,
        "output_tokens": made,
        "total_tokens": text + seen + made,
        "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
    }
    usage = Usage(
        input_tokens=text + seen,
        output_tokens=made,
        image_input_tokens=seen,
        image_output_tokens=made,
        images=count,
    )
    if body.get("stream") in (True, "true"):
        early = {"type": "image_generation.partial_image", "b64_json": "AA==", "size": "auto"}
        done = {"type": "image_generation.completed", "b64_json": "AA==", "usage": said}
        return _events(usage, early, done)
    data = [{"b64_json": "AA=="}] * count
    return _json({"created": 1_700_000_000, "data": data, "usage": said}, usage)


def _speech(body: Fields) -> Told:
    characters = len(body["input"].encode("utf-16-le")) // 2
    if body.get("stream_format") == "sse":
        read, spoken = tokens_of(body["input"]), characters * 20
        usage = Usage(input_tokens=read, output_tokens=spoken, audio_output_tokens=spoken)
        said = {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}
        delta = {"type": "speech.audio.delta", "audio": "AA=="}
        return _events(usage, delta, {"type": "speech.audio.done", "usage": said})
    sound = Frame(b"\xff\xf3\x44\xc4" + b"\x00" * 140)
    answer = Answer(200, (("Content-Type", "audio/mpeg"),), (sound,))
    return answer, Usage(characters=characters)


def _transcription(body: Fields) -> Told:
    with wave.open(io.BytesIO(body["file"])) as recording:
        seconds = recording.getnframes() / recording.getframerate()
    text, whole = "so it is", math.ceil(seconds)
    if body["model"].startswith("whisper"):
        said: dict[str, Any] = {"type": "duration", "seconds": whole}
        return _json({"text": text, "usage": said}, Usage(audio_milliseconds=whole * 1000))
    heard = whole * 10
    said = {
        "type": "tokens", "input_tokens": heard, "output_tokens": _WORDS,
        "total_tokens": heard + _WORDS,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }  # fmt: skip
    usage = Usage(input_tokens=heard, output_tokens=_WORDS, audio_input_tokens=heard)
    if body.get("stream") == "true":
        delta = {"type": "transcript.text.delta", "delta": text}
        done = {"type": "transcript.text.done", "text": text, "usage": said}
        return _events(usage, delta, done)
    return _json({"text": text, "usage": said}, usage)


def _rerank(body: Fields) -> Told:
    units = -(-len(body["documents"]) // 100)
    results = [{"index": 0, "relevance_score": 0.9}]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
    return _json({"id": "sim", "results": results, "meta": meta}, Usage(search_units=units))


def _words(prompt: Any, limit: int | None) -> list[str]:
    """What is written: as many words as the prompt's directives say, within the limit or past it."""
    script = parse(find(" ".join(texts_in(prompt))))
    count = _WORDS if script.tokens is None else script.tokens
    words = list(islice(cycle(_SAID.split()), count))
    return words if limit is None or script.ignore_limit else words[:limit]


def _cohere(body: Fields) -> Told:
    read = tokens_of(body["messages"])
    words = _words(body["messages"], body.get("max_tokens"))
    written = len(words)
    usage = Usage(input_tokens=read, output_tokens=written)
    said = {"billed_units": {"input_tokens": read, "output_tokens": written}}
    text = {"type": "text", "text": " ".join(words)}
    if body.get("stream"):
        deltas = [
            {"type": "content-delta", "delta": {"message": {"content": {"text": f"{word} "}}}}
            for word in words
        ]
        done = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": said}}
        return _events(usage, *deltas, done)
    message = {"role": "assistant", "content": [text]}
    return _json(
        {"id": "sim", "finish_reason": "COMPLETE", "message": message, "usage": said}, usage
    )


def _ollama(body: Fields) -> Told:
    read = tokens_of([body.get("messages"), body.get("prompt")])
    words = _words(
        [body.get("messages"), body.get("prompt")], (body.get("options") or {}).get("num_predict")
    )
    written = len(words)
    usage = Usage(input_tokens=read, output_tokens=written)
    whole = {"model": body["model"], "done": True, "prompt_eval_count": read, "eval_count": written}
    if body.get("stream") is False:
        return _json(whole | {"response": " ".join(words)}, usage)
    begun = [{"model": body["model"], "response": f"{word} ", "done": False} for word in words]
    frames = (
        *(Frame(dump(one) + b"\n", paced=True) for one in begun),
        Frame(dump(whole) + b"\n", written),
    )
    kind = (("Content-Type", "application/x-ndjson"),)
    return Answer(200, kind, frames, streamed=True), usage


def _imagen(body: Fields) -> Told:
    """Four images for a prompt unless told otherwise."""
    count = len(body["instances"]) * int((body.get("parameters") or {}).get("sampleCount") or 4)
    one = {"mimeType": "image/png", "bytesBase64Encoded": "AA=="}
    return _json({"predictions": [one] * count}, Usage(images=count))


def _ocr(body: Fields) -> Told:
    _ = body["document"]["type"]
    count = len(body.get("pages") or [0])
    pages = [{"index": index, "markdown": "so it is", "images": []} for index in range(count)]
    said = {"pages_processed": count, "doc_size_bytes": 1000}
    return _json({"model": body["model"], "pages": pages, "usage_info": said}, Usage(pages=count))


_ANSWERS: Final[Mapping[str, Callable[[Fields], Told]]] = {
    "/v1/embeddings": _embeddings,
    ":embedContent": _gemini_embedding,
    ":batchEmbedContents": _gemini_embedding,
    ":predict": _imagen,
    "/v1/completions": _text,
    "/fim/completions": _text,
    "/images/generations": _images,
    "/images/edits": _images,
    "/audio/speech": _speech,
    "/audio/transcriptions": _transcription,
    "/audio/translations": _transcription,
    "/rerank": _rerank,
    "/v1/ocr": _ocr,
    "/v2/chat": _cohere,
    "/api/chat": _ollama,
    "/api/generate": _ollama,
}
