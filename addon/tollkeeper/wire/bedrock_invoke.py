"""Bedrock's InvokeModel with a body of Claude's: Anthropic messages without ``model`` and ``stream``.

Other makers' bodies are not read; Converse takes all of them.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html (headers)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import anthropic, bedrock
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read, splice

_OF_BEDROCK: Final = frozenset({"anthropic_version", "anthropic_beta"})
_HEADERS: Final = "x-amzn-bedrock-"


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A message to Claude, streamed or not.

    Raises:
        WireError: For another maker's body, and for what is missing or of the wrong type.
    """
    bedrock.refuse_query(inbound)
    model, deployment = bedrock.identify(inbound.provider, endpoint.model or "")
    document = read(inbound.body)
    known = "claude" in model or model == deployment
    if "anthropic_version" not in document.members or not known:
        raise WireError(
            f"InvokeModel is read for Claude's messages only; call {model[:64]} with Converse."
        )
    streams = inbound.path.endswith("-stream")
    for key, wanted in (("model", model), ("stream", streams)):
        if key in document.members and document.members[key].value != wanted:
            raise WireError(f"The path says what {key} is, the body otherwise; leave it out.")
    edits: dict[tuple[str, ...], Any] = {("model",): model, ("stream",): streams}
    call = anthropic.parse(replace(inbound, body=splice(document, edits)), endpoint)
    guarded = inbound.headers.get(_HEADERS + "guardrailidentifier") is not None
    call = replace(
        call,
        dialect=Dialect.BEDROCK_INVOKE,
        deployment=deployment,
        service_tier=bedrock.tier_of(
            inbound.headers.get(_HEADERS + "service-tier") or call.service_tier,
            inbound.headers.get(_HEADERS + "performanceconfig-latency"),
        ),
        server_tools=(*call.server_tools, "guardrail") if guarded else call.server_tools,
        unknown_parameters=tuple(p for p in call.unknown_parameters if p not in _OF_BEDROCK),
    )
    return bedrock.in_long_context(call, document.values().get("anthropic_beta"))
