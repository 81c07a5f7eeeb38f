"""Ollama's own API: chat, text and embeddings, streamed as one JSON object a line unless told otherwise.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read

_KNOWN: Final = fields.words("""model messages prompt suffix images format options system template stream raw keep_alive
    context tools think input truncate dimensions logprobs top_logprobs shift width height steps""")
_RESENT: Final = fields.words("messages stream keep_alive")


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A chat, a completion or an embedding.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    if endpoint.operation == "embed":
        return _embed(inbound, endpoint)
    body = read(inbound.body).values()
    model = fields.text(body, "model")
    if model is None:
        raise WireError("model is missing; name the model to call.")
    tally = bound.Tally(Dialect.OLLAMA, model)
    head = {key: value for key, value in body.items() if key not in _RESENT and key != "images"}
    head_text = canonical([inbound.provider.name, endpoint.operation, head])
    messages = fields.objects(body, "messages")
    turns = bound.chain(head_text, messages, tally, _walk, lambda _, text: text)
    tally.text(body.get("prompt"))
    tally.more_tokens = 0
    for _ in fields.items(body, "images"):
        tally.image()
    if body.get("think"):
        tally.features.add("reasoning")
    parts = (Dialect.OLLAMA, inbound.provider.name, endpoint.operation, model)
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.OLLAMA,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=body.get("stream") is not False,
        head_bound_tokens=bound.head_bound(head, head_text) + tally.more_tokens,
        turns=turns,
        opaque_input=tally.opaque,
        max_output_tokens=_limit(body),
        features=frozenset(tally.features),
        tools_offered=fields.unique(
            fields.name_of(fields.mapping(tool, "function"))
            for tool in fields.objects(body, "tools")
        ),
        unknown_parameters=tuple(key for key in body if key not in _KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(parts, body, _RESENT, turns),
    )


def _limit(body: Mapping[str, Any]) -> int | None:
    """``num_predict``; 0 and less are none at all."""
    limit = fields.mapping(body, "options").get("num_predict")
    if limit is None or (type(limit) is int and limit <= 0):
        return None
    if type(limit) is not int:
        raise WireError("options.num_predict must be a whole number.")
    return limit


def _walk(message: dict[str, Any], tally: bound.Tally) -> None:
    tally.text(message.get("content"))
    for image in fields.items(message, "images"):
        tally.image(image if isinstance(image, str) else "")
    for call in fields.objects(message, "tool_calls"):
        tally.tool_call(fields.mapping(call, "function").get("arguments"))


def _embed(inbound: Inbound, endpoint: Endpoint) -> Call:
    values = read(inbound.body).values()
    given = tasks.one_of(values, "input", "prompt")
    if given is None:
        raise WireError("input is missing; a text or a list of texts was expected.")
    listed = given if isinstance(given, list) else [given]
    return tasks.task(
        inbound,
        endpoint,
        tasks.model_of(values, endpoint),
        values,
        _KNOWN,
        input_tokens=tasks.json_bound(listed) + tasks.INPUT_ALLOWANCE * len(listed),
        texts=tuple(one for one in listed if isinstance(one, str)),
    )
