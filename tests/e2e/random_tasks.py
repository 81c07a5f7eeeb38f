"""Random calls that are no conversation, and Cohere and Ollama: as the simulator answers them, one way each."""

from __future__ import annotations

import base64
import io
import wave

from e2e.random_kinds import Asked, Body, Kind, image
from wire.asking import FORM, form

OLLAMA = "ollama.corp.example"


def cohere(asked: Asked) -> Body:
    """Cohere chat."""
    return {
        "model": asked.model,
        "messages": [{"role": "user", "content": asked.text}],
        "max_tokens": asked.limit,
        "stream": asked.stream,
    }


def ollama(asked: Asked) -> Body:
    """Ollama chat; it streams unasked."""
    return {
        "model": asked.model,
        "messages": [{"role": "user", "content": asked.text}],
        "options": {"num_predict": asked.limit},
    } | ({} if asked.stream else {"stream": False})


def completion(asked: Asked) -> Body:
    """Text completions: several prompts, several answers to each."""
    return {
        "model": asked.model,
        "prompt": [asked.text, "a kettle"],
        "max_tokens": asked.limit,
        "n": asked.choices,
    }


def embedding(asked: Asked) -> Body:
    """OpenAI's embeddings."""
    return {"model": asked.model, "input": [asked.text, "a kettle"]}


def embedded_content(asked: Asked) -> Body:
    """Gemini's embeddings."""
    return {"content": {"parts": [{"text": asked.text}]}}


def picture(asked: Asked) -> Body:
    """Images made from words."""
    return {
        "model": asked.model,
        "prompt": asked.text,
        "n": asked.choices,
        "stream": asked.stream,
    }


def edit(asked: Asked) -> bytes:
    """A form with two images and what to make of them."""
    png = base64.b64decode(image())
    fields = [("model", asked.model), ("prompt", asked.text), ("n", str(asked.choices))]
    fields += [("stream", "true")] if asked.stream else []
    return form(*fields, ("image[]", png), ("image[]", png))


def batch(asked: Asked) -> Body:
    """Gemini's embeddings of several texts."""
    texts = (asked.text, "a kettle")
    content = [{"parts": [{"text": text}]} for text in texts]
    return {"requests": [{"model": f"models/{asked.model}", "content": one} for one in content]}


def speech(asked: Asked) -> Body:
    """Words read aloud."""
    return {"model": asked.model, "input": asked.text, "voice": "alloy"}


def recording(asked: Asked) -> bytes:
    """A form with so many tenths of a second of silence as the text has letters."""
    held = io.BytesIO()
    with wave.open(held, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(1600 * len(asked.text)))
    streams = [("stream", "true")] if asked.stream and asked.model != "whisper-1" else []
    return form(("model", asked.model), *streams, ("file", held.getvalue()))


def reading(asked: Asked) -> Body:
    """A photo, or as many pages of a document as the call has a limit of."""
    if asked.stream:
        url = f"data:image/png;base64,{image()}"
        return {"model": asked.model, "document": {"type": "image_url", "image_url": url}}
    document = {"type": "document_url", "document_url": "https://example.com/tea.pdf"}
    return {"model": asked.model, "document": document, "pages": list(range(asked.limit))}


def ranking(asked: Asked) -> Body:
    """A query with as many documents as the text has words, some of them beyond a hundred."""
    return {"model": asked.model, "query": "tea?", "documents": asked.text.split()}


KINDS: tuple[Kind, ...] = (
    Kind(
        "cohere", "api.cohere.com", ("command-r7b-12-2024", "command-a-03-2025"),
        lambda _: "/v2/chat", cohere, task=True, provider="cohere",
    ),
    Kind(
        "ollama", OLLAMA, ("llama3",), lambda _: "/api/chat", ollama, task=True,
        provider="my-ollama",
    ),
    Kind(
        "text", "api.openai.com", ("gpt-3.5-turbo-instruct",), lambda _: "/v1/completions",
        completion, most_choices=4, task=True, streams=False,
    ),
    Kind(
        "embeddings", "api.openai.com", ("text-embedding-3-small",), lambda _: "/v1/embeddings",
        embedding, task=True, streams=False,
    ),
    Kind(
        "gemini embeddings", "generativelanguage.googleapis.com", ("gemini-embedding-001",),
        lambda asked: f"/v1beta/models/{asked.model}:embedContent", embedded_content, task=True,
        streams=False,
        provider="google",
    ),
    Kind(
        "images", "api.openai.com", ("gpt-image-1-mini",), lambda _: "/v1/images/generations",
        picture, most_choices=4, task=True,
    ),
    Kind(
        "image edits", "api.openai.com", ("gpt-image-1-mini",), lambda _: "/v1/images/edits",
        edit, most_choices=4, content_type=FORM, task=True,
    ),
    Kind(
        "gemini batch", "generativelanguage.googleapis.com", ("gemini-embedding-001",),
        lambda asked: f"/v1beta/models/{asked.model}:batchEmbedContents", batch, task=True,
        streams=False, provider="google",
    ),
    Kind(
        "speech", "api.openai.com", ("tts-1",), lambda _: "/v1/audio/speech", speech, task=True,
        streams=False,
    ),
    Kind(
        "transcription", "api.openai.com", ("whisper-1", "gpt-4o-transcribe"),
        lambda _: "/v1/audio/transcriptions", recording, content_type=FORM, task=True,
    ),
    Kind(
        "ocr", "api.mistral.ai", ("mistral-ocr-2512",), lambda _: "/v1/ocr", reading, task=True,
        streams=False, provider="mistral",
    ),
    Kind(
        "rerank", "api.cohere.com", ("rerank-v3.5",), lambda _: "/v2/rerank", ranking, task=True,
        streams=False,
        provider="cohere",
    ),
)  # fmt: skip
