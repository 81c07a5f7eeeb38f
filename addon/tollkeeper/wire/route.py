"""From a request to its dialect: what a path asks for, what a body says, how it is changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Changes, Dialect, Provider
from tollkeeper.errors import WireError
from tollkeeper.wire import (
    anthropic,
    azure,
    bedrock,
    bedrock_invoke,
    bedrock_native,
    chatgpt,
    code_assist,
    cohere,
    embeddings,
    gemini,
    gemini_caches,
    imagen,
    multipart,
    native_meter,
    ocr,
    ollama,
    openai_audio,
    openai_chat,
    openai_images,
    openai_responses,
    openai_text,
    realtime_meter,
    realtime_upgrade,
    rerank,
    task_meter,
    tasks,
    vertex,
)
from tollkeeper.wire import meter as meters
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import Document, read, splice
from tollkeeper.wire.metering import Meter
from tollkeeper.wire.stored import stored_objects

_BY_API: Final[Mapping[str, Dialect]] = {
    "openai": Dialect.OPENAI_CHAT,
    "anthropic": Dialect.ANTHROPIC,
    "gemini": Dialect.GEMINI,
    chatgpt.API: Dialect.OPENAI_RESPONSES,
    "code_assist": Dialect.CODE_ASSIST,
    "cohere": Dialect.COHERE,
    "ollama": Dialect.OLLAMA,
    "bedrock": Dialect.BEDROCK_CONVERSE,
    "vertex-anthropic": Dialect.ANTHROPIC,
}

_IN_PATH: Final = frozenset(
    {Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE, Dialect.BEDROCK_NATIVE}
)
"""Dialects whose model stands in the path alone."""

_CHARSET: Final = re.compile(r"charset([^;,]*)")
_READABLE: Final = re.compile(r"\s*=\s*(?:utf-?8|us-ascii|\"(?:utf-?8|us-ascii)\")\s*")

_NO_STREAM_OPTIONS: Final = frozenset({"mistral", "mistral-regional", "cohere", "fireworks"})
"""Providers that refuse ``stream_options``, or have; Mistral and Fireworks send usage all the same.

Source: https://github.com/openai/openai-agents-python/issues/442 (Mistral),
https://strandsagents.com/docs/user-guide/concepts/model-providers/cohere/ (its compatibility API),
https://github.com/FlowiseAI/Flowise/issues/2866 (Fireworks), and
https://docs.fireworks.ai/tools-sdks/openai-compatibility (usage with the last chunk)
"""

_NEW_LIMIT_NAME: Final = ("openai", "azure")
"""Providers whose newer models refuse ``max_tokens``; of the others some (Mistral) refuse
``max_completion_tokens``.

