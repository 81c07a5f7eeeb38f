"""InvokeModel with the bodies of other makers than Anthropic, each in its maker's own members.

Whoever made a model stands before the dot of its id. Conversations are Converse's (Nova) or OpenAI's
(most others); the rest are a prompt with an output limit of some name, texts to embed or to rank, and
orders for images. A limit under another maker's name is refused, so that none is overlooked.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and its pages by
maker, https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/request-response-schema.html (2026-11)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import bedrock, bound, embeddings, fields, openai_chat, rerank, tasks
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import Document, canonical, read, splice

_PROFILE: Final = re.compile(r"(?:us-gov|[a-z]{2,6})\.(?=[a-z0-9-]+\.)")
"""The region of an inference profile.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
"""

_IMAGES: Final = ("amazon.titan-image", "amazon.nova-canvas", "stability.")
_EMBEDS: Final = ("amazon.titan-embed", "cohere.embed")
_RANKS: Final = ("amazon.rerank", "cohere.rerank")
_ELSEWHERE: Final = ("amazon.nova-reel", "amazon.nova-sonic", "amazon.nova-2-sonic", "luma.",
                     "twelvelabs.", "amazon.nova-2-multimodal")  # fmt: skip

_SIDE: Final = 1024
_SIDES: Final = (512, 1024, 2048)

_IMAGE_KNOWN: Final = fields.words("""taskType imageGenerationConfig textToImageParams inPaintingParams outPaintingParams
    imageVariationParams colorGuidedGenerationParams backgroundRemovalParams
    virtualTryOnParams prompt negative_prompt mode aspect_ratio output_format seed image mask strength
    control_strength fidelity grow_mask select_prompt search_prompt style_preset creativity left right
    up down text_prompts cfg_scale clip_guidance_preset height width sampler samples steps extras
    init_image mask_source mask_image""")
_EMBED_KNOWN: Final = fields.words("""inputText inputImage dimensions normalize embeddingTypes embeddingConfig texts images
    inputs input_type truncate embedding_types output_dimension max_tokens""")


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A body of one prompt.

    Attributes:
        texts: Members that hold what the model reads.
        limit: Where its output limit stands.
        choices: The member that asks for several answers, or None.
        known: All other members.
    """

    texts: tuple[str, ...]
    limit: tuple[str, ...]
    known: frozenset[str]
    choices: str | None = None


_PROMPTS: Final[Mapping[str, _Prompt]] = {
    "amazon": _Prompt(
        ("inputText",), ("textGenerationConfig", "maxTokenCount"), frozenset({"textGenerationConfig"})
    ),
    "meta": _Prompt(("prompt",), ("max_gen_len",), fields.words("temperature top_p images")),
    "mistral": _Prompt(("prompt",), ("max_tokens",), fields.words("stop temperature top_p top_k")),
    "deepseek": _Prompt(("prompt",), ("max_tokens",), fields.words("stop temperature top_p")),
    "cohere": _Prompt(
        ("prompt", "message", "chat_history", "documents", "preamble", "tools", "tool_results"),
        ("max_tokens",),
        fields.words("""temperature p k stop_sequences return_likelihoods stream logit_bias truncate
            search_queries_only prompt_truncation frequency_penalty presence_penalty seed
            return_prompt raw_prompting force_single_step"""),
        "num_generations",
    ),
}  # fmt: skip
"""By maker. Source: the pages ``model-parameters-titan-text``, ``-meta``, ``-mistral-text-completion``,
``-deepseek``, ``-cohere-command`` and ``-cohere-command-r-plus`` of the same guide."""


_NOVA: Final = "amazon.nova"
_OF_NOVA: Final = frozenset({"maxTokens", "max_new_tokens"})
_PROMPTS_ALONE: Final = frozenset({"amazon", "cohere", "meta"})
"""Makers whose models take no ``messages`` of OpenAI's."""

_OF_CHAT: Final = frozenset({"max_tokens", "max_completion_tokens", "n", "best_of"})


def maker_of(model: str) -> str:
    """Who made a model, by its id or its inference profile's."""
    return _plain(model).partition(".")[0]


def _plain(model: str) -> str:
    return _PROFILE.sub("", model, count=1)


