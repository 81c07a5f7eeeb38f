"""OpenAI chat completions, and what many providers speak after it.

Source: https://platform.openai.com/docs/api-reference/chat/create and the parameter types of the
``openai`` 3.52 package (2026-11). Extensions: https://openrouter.ai/docs/api-reference/parameters,
https://docs.x.ai/docs/api-reference, https://console.groq.com/docs/api-reference,
https://docs.mistral.ai/api, https://api-docs.deepseek.com/api/create-chat-completion
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read

_OPENAI: Final = fields.words("""audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
    max_tokens messages metadata modalities model moderation n parallel_tool_calls prediction
    presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort
    response_format safety_identifier seed service_tier stop store stream stream_options temperature
    tool_choice tools top_logprobs top_p user verbosity web_search_options""")
_OTHERS: Final = fields.words("""best_of min_p top_k top_a repetition_penalty transforms models route provider plugins reasoning
    include_reasoning usage preset session_id search_parameters deferred citation_options
    compound_custom disable_tool_validation documents exclude_domains include_domains
    reasoning_format search_settings prompt_mode random_seed safe_prompt guardrails thinking
    enable_thinking thinking_budget web_search_options search_mode search_domain_filter
    search_recency_filter return_images return_related_questions context_length_exceeded_behavior
    min_tokens ignore_eos chat_template_kwargs""")
KNOWN: Final = _OPENAI | _OTHERS

RESENT: Final = fields.words("""messages stream stream_options metadata user safety_identifier prompt_cache_key
    prompt_cache_options prompt_cache_retention session_id""")
"""Left out of the approval digest: what a client changes when it sends the same call again."""

_NOT_RENDERED: Final = RESENT | fields.words("""max_tokens max_completion_tokens temperature top_p top_k min_p n best_of seed random_seed stop
    store logprobs top_logprobs logit_bias frequency_penalty presence_penalty repetition_penalty
    service_tier usage prediction""")
"""Left out of the head's digest: what cannot change how the input is rendered."""

_SEARCHING: Final = ("-search-preview", "-search-api", "sonar", "groq/compound", "compound-beta")
"""Models that search on their own. Source: https://platform.openai.com/docs/guides/tools-web-search,
https://docs.perplexity.ai/getting-started/models, https://console.groq.com/docs/compound"""


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A chat call, an old text completion or an embedding.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    body = read(inbound.body).values()
    model = fields.text(body, "model")
    if model is None:
        raise WireError("model is missing; name the model to call.")
    _refuse_fallbacks(body, model)
    tally = bound.Tally(Dialect.OPENAI_CHAT, model)
    offered, served = _tools(body)
    if body.get("messages") is None:
        raise WireError("messages is missing; a list of messages was expected.")
    head = {key: value for key, value in body.items() if key not in _NOT_RENDERED}
    head_text = canonical([inbound.provider.name, endpoint.operation, head])
    turns = bound.chain(head_text, fields.objects(body, "messages"), tally, _walk, _strip)
    served += _served(body, model)
    _features(body, tally)
    hidden = facts.hidden_input_tokens(Dialect.OPENAI_CHAT, model, bool(offered or served))
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.OPENAI_CHAT,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        stream=fields.flag(body, "stream"),
        head_bound_tokens=bound.head_bound(head, head_text) + hidden,
        turns=turns,
        opaque_input=tally.opaque,
        unsized_parts=tally.unsized_parts,
        max_output_tokens=_limit(body),
        choices=max(fields.count(body, key) or 1 for key in ("n", "best_of")),
        extra_output_tokens=_prediction(body),
        features=frozenset(tally.features),
        service_tier=fields.text(body, "service_tier"),
        tools_offered=fields.unique(offered),
        server_tools=fields.unique(served),
        unknown_parameters=tuple(key for key in body if key not in KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(
            (Dialect.OPENAI_CHAT, inbound.provider.name, endpoint.operation, model),
            body,
            RESENT,
            turns,
        ),
    )


def _refuse_fallbacks(body: Mapping[str, Any], model: str) -> None:
    """Other models than the one named cannot be judged or priced.

    Source: https://openrouter.ai/docs/features/model-routing, …/features/presets
    """
    for key in ("models", "preset", "fallbacks"):
        if body.get(key):
            raise WireError(f"{key} lets another model answer than `model` names; name one model.")
    if "@preset/" in model.lower():
        raise WireError("A preset as the model hides which model answers; name one model.")


def _limit(body: Mapping[str, Any]) -> int | None:
    """The larger of the two limits when both are named, since it is not said which one holds."""
    limits = [fields.count(body, key) for key in ("max_tokens", "max_completion_tokens")]
    return max((limit for limit in limits if limit is not None), default=None)


def _prediction(body: Mapping[str, Any]) -> int:
    """Rejected tokens of a prediction are billed as output.

    Source: https://platform.openai.com/docs/guides/predicted-outputs
    """
    prediction = fields.mapping(body, "prediction")
    return bound.text_bound(canonical(prediction)) if prediction else 0