Source: https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens,
https://github.com/editor-code-assistant/eca/issues/231
"""


STORED: Final = "stored"
"""The operation of endpoints that make, read or end what a provider keeps, for nothing."""

_STORED: Final = re.compile(r"/(?:responses|conversations)/([^/]+)")


def recognise(provider: Provider, method: str, path: str) -> Endpoint | None:
    """What a request asks for, or None: an unknown endpoint of a provider, to be refused.

    Only the exact spelling is known: percent-encoding, doubled or trailing slashes, dot segments
    and other letter cases are other paths.
    """
    fact = facts.endpoint(provider, method, path)
    if fact is None:
        return None
    dialect = fact.dialect or dialect_at(provider, method, path)
    named = facts.named_in(provider, method, path)
    deployment = named.get("deployment")
    model = gemini.model_in(path) if dialect is Dialect.GEMINI else named.get("model")
    if deployment is not None:
        model = facts.model_of(provider, deployment)
    named_object = _STORED.search(path) if fact.operation == STORED else None
    return Endpoint(
        fact.operation,
        dialect,
        fact.metered,
        model,
        deployment=deployment,
        location=named.get("location"),
        object=named_object[1] if named_object else gemini_caches.name_of(named.get("cache")),
        reaches_stored=fact.operation == STORED,
    )


def dialect_at(provider: Provider, method: str, path: str) -> Dialect:
    """The dialect in which to refuse a request, known endpoint or not."""
    mount = facts.mount_of(provider, method, path)
    api = mount.api if mount else provider.api
    return _BY_API.get(api, Dialect.OPENAI_CHAT)


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """The call that a request makes.

    A free endpoint's body is not looked into, beyond the model it may name.

    Raises:
        WireError: One sentence on what cannot be read.
    """
    if endpoint.dialect is Dialect.OPENAI_REALTIME:
        return realtime_upgrade.upgrade(inbound, endpoint)
    if not endpoint.metered:
        return _free(inbound, endpoint)
    kind = inbound.headers.get("content-type", "").lower()
    for charset in _CHARSET.findall(kind):
        if not _READABLE.fullmatch(charset):
            raise WireError(f"The body is said to be {charset.strip(' =')[:20]}; send UTF-8.")
    forms = multipart.is_form(kind)
    if forms and not _takes_forms(endpoint):
        raise WireError("The content type says that the body is a form; send JSON, and say so.")
    call = _spoken(inbound, endpoint)
    if forms:
        return call
    stored = stored_objects(inbound.body)
    return call if stored is None else replace(call, stored=stored[0], stored_ids=stored[1])


def _takes_forms(endpoint: Endpoint) -> bool:
    """Whether its dialect reads forms; what another one makes of a body that says so is in doubt."""
    heard = endpoint.dialect is Dialect.AUDIO and endpoint.operation != "speech"
    return heard or endpoint.dialect is Dialect.IMAGES


def _spoken(inbound: Inbound, endpoint: Endpoint) -> Call:
    """The call in its dialect's own terms, which a cloud's paths and headers complete."""
    asked, deployment = azure.asked(inbound, endpoint)
    call = _in_dialect(vertex.asked(asked, endpoint), endpoint)
    return azure.told(vertex.told(call, inbound, endpoint), inbound, endpoint, deployment)


def _in_dialect(inbound: Inbound, endpoint: Endpoint) -> Call:
    match endpoint.dialect:
        case Dialect.BEDROCK_CONVERSE:
            return bedrock.parse(inbound, endpoint)
        case Dialect.BEDROCK_INVOKE:
            return bedrock_invoke.parse(inbound, endpoint)
        case Dialect.OPENAI_CHAT:
            return openai_chat.parse(inbound, endpoint)
        case Dialect.OPENAI_RESPONSES:
            if inbound.provider.api == chatgpt.API:
                return chatgpt.parse(inbound, endpoint)
            return openai_responses.parse(inbound, endpoint)
        case Dialect.ANTHROPIC:
            return anthropic.parse(inbound, endpoint)
        case Dialect.GEMINI:
            if endpoint.operation in gemini_caches.OPERATIONS:
                return gemini_caches.parse(inbound, endpoint)
            if endpoint.operation == imagen.OPERATION:
                return imagen.parse(inbound, endpoint)
            if embeddings.is_gemini(endpoint):
                return embeddings.parse_gemini(inbound, endpoint)
            return gemini.parse(inbound, endpoint)
        case Dialect.CODE_ASSIST:
            return code_assist.parse(inbound, endpoint)
        case dialect:
            return _TASKS[dialect](inbound, endpoint)


_TASKS: Final[Mapping[Dialect, Callable[[Inbound, Endpoint], Call]]] = {
    Dialect.OPENAI_TEXT: openai_text.parse,
    Dialect.EMBEDDINGS: embeddings.parse,
    Dialect.IMAGES: openai_images.parse,
    Dialect.AUDIO: openai_audio.parse,
    Dialect.RERANK: rerank.parse,
    Dialect.OCR: ocr.parse,
    Dialect.COHERE: cohere.parse,
    Dialect.OLLAMA: ollama.parse,
}


def _free(inbound: Inbound, endpoint: Endpoint) -> Call:
    model = endpoint.model
    if model is None and endpoint.operation == "count_tokens":
        said = read(inbound.body).values().get("model")
        model = said if isinstance(said, str) else None
    elif model is not None and endpoint.dialect in _IN_PATH:
        model, _ = bedrock.identify(inbound.provider, model)
    digest = hashlib.sha256()
    for text in (inbound.provider.name, inbound.method, inbound.path, inbound.query):
        digest.update(f"{len(text)}:{text}".encode("utf-8", "backslashreplace"))
    digest.update(inbound.body)
    stored = _named_in(inbound, endpoint)
    return Call(
        provider=inbound.provider.name,
        dialect=endpoint.dialect,
        operation=endpoint.operation,
        metered=False,
        model=model,
        stream=endpoint.object is not None and "stream=true" in inbound.query.split("&"),
        stored=inbound.path if endpoint.operation == "objects" else stored[0] if stored else None,
        stored_ids=stored[1] if stored else (),
        approval_digest=digest.hexdigest(),
    )


def _named_in(inbound: Inbound, endpoint: Endpoint) -> tuple[str, tuple[str, ...]] | None:
    """What a free endpoint that reaches into a provider's store names, in its path and body."""
    if not endpoint.reaches_stored:
        return None
    in_body = stored_objects(inbound.body) if inbound.body else None
    ids = (*([endpoint.object] if endpoint.object else []), *(in_body[1] if in_body else ()))
    return ("The path" if endpoint.object else in_body[0] if in_body else "", ids) if ids else None


def wants_usage_event(call: Call, body: bytes) -> bool:
    """Whether ``include_usage`` must be put in for the stream to say what it cost.

    Args:
        call: With the provider that will answer it, when an alias moved it to another one.
        body: As it came.
    """
    if (
        call.dialect not in (Dialect.OPENAI_CHAT, Dialect.OPENAI_TEXT)
        or not call.stream
        or not call.metered
        or call.provider in _NO_STREAM_OPTIONS
        or azure.NO_USAGE_EVENT in call.features
    ):
        return False
    if b"include_usage" not in body and b"\\u" not in body:
        return True
    options = read(body).values().get("stream_options")
    return not (isinstance(options, dict) and options.get("include_usage") is True)


