"""Text completions: a prompt instead of a conversation, and fill-in-the-middle after it.

Source: https://platform.openai.com/docs/api-reference/completions/create,
https://docs.mistral.ai/api/#tag/fim, https://api-docs.deepseek.com/api/create-completion
"""

from __future__ import annotations

from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read

_KNOWN: Final = fields.words("""model prompt suffix max_tokens min_tokens temperature top_p top_k min_p n best_of
    stream stream_options logprobs echo stop presence_penalty frequency_penalty repetition_penalty
    logit_bias user seed random_seed metadata response_format ignore_eos service_tier
    prompt_cache_key safe_prompt""")
_RESENT: Final = tasks.RESENT | {"prompt_cache_key"}


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """One prompt or a list of them, as text or as tokens; each is completed ``n`` times.

    ``best_of`` completions are made, and billed, for one that is sent.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    body = read(inbound.body).values()
    model = tasks.model_of(body, endpoint)
    prompts = _prompts(body.get("prompt"))
    each = max(fields.count(body, key) or 1 for key in ("n", "best_of"))
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    hidden = facts.hidden_input_tokens(Dialect.OPENAI_TEXT, model, tools=False)
    plain = {key: value for key, value in body.items() if key != "model"}
    parts = (endpoint.dialect, inbound.provider.name, endpoint.operation, model)
    return Call(
        provider=inbound.provider.name,
        dialect=endpoint.dialect,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=fields.flag(body, "stream"),
        head_bound_tokens=bound.text_bound(canonical(body))
        + (bound.HEAD_ALLOWANCE + hidden) * len(prompts),
        max_output_tokens=fields.count(body, "max_tokens", 0),
        choices=each * len(prompts),
        service_tier=fields.text(body, "service_tier"),
        unknown_parameters=tuple(key for key in body if key not in _KNOWN),
        prompt=bound.prompt_of(texts),
        approval_digest=bound.approval_digest(parts, plain, _RESENT, ()),
    )


def _prompts(given: Any) -> list[Any]:
    """The prompts; a list of numbers is one prompt of tokens, and none at all is an empty one."""
    if given is None:
        return [""]
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise WireError("prompt must be text, a list of texts, or a list of tokens.")
    if all(type(one) is int for one in given):
        return [given]
    for one in given:
        tokens = isinstance(one, list) and all(type(token) is int for token in one)
        if not (isinstance(one, str) or tokens):
            raise WireError("prompt must be text, a list of texts, or a list of tokens.")
    return given