def parse(inbound: Inbound, endpoint: Endpoint, model: str) -> Call:
    """What a model of another maker than Anthropic is asked.

    Raises:
        WireError: For what is missing or of the wrong type, and for bodies that are not read.
    """
    document = read(inbound.body)
    name, values = _plain(model), document.values()
    streams = inbound.path.endswith("-stream")
    _refuse_contradictions(values, model, streams=streams)
    named = replace(endpoint, model=model)
    if name.startswith(_ELSEWHERE):
        raise WireError(
            f"What {fields.shown(model)} makes is not read; let the operator make it elsewhere."
        )
    if name.startswith(_IMAGES):
        call = _image(inbound, named, model, values)
    elif name.startswith(_EMBEDS):
        call = _embed(inbound, named, model, values)
    elif name.startswith(_RANKS):
        call = rerank.parse(_with_model(inbound, document, model), named)
        call = _known(call, "api_version")
    elif name.startswith(_NOVA):
        call = _nova(inbound, named, values)
    elif _takes_messages(model, values):
        _refuse_other_limits(values, _OF_CHAT, "max_tokens")
        call = openai_chat.parse(_with_model(inbound, document, model), named)
    else:
        call = _prompt(inbound, named, model, values)
    return replace(call, dialect=Dialect.BEDROCK_NATIVE, model=model, stream=streams)


def _takes_messages(model: str, values: Mapping[str, Any]) -> bool:
    return "messages" in values and maker_of(model) not in _PROMPTS_ALONE


def _refuse_contradictions(values: Mapping[str, Any], model: str, *, streams: bool) -> None:
    for key, wanted in (("model", model), ("stream", streams)):
        if key in values and values[key] != wanted:
            raise WireError(f"The path says what {key} is, the body otherwise; leave it out.")


def _with_model(inbound: Inbound, document: Document, model: str) -> Inbound:
    return replace(inbound, body=splice(document, {("model",): model}))


def _known(call: Call, *names: str) -> Call:
    kept = tuple(one for one in call.unknown_parameters if one not in names)
    return replace(call, unknown_parameters=kept)


def _nova(inbound: Inbound, endpoint: Endpoint, values: Mapping[str, Any]) -> Call:
    """Converse's body with the model's own parameters among the others."""
    call = bedrock.parse(inbound, endpoint)
    config = fields.mapping(values, "inferenceConfig")
    _refuse_other_limits(values, frozenset(), "inferenceConfig.maxTokens")
    _refuse_other_limits(config, _OF_NOVA, "inferenceConfig.maxTokens")
    limits = [fields.count(config, key) for key in ("maxTokens", "max_new_tokens")]
    thinking = fields.mapping(config, "reasoningConfig").get("type", "disabled")
    features = call.features | ({"reasoning"} if thinking != "disabled" else frozenset())
    most = max((limit for limit in limits if limit is not None), default=None)
    call = replace(call, max_output_tokens=most, features=features)
    return _known(call, "schemaVersion")


def _prompt(inbound: Inbound, endpoint: Endpoint, model: str, values: Mapping[str, Any]) -> Call:
    """One prompt; all that the body holds counts as read, images by their own measure."""
    shape = _PROMPTS.get(maker_of(model))
    if shape is None or not any(values.get(name) for name in shape.texts):
        raise WireError(
            f"This body for {model[:64]} is not read; send its maker's own, or call it with Converse."
        )
    meant = {shape.choices, shape.limit[0] if len(shape.limit) == 1 else None}
    _refuse_other_limits(values, meant, ".".join(shape.limit))
    inner: Mapping[str, Any] = values
    for key in shape.limit[:-1]:
        inner = fields.mapping(inner, key)
        _refuse_other_limits(inner, {shape.limit[-1]}, ".".join(shape.limit))
    tally = bound.Tally(Dialect.BEDROCK_NATIVE, model)
    images = fields.items(values, "images") if "images" in shape.known else []
    for image in images:
        tally.image(image if isinstance(image, str) else "")
    rest = {key: value for key, value in values.items() if key != "images" or not images}
    text = canonical(rest)
    hidden = facts.hidden_input_tokens(Dialect.BEDROCK_NATIVE, model, bool(values.get("tools")))
    expected = {*shape.texts, *shape.known, shape.limit[0], shape.choices, "model", "stream"}
    connected = fields.objects(values, "tools") if "tools" in shape.texts else []
    texts = [values[name] for name in shape.texts if isinstance(values.get(name), str)]
    parts = (Dialect.BEDROCK_NATIVE, inbound.provider.name, endpoint.operation, model)
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.BEDROCK_NATIVE,
        operation=endpoint.operation,
        metered=endpoint.metered,
        model=model,
        head_bound_tokens=bound.head_bound(rest, text) + tally.more_tokens + hidden,
        max_output_tokens=fields.count(inner, shape.limit[-1]),
        choices=(fields.count(values, shape.choices) or 1) if shape.choices else 1,
        features=frozenset(tally.features),
        tools_offered=fields.unique(fields.name_of(tool) for tool in connected),
        unknown_parameters=tuple(key for key in values if key not in expected),
        prompt=bound.prompt_of(texts),
        approval_digest=bound.approval_digest(parts, values, frozenset({"stream"}), ()),
    )


