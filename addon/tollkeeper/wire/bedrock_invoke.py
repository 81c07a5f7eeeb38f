"""Bedrock's InvokeModel: Claude's bodies are Anthropic messages without ``model`` and ``stream``.

Those of other makers are read in ``bedrock_native.py``.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html (headers)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import anthropic, bedrock, bedrock_native
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read, splice

_OF_BEDROCK: Final = frozenset({"anthropic_version", "anthropic_beta"})
_PLAIN: Final = frozenset({"default", "standard"})
_HEADERS: Final = "x-amzn-bedrock-"


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """What a model is asked in its maker's own words, streamed or not.

    Raises:
        WireError: For what is missing or of the wrong type, and for bodies that are not read.
    """
    bedrock.refuse_query(inbound)
    model, deployment = bedrock.identify(inbound.provider, endpoint.model or "")
    claude = "anthropic_version" in read(inbound.body).members
    if claude != ("claude" in model) and not (claude and model == deployment):
        raise WireError(
            f"The body is not one that {model[:64]} takes: Claude's names its anthropic_version, "
            "others' do not. Send the model's own, or call it with Converse."
        )
    if claude:
        call = _claude(inbound, endpoint, model)
    else:
        call = bedrock_native.parse(inbound, endpoint, model)
    guarded = inbound.headers.get(_HEADERS + "guardrailidentifier") is not None
    asked = inbound.headers.get(_HEADERS + "service-tier")
    if asked in _PLAIN and "image_out" in call.features:
        asked = None  # what an image is priced by stands in the call's tier
    return replace(
        call,
        deployment=deployment,
        service_tier=bedrock.tier_of(
            asked or call.service_tier,
            inbound.headers.get(_HEADERS + "performanceconfig-latency"),
        ),
        server_tools=(*call.server_tools, "guardrail") if guarded else call.server_tools,
    )


def _claude(inbound: Inbound, endpoint: Endpoint, model: str) -> Call:
    document = read(inbound.body)
    streams = inbound.path.endswith("-stream")
    for key, wanted in (("model", model), ("stream", streams)):
        if key in document.members and document.members[key].value != wanted:
            raise WireError(f"The path says what {key} is, the body otherwise; leave it out.")
    edits: dict[tuple[str, ...], Any] = {("model",): model, ("stream",): streams}
    call = anthropic.parse(replace(inbound, body=splice(document, edits)), endpoint)
    call = replace(
        call,
        dialect=Dialect.BEDROCK_INVOKE,
        unknown_parameters=tuple(p for p in call.unknown_parameters if p not in _OF_BEDROCK),
    )
    return bedrock.in_long_context(call, document.values().get("anthropic_beta"))
