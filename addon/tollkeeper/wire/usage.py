"""Reading the providers' usage figures into one inclusive ``Usage``, and dropping none of them.

A figure that a dialect does not know may be something that is billed; it is named in
``Usage.unknown`` so that the settlement can say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, NamedTuple

from tollkeeper.domain import NANO_PER_USD, Usage
from tollkeeper.wire.fields import words
from tollkeeper.wire.served import Served

_OPENAI_KNOWN: Final = words("""prompt_tokens completion_tokens total_tokens input_tokens output_tokens
    prompt_tokens_details.cached_tokens prompt_tokens_details.cache_write_tokens
    prompt_tokens_details.audio_tokens prompt_tokens_details.image_tokens
    prompt_tokens_details.text_tokens prompt_tokens_details.cached_creation_tokens
    prompt_tokens_details.video_tokens
    completion_tokens_details.reasoning_tokens completion_tokens_details.audio_tokens
    completion_tokens_details.image_tokens completion_tokens_details.text_tokens
    completion_tokens_details.accepted_prediction_tokens
    completion_tokens_details.rejected_prediction_tokens
    input_tokens_details.cached_tokens input_tokens_details.cache_write_tokens
    input_tokens_details.cache_write_tokens_details.ttl_12h_tokens
    input_tokens_details.cache_write_tokens_details.ttl_30m_tokens
    input_tokens_details.text_tokens input_tokens_details.image_tokens
    input_tokens_details.audio_tokens input_tokens_details.cache_read_input_tokens
    input_tokens_details.cached_tokens_details.audio_tokens
    input_tokens_details.cached_tokens_details.text_tokens
    input_tokens_details.cached_tokens_details.image_tokens
    output_tokens_details.reasoning_tokens output_tokens_details.text_tokens
    output_tokens_details.image_tokens output_tokens_details.audio_tokens
    prompt_cache_hit_tokens prompt_cache_miss_tokens cached_tokens
    reasoning_tokens citation_tokens num_search_queries num_sources_used
    num_server_side_tools_used server_side_tool_usage_details.web_search_calls
    server_side_tool_usage_details.x_search_calls server_side_tool_usage_details.code_interpreter_calls
    server_side_tool_usage_details.file_search_calls server_side_tool_usage_details.mcp_calls
    server_side_tool_usage_details.document_search_calls
    server_tool_use.web_search_requests server_tool_use_details.web_search_requests
    prompt_time completion_time queue_time total_time prompt_audio_seconds
    cost cost_in_usd_ticks cost_details.upstream_inference_cost
    cost_details.upstream_inference_prompt_cost cost_details.upstream_inference_completions_cost
    cost_details.upstream_inference_input_cost cost_details.upstream_inference_output_cost
    cost.input_tokens_cost cost.output_tokens_cost cost.request_cost cost.total_cost""")
"""Sources: the usage types of ``openai`` 3.52; https://api-docs.deepseek.com/api/create-chat-completion
(``prompt_cache_hit_tokens``); https://console.groq.com/docs/api-reference (times);
https://openrouter.ai/docs/use-cases/usage-accounting (``cost``);
https://docs.perplexity.ai/api-reference (``citation_tokens`` …); https://docs.x.ai/docs/api-reference;
https://docs.mistral.ai/capabilities/audio/ (``prompt_audio_seconds``, which are billed beside the tokens)"""

_ADDITIVE_REASONING: Final = "xai"
"""``completion_tokens`` leaves reasoning out; ``total_tokens`` has it.

Source: https://docs.x.ai/docs/key-information/consumption-and-rate-limits,
https://github.com/vercel/ai/pull/12425
"""


class Said(NamedTuple):
    """What an answer says of itself: the model that ran, and in which tier."""

    model: str | None = None
    service_tier: str | None = None


NOTHING_SAID: Final = Said()


MOST: Final = 10**9
"""No one answer counts as much; what says more is nonsense, and its cost would fit no ledger."""


def number(value: object) -> int | None:
    """A count as providers write it, or None: not a number, negative, a truth value, nonsense."""
    if type(value) is int and 0 <= value <= MOST:
        return value
    if type(value) is float and 0 <= value <= MOST and value.is_integer():
        return int(value)
    return None


def part(values: Mapping[str, Any], *path: str) -> int:
    """A count at a path, 0 when it is not there."""
    value: Any = values
    for key in path:
        if not isinstance(value, dict):
            return 0
        value = value.get(key)
    return number(value) or 0