def _refuse_other_limits(values: Mapping[str, Any], meant: Set[str | None], limit: str) -> None:
    """A limit under a name that this maker does not have might count all the same."""
    for key in values:
        if key in bedrock.LIMITS and key not in meant:
            raise WireError(f"{key} is not read for this model: name the output limit as {limit}.")


def _embed(inbound: Inbound, endpoint: Endpoint, model: str, values: Mapping[str, Any]) -> Call:
    """Texts, or images, which have no known number of tokens."""
    texts = fields.items(values, "texts")
    inputs = fields.objects(values, "inputs")
    text = values.get("inputText")
    image, images = values.get("inputImage"), fields.items(values, "images")
    if not (text or texts or inputs or image or images):
        raise WireError("inputText (or texts) is missing; what is to be embedded was expected.")
    hidden = embeddings.has_media(inputs)
    media = bool(image or images) or hidden
    read_as = [text, *texts, *inputs]
    return tasks.task(
        inbound,
        endpoint,
        model,
        values,
        _EMBED_KNOWN,
        input_tokens=tasks.json_bound(read_as) + tasks.INPUT_ALLOWANCE * len(read_as),
        texts=tuple(one for one in read_as if isinstance(one, str)),
        features=frozenset({"vision"}) if media else frozenset(),
        most=Usage(images=len(images) + bool(image)) if media and not hidden else None,
        unbounded="the image that is embedded" if media else None,
    )


def _image(inbound: Inbound, endpoint: Endpoint, model: str, values: Mapping[str, Any]) -> Call:
    """Images, billed one by one."""
    config = fields.mapping(values, "imageGenerationConfig")
    counts = (fields.count(config, "numberOfImages"), fields.count(values, "samples"))
    count = max(one or 1 for one in counts)
    texts = [text for text in _texts(values) if text]
    call = tasks.task(
        inbound,
        endpoint,
        model,
        values,
        _IMAGE_KNOWN,
        input_tokens=0,
        texts=tuple(texts),
        features=frozenset({"image_out"}),
        most=Usage(images=count),
        unbounded="the image that it makes",
    )
    return replace(call, service_tier=_variant(config) if maker_of(model) == "amazon" else None)


def _variant(config: Mapping[str, Any]) -> str:
    """What prices an image of Amazon's: its longer side up to 512, 1024 or 2048, and its quality.

    Source: https://docs.aws.amazon.com/nova/latest/userguide/image-gen-req-resp-structure.html
    """
    sides = [fields.count(config, key) or _SIDE for key in ("width", "height")]
    side = next((most for most in _SIDES if max(sides) <= most), "larger")
    return f"{side}-{fields.text(config, 'quality') or 'standard'}"


def _texts(values: Mapping[str, Any]) -> list[str]:
    """What is to be made, wherever its maker has it."""
    found = [values.get("prompt")]
    for key, inner in values.items():
        if key.endswith("Params") and isinstance(inner, dict):
            found.append(inner.get("text"))
    found += [one.get("text") for one in fields.objects(values, "text_prompts")]
    return [text for text in found if isinstance(text, str)]


def limit_keys(model: str, document: Document) -> list[tuple[str, ...]]:
    """Where the output limit of a body goes: where one stands already, else where its maker has it."""
    values, maker = document.values(), maker_of(model)
    keys: list[tuple[str, ...]]
    nova = _plain(model).startswith(_NOVA)
    if not nova and not _takes_messages(model, values):
        return [_PROMPTS[maker].limit] if maker in _PROMPTS else []
    if nova:
        config = fields.mapping(values, "inferenceConfig")
        named = [key for key in ("maxTokens", "max_new_tokens") if config.get(key) is not None]
        keys = [("inferenceConfig", key) for key in named or ["maxTokens"]]
    else:
        named = [
            key for key in ("max_tokens", "max_completion_tokens") if values.get(key) is not None
        ]
        keys = [
            (key,)
            for key in named or ["max_completion_tokens" if maker == "openai" else "max_tokens"]
        ]
    return keys
