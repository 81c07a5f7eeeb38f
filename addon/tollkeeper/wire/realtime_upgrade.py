"""The request that opens a Realtime session: one model, on a WebSocket, and nothing else.

Source: https://developers.openai.com/api/docs/guides/realtime-websocket
"""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import parse_qsl

from tollkeeper.domain import Call
from tollkeeper.errors import WireError
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import canonical, encoded

_OPERATION: Final = "realtime"


def upgrade(inbound: Inbound, endpoint: Endpoint) -> Call:
    """The request that opens a session; it costs nothing itself.

    Raises:
        WireError: When it does not name one model, or opens what is not metered.
    """
    try:
        named = parse_qsl(inbound.query, True, strict_parsing=True, max_num_fields=8)
    except ValueError as error:
        raise WireError("The query must be ?model= and the name of a model.") from error
    if [key for key, _ in named] != ["model"] or not named[0][1]:
        raise WireError(
            "The query must name one model and nothing else (?model=gpt-realtime): transcription "
            "sessions and calls that were begun elsewhere are not metered."
        )
    if "realtime" in inbound.headers.get("openai-beta", ""):
        raise WireError("The beta of this API is not metered; leave the header OpenAI-Beta out.")
    model = named[0][1]
    digest = hashlib.sha256(encoded(canonical([inbound.provider.name, _OPERATION, model])))
    return Call(
        provider=inbound.provider.name,
        dialect=endpoint.dialect,
        operation=endpoint.operation,
        metered=False,
        model=model,
        features=frozenset({"fixed_model"}),
        approval_digest=digest.hexdigest(),
    )
