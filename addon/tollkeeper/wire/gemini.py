"""Gemini generateContent, streamGenerateContent and what takes the same contents.

The API reads protocol buffers from JSON: every field may be written in camelCase or in snake_case.
Both spellings of one field at once are refused.

Source: https://ai.google.dev/api/generate-content,
https://protobuf.dev/programming-guides/json (field names), and ``google-genai`` 3.4 (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import Document, canonical, read

KNOWN: Final = fields.words("""model contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent
    labels serviceTier store""")

RESENT: Final = fields.words("contents labels")
_NOT_RENDERED: Final = RESENT | fields.words("safetySettings serviceTier store")

_SAMPLING: Final = fields.words("""temperature topP topK candidateCount maxOutputTokens stopSequences responseLogprobs logprobs
    presencePenalty frequencyPenalty seed""")

CACHE: Final = "cachedContent"
"""What the input is hidden by when a call names a cache."""

_METHOD: Final = re.compile(r"((?:models|tunedModels)/[^/:]+):([A-Za-z]+)$")
_PLAIN_PARTS: Final = fields.words("""text thought thoughtSignature functionCall functionResponse executableCode codeExecutionResult
    partMetadata toolCall toolResponse mediaResolution videoMetadata inlineData""")


def model_in(path: str) -> str | None:
    """The model that a path names, without ``models/``; tuned models keep their ``tunedModels/``."""
    found = _METHOD.search(path)
    return found[1].removeprefix("models/") if found else None


def with_model(path: str, model: str) -> str:
    """The path with another model in it."""
    found = _METHOD.search(path)
    if found is None:
        raise WireError("The path names no model that could be changed.")
    name = model if "/" in model else f"models/{model}"
    return f"{path[: found.start(1)]}{name}:{found[2]}"


def spelled(body: Mapping[str, Any], name: str) -> str:
    """The key under which ``name`` stands in ``body``: camelCase unless snake_case was used."""
    snake = _snake(name)
    if snake != name and snake in body:
        if name in body:
            raise WireError(f"{name} and {snake} are one field; send it once.")
        return snake
    return name


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def in_camel_case(body: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its keys in camelCase; what is in neither spelling stays as it is: another field.

    Raises:
        WireError: When one field is there in both spellings.
    """
    named: dict[str, Any] = {}
    for key, value in body.items():
        camel = _camel(key) if "_" in key else key
        camel = camel if _snake(camel) == key else key
        if camel in named:
            raise WireError(f"{camel} and {_snake(camel)} are one field; send it once.")
        named[camel] = value
    return named


def limit_key(document: Document) -> tuple[str, str]:
    """Where the output limit stands in a request, in the spelling that it has."""
    body = document.values()
    outer = spelled(body, "generationConfig")
    config = body.get(outer)
    return outer, spelled(config if isinstance(config, dict) else {}, "maxOutputTokens")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A generation, streamed or not, which to an approval is the same call.

    Thinking counts within ``maxOutputTokens``.
    Source: https://ai.google.dev/gemini-api/docs/thinking#pricing

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    body = in_camel_case(read(inbound.body).values())
    model = endpoint.model or model_in(inbound.path)
    said = fields.text(body, "model")
    if said is not None and said.removeprefix("models/") != model:
        raise WireError(f"The path names the model {model}, the body another one; send one model.")
    if model is None:
        raise WireError("The path names no model.")
    config = in_camel_case(fields.mapping(body, "generationConfig"))
    tally = bound.Tally(Dialect.GEMINI, model)
    offered, served = _tools(body, tally)
    _system(body, tally)
    head = {key: value for key, value in body.items() if key not in _NOT_RENDERED}
    head["model"] = model
    head["generationConfig"] = {k: v for k, v in config.items() if k not in _SAMPLING}
    head_text = canonical([inbound.provider.name, head])
    head_tokens = bound.head_bound(head, head_text) + tally.more_tokens
    turns = bound.chain(head_text, _contents(body), tally, _walk, _same)
    _settings(body, config, tally)
    hidden = facts.hidden_input_tokens(Dialect.GEMINI, model, bool(offered or served))
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.GEMINI,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=inbound.path.endswith(":streamGenerateContent"),
        head_bound_tokens=head_tokens + hidden,
        turns=turns,
        opaque_input=tally.opaque,
        unsized_parts=tally.unsized_parts,
        max_output_tokens=fields.count(config, "maxOutputTokens"),
        choices=fields.count(config, "candidateCount") or 1,
        features=frozenset(tally.features),
        service_tier=fields.text(body, "serviceTier"),
        tools_offered=fields.unique(offered),
        server_tools=fields.unique(served),
        unknown_parameters=tuple(key for key in body if key not in KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(
            (Dialect.GEMINI, inbound.provider.name, model),
            body,
            RESENT,
            turns,
        ),
        cache=cache if isinstance(cache := body.get("cachedContent"), str) else None,
    )


