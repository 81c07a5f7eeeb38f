"""Vertex AI: Gemini, Claude and an OpenAI-compatible endpoint, with project and region in the path.

Claude's model stands in the path and ``anthropic_version`` in the body; otherwise the dialect is
Anthropic's.

Source: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai,
https://cloud.google.com/vertex-ai/docs/reference/rest
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read, splice

NAME: Final = "vertex"

_TIER_HEADER: Final = "x-vertex-ai-llm-shared-request-type"
"""``priority`` is dearer, ``flex`` cheaper.

Source: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo
"""

_ONE_PRICE: Final = (
    "claude-3", "claude-opus-4@", "claude-opus-4-1", "claude-sonnet-4@", "gemini-1", "gemini-2",
    "imagen-",
)  # fmt: skip
"""Models that cost the same everywhere; of all others the catalogue has the global price, and a
region costs 1.1 times as much.

Source: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai (since Sonnet 4.5),
https://github.com/BerriAI/litellm/pull/37543 (Gemini since July 2026)
"""

_IN_THE_BODY: Final = frozenset({"anthropic_version", "anthropic_beta"})
"""What is a header elsewhere."""


def asked(inbound: Inbound, endpoint: Endpoint) -> Inbound:
    """A call of Claude as Anthropic's own API would be sent it; everything else as it is.

    Raises:
        WireError: When path and body name different models or ways to answer.
    """
    if inbound.provider.name != NAME or endpoint.dialect is not Dialect.ANTHROPIC:
        return inbound
    document = read(inbound.body)
    streams = inbound.path.endswith(":streamRawPredict")
    said = {
        key: document.members[key].value for key in ("model", "stream") if key in document.members
    }
    if said.get("model", endpoint.model) != endpoint.model:
        raise WireError(f"The path names the model {endpoint.model}, the body another one.")
    if said.get("stream") and not streams:
        raise WireError("The body asks for a stream: send it to :streamRawPredict.")
    model = (endpoint.model or "").removesuffix("@default")
    edits: dict[tuple[str, ...], Any] = {("model",): model, ("stream",): streams}
    return replace(inbound, body=splice(document, edits))


def told(call: Call, inbound: Inbound, endpoint: Endpoint) -> Call:
    """The call with its region's price and its tier in it."""
    if inbound.provider.name != NAME:
        return call
    model = (call.model or "").removeprefix("google/")
    features = call.features
    regional = endpoint.location not in (None, "global")
    if regional and not model.startswith(_ONE_PRICE):
        features |= {"inference_geo"}
    return replace(
        call,
        model=model,
        features=features,
        service_tier=inbound.headers.get(_TIER_HEADER) or call.service_tier,
        unknown_parameters=tuple(p for p in call.unknown_parameters if p not in _IN_THE_BODY),
    )
