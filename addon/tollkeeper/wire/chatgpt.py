"""Responses as ChatGPT's plans take them (Codex): the same bodies, and no limit on the output.

The backend refuses ``max_output_tokens``, so what a call names there bounds nothing; it refuses
``background`` too (https://github.com/decolua/9router/issues/868), and so do we.

Source: https://github.com/RayBytes/ChatMock/issues/103, https://github.com/Wei-Shaw/sub2api/issues/3954
and ``codex-rs/codex-api/src/endpoint`` of https://github.com/openai/codex (2026-11)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tollkeeper.domain import Call
from tollkeeper.wire import openai_responses
from tollkeeper.wire.dialect import Endpoint, Inbound

API: Final = "chatgpt"


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A call of Codex to its plan's backend.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    call = openai_responses.parse(inbound, endpoint)
    return replace(call, max_output_tokens=None, features=call.features | {"no_output_limit"})
