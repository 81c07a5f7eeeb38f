"""Amazon Bedrock's Converse, and what all calls to Bedrock share: model ids, headers, tiers.

The model stands in the path, percent-encoded: an id, an inference profile or an ARN of either. An
application inference profile, a provisioned model and the like are names of the owner's account;
the policy says what they run (``providers.bedrock.deployments``).

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and the
model of ``bedrock-runtime`` in ``botocore`` 1.44 (2026-11)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect, Provider
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, read

KNOWN: Final = fields.words("""messages system inferenceConfig toolConfig guardrailConfig additionalModelRequestFields
    promptVariables additionalModelResponseFieldPaths requestMetadata performanceConfig serviceTier
    outputConfig""")

RESENT: Final = fields.words("messages requestMetadata")
_NOT_RENDERED: Final = RESENT | fields.words("""inferenceConfig additionalModelResponseFieldPaths performanceConfig serviceTier
    guardrailConfig""")

_OF_THE_MODEL: Final = fields.words("""anthropic_beta anthropic_version effort frequency_penalty inferenceConfig output_config
    presence_penalty random_seed reasoningConfig reasoning_config reasoning_effort
    repetition_penalty seed stop stop_sequences temperature thinking tool_choice tools topK topP
    top_k top_p""")
"""Members of ``additionalModelRequestFields`` that bill nothing of their own."""

LIMITS: Final = fields.words("""max_tokens maxTokens max_gen_len max_new_tokens max_tokens_to_sample max_output_tokens
    max_completion_tokens maxTokenCount n num_generations numResults best_of""")
"""What makes the output longer than ``inferenceConfig`` says."""

_MARKED_CACHES: Final = ("claude", "nova")
"""Models whose caches cost something only where the call marks what to write.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
"""

_LONG: Final = "context-1m"
_LONG_TOKENS: Final = 200_000
_LONG_MODELS: Final = ("claude-sonnet-4-2025", "claude-sonnet-4-5")

_NAMED: Final = re.compile(
    r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:[0-9]*:(?:foundation-model|inference-profile)/(.+)"
)
_PATH: Final = re.compile(r"(/model/)[^/]+(/[a-z-]+)")


def identify(provider: Provider, named: str) -> tuple[str, str | None]:
    """The model that a path's id stands for, and the id itself where it is a name of the owner's.

    Args:
        named: As in the path, percent-encoded or not.
    """
    name = unquote(named)
    model = facts.model_of(provider, name)
    if model != name:
        return model, name
    found = _NAMED.fullmatch(name)
    if found is not None:
        return found[1], None
    return name, name if name.startswith("arn:") else None


def with_model(path: str, model: str) -> str:
    """The path with another model in it."""
    return _PATH.sub(lambda found: f"{found[1]}{quote(model, safe='')}{found[2]}", path)


def refuse_query(inbound: Inbound) -> None:
    """A query on a call to a model is the signature of a presigned address, which is a credential.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    """
    if inbound.query:
        raise WireError("Presigned addresses are not read: send the credentials as headers.")


def in_long_context(call: Call, betas: Any) -> Call:
    """The call, with a tier of its own where its input may be billed as long context.

    Two models read more than 200,000 tokens only when asked to, at prices that Bedrock's catalogue
    does not have.
    Source: https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing
    """
    asked = isinstance(betas, list) and any(str(beta).startswith(_LONG) for beta in betas)
    most = call.head_bound_tokens + sum(turn.bound_tokens for turn in call.turns)
    may_be = call.opaque_input is not None or most > _LONG_TOKENS
    if not (asked and may_be and any(part in (call.model or "") for part in _LONG_MODELS)):
        return call
    return replace(call, service_tier=_LONG)


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A conversation, streamed or not.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    refuse_query(inbound)
    body = read(inbound.body).values()
    model, deployment = identify(inbound.provider, endpoint.model or "")
    if body.get("messages") is None and ":prompt/" not in model:
        raise WireError("messages is missing; a list of messages was expected.")
    tally = bound.Tally(Dialect.BEDROCK_CONVERSE, model)
    _tools(fields.mapping(body, "toolConfig"), tally)
    _additional(fields.mapping(body, "additionalModelRequestFields"), tally)
    _walk({"content": fields.objects(body, "system")}, tally)
    if body.get("promptVariables") is not None or ":prompt/" in model:
        tally.hide("a stored prompt")
    head = {key: value for key, value in body.items() if key not in _NOT_RENDERED}
    head_tokens = bound.head_bound(head, canonical(head)) + tally.more_tokens
    head_text = canonical([inbound.provider.name, model, _without_marks(head)])
    turns = bound.chain(head_text, fields.objects(body, "messages"), tally, _walk, _strip)
    _reasons(body, tally)
    if not any(name in model for name in _MARKED_CACHES):
        tally.features |= {"cache_write_5m", "cache_write_1h"}
    if body.get("guardrailConfig") is not None:
        tally.server_tools.append("guardrail")
    has_tools = bool(tally.tools or tally.server_tools)
    config = fields.mapping(body, "inferenceConfig")
    call = Call(
        provider=inbound.provider.name,
        dialect=Dialect.BEDROCK_CONVERSE,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        deployment=deployment,
        stream=inbound.path.endswith("-stream"),
        head_bound_tokens=head_tokens
        + facts.hidden_input_tokens(Dialect.BEDROCK_CONVERSE, model, has_tools),
        turns=turns,
        opaque_input=tally.opaque,
        max_output_tokens=fields.count(config, "maxTokens"),
        features=frozenset(tally.features),
        service_tier=_tier(body),
        tools_offered=fields.unique(tally.tools),
        server_tools=fields.unique(tally.server_tools),
        unknown_parameters=tuple(key for key in body if key not in KNOWN),
        prompt=bound.prompt_of(tally.texts),
        approval_digest=bound.approval_digest(
            (Dialect.BEDROCK_CONVERSE, inbound.provider.name, unquote(endpoint.model or "")),
            body,
            RESENT,
            turns,
        ),
    )
    given = fields.mapping(body, "additionalModelRequestFields")
    return in_long_context(call, given.get("anthropic_beta"))


def tier_of(service_tier: str | None, latency: str | None) -> str | None:
    """The tier that prices a call: optimised latency is dearer than any list price.

    Source: https://aws.amazon.com/bedrock/pricing/,
    https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html
    """
    return "optimized" if latency not in (None, "", "standard") else service_tier


def _tier(body: Mapping[str, Any]) -> str | None:
    tier = fields.text(fields.mapping(body, "serviceTier"), "type")
    return tier_of(tier, fields.text(fields.mapping(body, "performanceConfig"), "latency"))


def _tools(config: Mapping[str, Any], tally: bound.Tally) -> None:
    """Client tools, tools that Bedrock runs, and cache marks between them."""
    for tool in fields.objects(config, "tools"):
        if "toolSpec" in tool:
            tally.tools.append(fields.name_of(fields.mapping(tool, "toolSpec")))
        elif "systemTool" in tool:
            tally.server_tools.append(fields.name_of(fields.mapping(tool, "systemTool")))
        elif "cachePoint" in tool:
            _cache_mark(tool, tally)
        else:
            raise WireError("A tool in toolConfig.tools is neither toolSpec nor systemTool.")


def _additional(given: Mapping[str, Any], tally: bound.Tally) -> None:
    """What goes to the model past Converse; nothing in it may make the output longer."""
    for key in _keys(given):
        if key in LIMITS:
            raise WireError(
                f"{key} in additionalModelRequestFields is not read: name the output limit as "
                "inferenceConfig.maxTokens."
            )
    for tool in fields.objects(given, "tools"):
        tally.tools.append(fields.name_of(tool))
        tally.hide(f"the built-in tool {tool.get('type')}")
    tally.server_tools += [key for key in given if key not in _OF_THE_MODEL]


def _keys(given: Mapping[str, Any]) -> Iterator[str]:
    for key, value in given.items():
        yield key
        if isinstance(value, dict) and key != "tools":
            yield from _keys(value)


def _reasons(body: Mapping[str, Any], tally: bound.Tally) -> None:
    given = fields.mapping(body, "additionalModelRequestFields")
    settings = [given.get(key) for key in ("thinking", "reasoning_config", "reasoningConfig")]
    on = [one for one in settings if isinstance(one, dict) and one.get("type") != "disabled"]
    effort = fields.mapping(body, "outputConfig").get("effort")
    if on or effort or given.get("reasoning_effort") not in (None, "none"):
        tally.features.add("reasoning")


def _walk(message: dict[str, Any], tally: bound.Tally) -> None:
    for block in fields.objects(message, "content"):
        _block(block, tally)


def _block(block: Mapping[str, Any], tally: bound.Tally) -> None:
    for kind, value in block.items():
        match kind:
            case "text":
                tally.text(value)
            case "image":
                _image(fields.mapping(block, kind), tally)
            case "document":
                _document(fields.mapping(block, kind), tally)
            case "toolUse":
                tally.tool_call(fields.mapping(block, kind).get("input"))
            case "toolResult":
                tally.tool_call()
                _walk(fields.mapping(block, kind), tally)
            case "guardContent":
                _guarded(fields.mapping(block, kind), tally)
            case "cachePoint":
                _cache_mark(block, tally)
            case "citationsContent" | "searchResult":
                _walk(fields.mapping(block, kind), tally)
            case "json" | "reasoningContent" | "toolRemoval":
                pass
            case _:
                tally.hide(f"{kind[:32]} content")


def _image(image: Mapping[str, Any], tally: bound.Tally) -> None:
    data = fields.mapping(image, "source").get("bytes")
    tally.image(data if isinstance(data, str) else "")


def _document(document: Mapping[str, Any], tally: bound.Tally) -> None:
    """Text is in the bytes; of a file neither the pages nor what their images cost."""
    source = fields.mapping(document, "source")
    if isinstance(source.get("text"), str):
        tally.text(source["text"])
    elif "content" in source:
        _walk(source, tally)
    else:
        tally.hide("document")


def _guarded(content: Mapping[str, Any], tally: bound.Tally) -> None:
    if "image" in content:
        _image(fields.mapping(content, "image"), tally)
    tally.text(fields.mapping(content, "text").get("text"))


def _cache_mark(block: Mapping[str, Any], tally: bound.Tally) -> None:
    mark = fields.mapping(block, "cachePoint")
    tally.features.add("cache_write_1h" if mark.get("ttl") == "1h" else "cache_write_5m")


def _strip(message: dict[str, Any], text: str) -> str:
    if '"cachePoint"' not in text or not isinstance(message.get("content"), list):
        return text
    return canonical({**message, "content": _unmarked(message["content"])})


def _without_marks(head: dict[str, Any]) -> dict[str, Any]:
    bare = dict(head)
    if isinstance(head.get("system"), list):
        bare["system"] = _unmarked(head["system"])
    config = head.get("toolConfig")
    if isinstance(config, dict) and isinstance(config.get("tools"), list):
        bare["toolConfig"] = {**config, "tools": _unmarked(config["tools"])}
    return bare


def _unmarked(blocks: list[Any]) -> list[Any]:
    return [one for one in blocks if not (isinstance(one, dict) and "cachePoint" in one)]