def rewrite(
    call: Call,
    body: bytes,
    path: str,
    changes: Changes,
    *,
    include_usage: bool,
    content_type: str = "",
) -> tuple[bytes, str]:
    """The request with what was decided put in, every other byte as it was.

    Args:
        call: As parsed from this body and path.
        body: As it came.
        path: Without the query.
        changes: An alias' real model, an output limit.
        include_usage: Put ``stream_options.include_usage`` in (``wants_usage_event``).
        content_type: The request's, which says whether its body is a form.

    Raises:
        WireError: When the body is not what the call was parsed from.
    """
    if changes.model is None and changes.max_output_tokens is None and not include_usage:
        return body, path
    if changes.model is not None and multipart.is_form(content_type):
        return multipart.with_text(content_type, body, "model", changes.model, tasks.LISTS), path
    document: Document | None = None
    edits: dict[tuple[str, ...], Any] = {}
    if changes.model is not None:
        if call.dialect in _IN_PATH:
            path = bedrock.with_model(path, changes.model)
        elif call.operation == gemini_caches.CREATE:
            edits["model",] = f"models/{changes.model}"
        elif call.dialect is Dialect.GEMINI or gemini.model_in(path) is not None:
            path = gemini.with_model(path, changes.model)
            document = read(body)
            if "model" in document.members:
                edits["model",] = f"models/{changes.model}"
        else:
            edits["model",] = changes.model
    if call.dialect is Dialect.CODE_ASSIST and changes.max_output_tokens is not None:
        body = code_assist.with_limit(read(body), changes.max_output_tokens)
        changes = replace(changes, max_output_tokens=None)
    document = document or read(body)
    if changes.max_output_tokens is not None:
        for key in _limit_keys(call, document, changes):
            edits[key] = changes.max_output_tokens
    if include_usage:
        edits["stream_options", "include_usage"] = True
    return (splice(document, edits) if edits else body), path


def _limit_keys(call: Call, document: Document, changes: Changes) -> list[tuple[str, ...]]:
    """Where the output limit goes: where one stands already, else where the provider takes it."""
    match call.dialect:
        case Dialect.OPENAI_RESPONSES:
            return [("max_output_tokens",)]
        case Dialect.ANTHROPIC | Dialect.BEDROCK_INVOKE:
            return [("max_tokens",)]
        case Dialect.OPENAI_TEXT | Dialect.COHERE:
            return [("max_tokens",)]
        case Dialect.OLLAMA:
            return [("options", "num_predict")]
        case Dialect.BEDROCK_CONVERSE:
            return [("inferenceConfig", "maxTokens")]
        case Dialect.BEDROCK_NATIVE:
            return bedrock_native.limit_keys(call.model or "", document)
        case Dialect.GEMINI:
            return [gemini.limit_key(document)]
        case Dialect.CODE_ASSIST:
            raise AssertionError("its limit is put in by code_assist.with_limit")
        case Dialect.OPENAI_CHAT:
            named = [
                (key,)
                for key in ("max_tokens", "max_completion_tokens")
                if key in document.members and document.members[key].value is not None
            ]
            if named:
                return list(named)
            new = (changes.provider or call.provider).startswith(_NEW_LIMIT_NAME)
            return [("max_completion_tokens" if new else "max_tokens",)]
        case _:
            return []


def meter(
    call: Call,
    content_type: str,
    *,
    take_out_usage: bool,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Meter:
    """The meter for the answer to ``call``, by what the answer says it is.

    Args:
        call: With the provider that answered it, when an alias moved it to another one.
        content_type: The answer's header.
        take_out_usage: True when ``include_usage`` was put in by us.
        headers: The answer's by lower-case name; some providers tell there what was used.
    """
    if call.dialect is Dialect.BEDROCK_NATIVE:
        return native_meter.meter(call, content_type, headers)
    if call.dialect in _TASKS and call.dialect is not Dialect.OPENAI_TEXT:
        return task_meter.meter(call, content_type)
    if call.operation in gemini_caches.OPERATIONS:
        return gemini_caches.meter(call)
    if call.operation == imagen.OPERATION:
        return imagen.meter(call)
    if call.dialect is Dialect.GEMINI and call.operation in ("embed", "batch_embed"):
        return task_meter.meter(call, content_type)
    if call.dialect is Dialect.OPENAI_REALTIME:
        return realtime_meter.RealtimeMeter(call.provider)
    chat = call.dialect is Dialect.OPENAI_TEXT
    dialect = Dialect.OPENAI_CHAT if chat else call.dialect
    return meters.meter(
        dialect, call.provider, content_type, call.stream, take_out_usage=take_out_usage
    )