def _system(body: Mapping[str, Any], tally: bound.Tally) -> None:
    system = body.get("systemInstruction")
    if system is not None:
        _walk(system if isinstance(system, dict) else {"parts": system}, tally)


def _contents(body: Mapping[str, Any]) -> list[Any]:
    contents = body.get("contents")
    if contents is None:
        raise WireError("contents is missing; a list of contents was expected.")
    return [contents] if isinstance(contents, dict) else fields.objects(body, "contents")


def _settings(body: Mapping[str, Any], config: Mapping[str, Any], tally: bound.Tally) -> None:
    if body.get("cachedContent") is not None:
        tally.hide(CACHE)
    for modality in fields.items(config, "responseModalities"):
        if str(modality).upper() == "IMAGE":
            tally.features.add("image_out")
        elif str(modality).upper() == "AUDIO":
            tally.features.add("audio_out")
    thinking = in_camel_case(fields.mapping(config, "thinkingConfig"))
    if thinking and thinking.get("thinkingBudget") != 0:
        tally.features.add("reasoning")


def _tools(body: Mapping[str, Any], tally: bound.Tally) -> tuple[list[str], list[str]]:
    """Names of the client's functions, and tools that the provider runs."""
    offered: list[str] = []
    served: list[str] = []
    given = body.get("tools")
    tools = [given] if isinstance(given, dict) else fields.objects(body, "tools")
    for tool in tools:
        for key, value in in_camel_case(tool).items():
            if key == "functionDeclarations":
                declared = fields.objects({key: value}, key)
                offered += [fields.name_of(function) for function in declared]
            elif key == "computerUse":
                offered.append("computer_use")
                tally.hide("the built-in tool computerUse")
            elif value is not None:
                served.append(_snake(key).replace("google_search_retrieval", "google_search"))
    return offered, served


def _walk(content: dict[str, Any], tally: bound.Tally) -> None:
    parts = content.get("parts")
    if isinstance(parts, str):
        tally.texts.append(parts)
        return
    if parts is not None and not isinstance(parts, (list, dict)):
        raise WireError("parts of a content must be a list.")
    for part in [parts] if isinstance(parts, dict) else parts or []:
        if isinstance(part, str):
            tally.texts.append(part)
        elif isinstance(part, dict):
            _part(in_camel_case(part), tally)
        else:
            raise WireError("A part of a content must be an object.")


def _part(part: Mapping[str, Any], tally: bound.Tally) -> None:
    tally.text(part.get("text"))
    for key in part:
        if key == "fileData":
            tally.file("fileData part")
        elif key not in _PLAIN_PARTS:
            tally.hide(f"{key} part")
    if part.get("inlineData") is not None:
        _inline(in_camel_case(fields.mapping(part, "inlineData")), tally)
    if part.get("functionCall") is not None:
        tally.tool_call(fields.mapping(part, "functionCall").get("args"))
    if part.get("functionResponse") is not None:
        response = fields.mapping(part, "functionResponse")
        tally.tool_call(response.get("response"))
        for inner in fields.objects(response, "parts"):
            _part(in_camel_case(inner), tally)


def _inline(data: Mapping[str, Any], tally: bound.Tally) -> None:
    """Images are billed by size, sound by the second, documents and video by what is in them.

    Source: https://ai.google.dev/gemini-api/docs/tokens#multimodal-tokens
    """
    kind = str(data.get("mimeType", "")).lower()
    if kind.startswith("image/"):
        inline = data.get("data")
        tally.image(inline if isinstance(inline, str) else "")
    elif kind.startswith("audio/"):
        tally.features.add("audio_in")
    elif not kind.startswith("text/") or not kind:
        tally.file(f"{kind or 'inline'} data", data.get("data"))


def _same(_content: dict[str, Any], text: str) -> str:
    return text