def _tools(body: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the client's tools, and kinds of tools that the provider runs."""
    offered: list[str] = []
    served: list[str] = []
    for tool in fields.objects(body, "tools"):
        match tool.get("type"):
            case "function" | "custom" as kind:
                offered.append(fields.name_of(fields.mapping(tool, kind)))
            case None if "function" in tool:
                offered.append(fields.name_of(fields.mapping(tool, "function")))
            case str() as kind if kind:
                served.append(kind)
            case _:
                raise WireError("A tool in tools has no type.")
    offered += [fields.name_of(f, "functions") for f in fields.objects(body, "functions")]
    return offered, served


def _served(body: Mapping[str, Any], model: str) -> list[str]:
    """Searches and plugins that the provider runs without being offered as tools.

    Source: https://openrouter.ai/docs/features/web-search (``plugins``, ``:online``),
    https://docs.x.ai/docs/guides/live-search (``search_parameters``)
    """
    served = []
    name = model.lower()  # as prices are found by it
    searching = name.endswith(":online") or any(part in name for part in _SEARCHING)
    if searching or body.get("web_search_options") is not None:
        served.append("web_search")
    if fields.mapping(body, "search_parameters").get("mode") not in (None, "off"):
        served.append("live_search")
    served += [str(plugin.get("id", "plugin")) for plugin in fields.objects(body, "plugins")]
    if body.get("documents"):
        served.append("documents")
    return served


def _features(body: Mapping[str, Any], tally: bound.Tally) -> None:
    if "audio" in fields.items(body, "modalities") or body.get("audio"):
        tally.features.add("audio_out")
    if "image" in fields.items(body, "modalities"):
        tally.features.add("image_out")
    effort = fields.text(body, "reasoning_effort")
    thinking = fields.mapping(body, "thinking").get("type")
    if (
        effort not in (None, "none")
        or thinking not in (None, "disabled")
        or fields.mapping(body, "reasoning").get("enabled", bool(body.get("reasoning")))
        or body.get("enable_thinking")
        or body.get("thinking_budget")
    ):
        tally.features.add("reasoning")


def _walk(message: dict[str, Any], tally: bound.Tally) -> None:
    content = message.get("content")
    if isinstance(content, str):
        tally.texts.append(content)
    elif isinstance(content, list):
        for part in content:
            _part(part, tally)
    elif content is not None:
        raise WireError("content of a message must be text or a list of parts.")
    for call in fields.objects(message, "tool_calls"):
        tally.tool_call()
        tally.text(fields.mapping(call, "function").get("arguments"))
    if message.get("function_call") is not None or "tool_call_id" in message:
        tally.tool_call()
    if message.get("audio") is not None:
        tally.hide("audio of an earlier answer")
    if "cache_control" in message:
        cache_mark(message, tally)


def _part(part: Any, tally: bound.Tally) -> None:
    if isinstance(part, str):
        tally.texts.append(part)
        return
    if not isinstance(part, dict):
        raise WireError("A part of a message's content must be an object.")
    match part.get("type"):
        case "text" | "refusal":
            tally.text(part.get("text"))
        case "image_url":
            image = part.get("image_url")
            image_url(image.get("url") if isinstance(image, dict) else image, tally)
        case "input_audio":
            tally.features.add("audio_in")
            if not _holds_sound(part):
                tally.hide("audio by reference")
        case "file":
            tally.file("file content", fields.mapping(part, "file").get("file_data"))
        case "thinking" | "reference":
            pass
        case kind:
            tally.hide(f"{kind} content" if isinstance(kind, str) else "content of no type")
    if "cache_control" in part:
        cache_mark(part, tally)


def _holds_sound(part: Mapping[str, Any]) -> bool:
    """Whether the sound is in the request: under ``data``, or as the text itself.

    Source: https://docs.mistral.ai/capabilities/audio/ (base64 or an address)
    """
    heard = part.get("input_audio")
    if isinstance(heard, str):
        return "://" not in heard[:16]
    return isinstance(fields.mapping(part, "input_audio").get("data"), str)


def image_url(url: object, tally: bound.Tally) -> None:
    """An image, inline as a data URL or fetched by the provider; billed by its size either way."""
    inline = isinstance(url, str) and url[:11].lower() == "data:image/"
    tally.image(url if inline and isinstance(url, str) else "")


def cache_mark(part: Mapping[str, Any], tally: bound.Tally) -> None:
    """Anthropic's cache marks, which gateways take as well."""
    control = part.get("cache_control")
    if isinstance(control, dict):
        tally.features.add("cache_write_1h" if control.get("ttl") == "1h" else "cache_write_5m")


def _strip(message: dict[str, Any], text: str) -> str:
    if '"cache_control"' not in text and '"prompt_cache_breakpoint"' not in text:
        return text
    return canonical(without_marks(message))


def without_marks(message: dict[str, Any]) -> dict[str, Any]:
    """A message without cache marks on itself and on its parts; arguments stay as they are."""
    bare = {k: v for k, v in message.items() if k not in _MARKS}
    if isinstance(bare.get("content"), list):
        bare["content"] = [
            {k: v for k, v in part.items() if k not in _MARKS} if isinstance(part, dict) else part
            for part in bare["content"]
        ]
    return bare


_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