_MAX_DEPTH: Final = 8
"""Usage is two levels deep; an answer nested further is not one to follow."""


_TICKS_PER_NANO: Final = 10
"""xAI counts in ticks of 10**-10 USD.

Source: https://docs.x.ai/docs/api-reference
"""


def provider_cost(usage: Mapping[str, Any]) -> int | None:
    """What the provider itself says that an answer costs, in nano-USD rounded up; None when it does not.

    Source: https://openrouter.ai/docs/use-cases/usage-accounting (``cost``, in USD),
    https://docs.perplexity.ai/api-reference (``cost.total_cost``)
    """
    said = usage.get("cost")
    if isinstance(said, dict):
        said = said.get("total_cost")
    ticks = number(usage.get("cost_in_usd_ticks"))
    if said is None and ticks is not None:
        return -(-ticks // _TICKS_PER_NANO)
    if type(said) is bool or not isinstance(said, int | float) or not 0 <= said < MOST_USD:
        return None
    return int((Decimal(str(said)) * NANO_PER_USD).to_integral_value(ROUND_CEILING))


MOST_USD: Final = 1_000_000
"""No one answer costs as much; what says more is nonsense."""


def unknown(values: Mapping[str, Any], known: frozenset[str], prefix: str = "") -> tuple[str, ...]:
    """Dotted names of the numbers other than 0 that are not ``known``, at any depth."""
    names: list[str] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and prefix.count(".") < _MAX_DEPTH:
            names += unknown(value, known, f"{name}.")
        elif type(value) in (int, float) and value and name not in known:
            names.append(name)
    return tuple(names)


def openai_chat(usage: Mapping[str, Any], provider: str, said: Said = NOTHING_SAID) -> Usage:
    """Usage of chat completions, of older siblings, and of what others made of them.

    ``total_tokens`` may be more than prompt and completion together, where a provider leaves
    reasoning out of ``completion_tokens`` (xAI, Google's compatible endpoint): the rest is output.
    Perplexity counts reasoning and citations beside both.
    Source: https://docs.perplexity.ai/getting-started/pricing
    """
    prompt = number(usage.get("prompt_tokens"))
    completion = number(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return openai_responses(usage, said)
    reasoning = part(usage, "completion_tokens_details", "reasoning_tokens")
    output = completion or 0
    total = number(usage.get("total_tokens"))
    if total is not None and prompt is not None:
        output = max(output, total - prompt)
    elif provider.startswith(_ADDITIVE_REASONING):
        output += reasoning
    if provider == "perplexity":
        reasoning = max(reasoning, part(usage, "reasoning_tokens"))
        output += part(usage, "reasoning_tokens") + part(usage, "citation_tokens")
    return Usage(
        model=said.model,
        service_tier=said.service_tier,
        input_tokens=prompt,
        output_tokens=None if completion is None and not output else output,
        cache_read_input_tokens=max(
            part(usage, "prompt_tokens_details", "cached_tokens"),
            part(usage, "prompt_cache_hit_tokens"),
            part(usage, "cached_tokens"),
        ),
        cache_write_input_tokens=max(
            part(usage, "prompt_tokens_details", "cache_write_tokens"),
            part(usage, "prompt_tokens_details", "cached_creation_tokens"),
        ),
        reasoning_output_tokens=reasoning,
        audio_input_tokens=part(usage, "prompt_tokens_details", "audio_tokens"),
        audio_output_tokens=part(usage, "completion_tokens_details", "audio_tokens"),
        image_input_tokens=part(usage, "prompt_tokens_details", "image_tokens"),
        image_output_tokens=part(usage, "completion_tokens_details", "image_tokens"),
        web_searches=max(
            part(usage, "num_search_queries"),
            part(usage, "server_tool_use", "web_search_requests"),
            part(usage, "server_tool_use_details", "web_search_requests"),
        ),
        unknown=unknown(usage, _OPENAI_KNOWN),
        audio_milliseconds=part(usage, "prompt_audio_seconds") * 1000,
        provider_cost_nano_usd=provider_cost(usage),
        server_tools=_of_xai(usage),
    )


def openai_responses(usage: Mapping[str, Any], said: Said = NOTHING_SAID) -> Usage:
    """Usage of the Responses API; both counts are inclusive.

    Source: https://platform.openai.com/docs/api-reference/responses/object
    """
    details = "input_tokens_details"
    return Usage(
        model=said.model,
        service_tier=said.service_tier,
        input_tokens=number(usage.get("input_tokens")),
        output_tokens=number(usage.get("output_tokens")),
        cache_read_input_tokens=max(
            part(usage, details, "cached_tokens"), part(usage, details, "cache_read_input_tokens")
        ),
        cache_write_input_tokens=part(usage, details, "cache_write_tokens"),
        cache_write_1h_input_tokens=part(
            usage, details, "cache_write_tokens_details", "ttl_12h_tokens"
        ),
        reasoning_output_tokens=part(usage, "output_tokens_details", "reasoning_tokens"),
        audio_input_tokens=part(usage, details, "audio_tokens"),
        audio_output_tokens=part(usage, "output_tokens_details", "audio_tokens"),
        image_input_tokens=part(usage, details, "image_tokens"),
        image_output_tokens=part(usage, "output_tokens_details", "image_tokens"),
        unknown=unknown(usage, _OPENAI_KNOWN),
        provider_cost_nano_usd=provider_cost(usage),
        cache_read_audio_input_tokens=part(usage, details, "cached_tokens_details", "audio_tokens"),
        server_tools=_of_xai(usage),
    )


_XAI_TOOLS: Final = {
    "web_search_calls": "web_search",
    "x_search_calls": "x_search",
    "code_interpreter_calls": "code_interpreter",
    "file_search_calls": "file_search",
    "document_search_calls": "attachment_search",
}


def _of_xai(usage: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Uses of xAI's tools; live search was billed by the source.

    Source: https://docs.x.ai/developers/tools/tool-usage-details,
    https://docs.x.ai/docs/guides/live-search (``num_sources_used``)
    """
    details = "server_side_tool_usage_details"
    if details not in usage and "num_sources_used" not in usage:
        return ()
    found = {name: part(usage, details, key) for key, name in _XAI_TOOLS.items()}
    found["live_search"] = part(usage, "num_sources_used")
    return tuple(sorted((name, count) for name, count in found.items() if count))


_ANTHROPIC_KNOWN: Final = words("""input_tokens output_tokens cache_read_input_tokens cache_creation_input_tokens
    cache_creation.ephemeral_5m_input_tokens cache_creation.ephemeral_1h_input_tokens
    output_tokens_details.thinking_tokens server_tool_use.web_search_requests
    server_tool_use.web_fetch_requests""")


def anthropic(usage: Mapping[str, Any], said: Said = NOTHING_SAID) -> Usage:
    """Usage of a message, where cache reads and writes stand beside ``input_tokens``.

    Compaction and advisors are billed beside the top-level counts and stand in ``iterations``.
    Source: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching, …/compaction,
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/web-fetch-tool, and the usage types
    of ``anthropic`` 2.11
    """
    parts: list[Mapping[str, Any]] = [usage]
    iterations = usage.get("iterations")
    if isinstance(iterations, list):
        beside = ("compaction", "advisor_message")
        parts += [i for i in iterations if isinstance(i, dict) and i.get("type") in beside]
    read = sum(part(p, "cache_read_input_tokens") for p in parts)
    long = sum(part(p, "cache_creation", "ephemeral_1h_input_tokens") for p in parts)
    short = sum(part(p, "cache_creation", "ephemeral_5m_input_tokens") for p in parts)
    written = max(sum(part(p, "cache_creation_input_tokens") for p in parts), long + short)
    plain = sum(part(p, "input_tokens") for p in parts)
    known_input = number(usage.get("input_tokens")) is not None
    known_output = number(usage.get("output_tokens")) is not None
    geo = usage.get("inference_geo")
    pages = part(usage, "server_tool_use", "web_fetch_requests")
    return Usage(
        model=said.model,
        service_tier=said.service_tier,
        input_tokens=plain + read + written if known_input else None,
        output_tokens=sum(part(p, "output_tokens") for p in parts) if known_output else None,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_write_1h_input_tokens=long,
        reasoning_output_tokens=part(usage, "output_tokens_details", "thinking_tokens"),
        web_searches=part(usage, "server_tool_use", "web_search_requests"),
        unknown=unknown(usage, _ANTHROPIC_KNOWN),
        inference_geo=geo if isinstance(geo, str) else None,
        server_tools=(("web_fetch", pages),) if pages else (),
    )


_GEMINI_KNOWN: Final = words("""promptTokenCount candidatesTokenCount thoughtsTokenCount toolUsePromptTokenCount
    cachedContentTokenCount totalTokenCount""")


def gemini(usage: Mapping[str, Any], said: Said = NOTHING_SAID) -> Usage:
    """Usage of a generation: tool results are input too, thoughts are output beside candidates.

    Source: https://ai.google.dev/api/generate-content#UsageMetadata
    """
    prompt = number(usage.get("promptTokenCount"))
    total = number(usage.get("totalTokenCount"))
    received = (prompt or 0) + part(usage, "toolUsePromptTokenCount")
    thoughts = part(usage, "thoughtsTokenCount")
    written = part(usage, "candidatesTokenCount") + thoughts
    if total is not None and prompt is not None:
        written = max(written, total - received)
    has_output = total is not None or "candidatesTokenCount" in usage or thoughts > 0
    return Usage(
        model=said.model,
        service_tier=said.service_tier,
        input_tokens=None if prompt is None else received,
        output_tokens=written if has_output else None,
        cache_read_input_tokens=part(usage, "cachedContentTokenCount"),
        reasoning_output_tokens=thoughts,
        audio_input_tokens=_of_kind(usage, "AUDIO", "promptTokensDetails"),
        audio_output_tokens=_of_kind(usage, "AUDIO", "candidatesTokensDetails"),
        image_input_tokens=_of_kind(usage, "IMAGE", "promptTokensDetails"),
        image_output_tokens=_of_kind(usage, "IMAGE", "candidatesTokensDetails"),
        unknown=unknown(usage, _GEMINI_KNOWN),
        cache_read_audio_input_tokens=_of_kind(usage, "AUDIO", "cacheTokensDetails"),
    )


_BEDROCK_KNOWN: Final = words("""inputTokens outputTokens totalTokens cacheReadInputTokens cacheWriteInputTokens
    cacheReadInputTokenCount cacheWriteInputTokenCount""")


def bedrock(usage: Mapping[str, Any], said: Said = NOTHING_SAID) -> Usage:
    """Usage of Converse: ``inputTokens`` leaves out what the cache read and wrote.

    Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html,
    https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html,
    https://github.com/anomalyco/opencode/pull/38427
    """
    plain = number(usage.get("inputTokens"))
    read, written = part(usage, "cacheReadInputTokens"), part(usage, "cacheWriteInputTokens")
    details = usage.get("cacheDetails")
    by_ttl = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    long = sum(part(one, "inputTokens") for one in by_ttl if one.get("ttl") == "1h")
    written = max(written, sum(part(one, "inputTokens") for one in by_ttl))
    return Usage(
        model=said.model,
        service_tier=said.service_tier,
        input_tokens=None if plain is None else plain + read + written,
        output_tokens=number(usage.get("outputTokens")),
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_write_1h_input_tokens=long,
        unknown=unknown(usage, _BEDROCK_KNOWN),
    )


def _of_kind(usage: Mapping[str, Any], kind: str, key: str) -> int:
    details = usage.get(key)
    if not isinstance(details, list):
        return 0
    return sum(
        part(entry, "tokenCount")
        for entry in details
        if isinstance(entry, dict) and entry.get("modality") == kind
    )


def tier_in(usage: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    """The service tier that an answer names.

    Anthropic's speed has a price, its tiers have none: a speed that is named comes first, and its
    priority tier, which stands in the usage, is capacity bought in advance.
    Source: https://docs.anthropic.com/en/api/service-tiers, https://platform.claude.com/docs/build-with-claude/fast-mode (``usage.speed``),
    https://ai.google.dev/gemini-api/docs/priority-inference (``serviceTier``)
    """
    speed = usage.get("speed")
    if speed in ("fast", "standard"):
        return "fast" if speed == "fast" else "standard_speed"
    if usage.get("service_tier") == "priority":
        return "priority_capacity"
    for holder, key in (
        (usage, "service_tier"),
        (usage, "serviceTier"),
        (answer, "service_tier"),
    ):
        said = holder.get(key)
        if isinstance(said, str) and said:
            return said
    return None


def with_uses(usage: Usage, served: Served) -> Usage:
    """The usage with what the answer shows of tools' uses, where it shows some."""
    if not served:
        return usage
    counted = dict(usage.server_tools)
    uses = {tool: max(count, counted.get(tool, 0)) for tool, count in served.uses()}
    return replace(
        usage,
        web_searches=usage.web_searches or served.web_searches(usage.model),
        server_tools=tuple(sorted((counted | uses).items())),
    )
