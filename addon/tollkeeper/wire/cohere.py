"""Cohere's own API: chat in its second and first version, and embeddings.

Billed are ``billed_units``: the tokens of what the client wrote, never more than the model reads.

Source: https://docs.cohere.com/reference/chat, https://docs.cohere.com/v1/reference/chat,
https://docs.cohere.com/reference/embed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read

_KNOWN: Final = fields.words("""model messages message chat_history preamble tools tool_results tool_choice strict_tools
    documents connectors citation_options citation_quality response_format safety_mode max_tokens
    stop_sequences temperature seed frequency_penalty presence_penalty k p logprobs stream thinking
    priority prompt_truncation search_queries_only force_single_step raw_prompting return_prompt
    max_input_tokens conversation_id reasoning_effort""")
_RESENT: Final = fields.words("stream messages message chat_history")
_NOT_RENDERED: Final = _RESENT | fields.words(
    "max_tokens temperature k p seed frequency_penalty presence_penalty stop_sequences logprobs"
)
_EMBED: Final = fields.words("""model texts images inputs input_type embedding_types output_dimension max_tokens
    truncate priority""")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A chat or an embedding.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    return _embed(inbound, endpoint) if endpoint.operation == "embed" else _chat(inbound, endpoint)


def _chat(inbound: Inbound, endpoint: Endpoint) -> Call:
    body = read(inbound.body).values()
    model = fields.text(body, "model")
    if model is None:
        raise WireError("model is missing; name the model to call.")
    tally = bound.Tally(Dialect.COHERE, model)
    head = {key: value for key, value in body.items() if key not in _NOT_RENDERED}
    head_text = canonical([inbound.provider.name, endpoint.operation, head])
    turns = bound.chain(head_text, _messages(body), tally, _walk, lambda _, text: text)
    if fields.text(body, "conversation_id") is not None:
        tally.hide("conversation_id")
    if fields.mapping(body, "thinking").get("type") not in (None, "disabled"):
        tally.features.add("reasoning")
    connectors = [str(one.get("id", "connector")) for one in fields.objects(body, "connectors")]
    parts = (Dialect.COHERE, inbound.provider.name, endpoint.operation, model)
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.COHERE,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=fields.flag(body, "stream"),
        head_bound_tokens=bound.head_bound(head, head_text),
        turns=turns,
        opaque_input=tally.opaque,
        stored="conversation_id" if body.get("conversation_id") else None,
        max_output_tokens=fields.count(body, "max_tokens"),
        features=frozenset(tally.features),
        tools_offered=fields.unique(_tool_name(tool) for tool in fields.objects(body, "tools")),
        server_tools=fields.unique(connectors),
        unknown_parameters=tuple(key for key in body if key not in _KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(parts, body, _RESENT, turns),
    )


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The second version's messages, or the first's history with the message that is new."""
    for older in ("message", "chat_history"):
        tasks.one_of(body, "messages", older)
    if body.get("messages") is not None:
        return fields.objects(body, "messages")
    message = fields.text(body, "message")
    if message is None:
        raise WireError("messages is missing; a list of messages was expected.")
    return [*fields.objects(body, "chat_history"), {"role": "USER", "message": message}]


def _walk(message: dict[str, Any], tally: bound.Tally) -> None:
    content = message.get("content", message.get("message"))
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            tally.texts.append(part)
        elif isinstance(part, dict):
            _part(part, tally)
        elif part is not None:
            raise WireError("content of a message must be text or a list of parts.")
    for _ in (*fields.objects(message, "tool_calls"), *fields.objects(message, "tool_results")):
        tally.tool_call()


def _part(part: Mapping[str, Any], tally: bound.Tally) -> None:
    match part.get("type"):
        case "text" | "thinking" | "document":
            tally.text(part.get("text"))
        case "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            tally.image(url if isinstance(url, str) and url[:11].lower() == "data:image/" else "")
        case _:
            tally.hide("content of an unknown type")


def _tool_name(tool: Mapping[str, Any]) -> str:
    """The second version nests a tool under ``function``, the first does not."""
    return fields.name_of(fields.mapping(tool, "function") if "function" in tool else tool)


def _embed(inbound: Inbound, endpoint: Endpoint) -> Call:
    values = read(inbound.body).values()
    model = tasks.model_of(values, endpoint)
    texts = [text for text in fields.items(values, "texts") if isinstance(text, str)]
    inputs = fields.objects(values, "inputs")
    plain = all(
        part.get("type") == "text" for one in inputs for part in fields.objects(one, "content")
    )
    media = bool(values.get("images")) or not plain
    if not (texts or inputs or values.get("images")):
        raise WireError("texts, images or inputs is missing.")
    return tasks.task(
        inbound,
        endpoint,
        model,
        values,
        _EMBED,
        input_tokens=tasks.json_bound([texts, inputs]) + tasks.INPUT_ALLOWANCE * len(texts),
        texts=tuple(texts),
        features=frozenset({"vision"}) if media else frozenset(),
        unbounded="the images that are embedded" if media else None,
    )
