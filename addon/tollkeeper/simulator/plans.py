"""Subscription backends, as simulated: their side paths, envelopes and what answers say of a plan.

Source: https://github.com/google-gemini/gemini-cli/blob/main/packages/core/src/code_assist/server.ts,
https://github.com/google-gemini/gemini-cli/blob/main/packages/core/src/code_assist/types.ts,
https://github.com/openai/codex/blob/main/codex-rs/backend-client/src/client.rs,
https://github.com/manaflow-ai/subrouter/pull/24 (headers of Anthropic's plans)
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import zstandard

from tollkeeper.simulator.exchange import Answer, Frame
from tollkeeper.simulator.frames import JSON, dump
from tollkeeper.simulator.http1 import Received

CODE_ASSIST = re.compile(r"/v1internal:(?P<verb>generateContent|streamGenerateContent|countTokens)")
MOST_BYTES = 64 * 1024 * 1024

_ACCOUNT = {
    "name": "Simulated", "structure": "personal", "plan_type": "plus",
    "workspace_backend_origin": "NO_CONSTRAINT", "account_routing_override": "NO_CONSTRAINT",
    "is_deactivated": False, "can_access_with_session": True, "is_fedramp_compliant_workspace": False,
}  # fmt: skip
_TIER = {"id": "standard-tier", "name": "Simulated plan"}
_SIDE: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        r"/v1internal:loadCodeAssist",
        {"currentTier": _TIER, "allowedTiers": [_TIER], "cloudaicompanionProject": "simulated"},
    ),
    (
        r"/v1internal:onboardUser",
        {"done": True, "response": {"cloudaicompanionProject": {"id": "simulated"}}},
    ),
    (r"/v1internal:listExperiments", {"flags": [], "experimentIds": []}),
    (r"/v1internal:retrieveUserQuota", {"buckets": []}),
    (r"/v1internal(:fetchAdminControls|:recordCodeAssistMetrics|/operations/.*)", {}),
    (r"/backend-api/codex/models", {"models": []}),
    (
        r"/backend-api/wham/usage",
        {
            "plan_type": "plus",
            "rate_limit": {
                "allowed": True,
                "limit_reached": False,
                "primary_window": {
                    "used_percent": 1,
                    "limit_window_seconds": 18_000,
                    "reset_after_seconds": 60,
                    "reset_at": 2_000_000_000,
                },
            },
        },
    ),
    (
        r"/backend-api/(ps/)?plugins/.*",
        {"plugins": [], "pagination": {"limit": 50, "next_page_token": None}},
    ),
    (r"/backend-api/wham/.*|/backend-api/codex/analytics-events/events", {}),
    (r"/api/oauth/(profile|usage|account/settings|claude_cli/roles|validate)", {}),
)

_PLAN = (
    ("anthropic-ratelimit-unified-status", "allowed"),
    ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
)


def side_answer(received: Received) -> Answer | None:
    """What a backend says beside answers; None for other paths."""
    if received.path == "/backend-api/wham/accounts/check":
        account = received.header("chatgpt-account-id") or "account"
        accounts = {"accounts": [_ACCOUNT | {"id": account}], "account_ordering": [account]}
        return Answer(200, (("Content-Type", JSON),), (Frame(dump(accounts)),))
    for path, body in _SIDE:
        if re.fullmatch(path, received.path):
            return Answer(200, (("Content-Type", JSON),), (Frame(dump(body)),))
    return None


def unpacked(received: Received) -> bytes:
    """The body as it was before Codex compressed it, which it does for plans.

    Raises:
        ValueError: It is not what its header says.
    """
    if received.header("content-encoding") != "zstd":
        return received.body
    try:
        with zstandard.ZstdDecompressor().stream_reader(received.body) as reader:
            return reader.read(MOST_BYTES)
    except zstandard.ZstdError as error:
        raise ValueError("The body is not valid zstd.") from error


def unwrapped(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Model and inner request of Code Assist's envelope.

    Raises:
        KeyError: A required member is missing.
    """
    inner = body["request"]
    return str(body.get("model") or inner["model"]).removeprefix("models/"), inner


def wrapped(answer: Answer) -> Answer:
    """An answer of Gemini in Code Assist's envelope, event by event."""
    return replace(answer, frames=tuple(_wrapped(frame) for frame in answer.frames))


def _wrapped(frame: Frame) -> Frame:
    begins = re.match(rb"data: |\[|,\r\n|", frame.data)
    assert begins is not None
    try:
        inner = json.loads(frame.data[begins.end() :])
    except ValueError:
        return frame
    end = b"\n\n" if frame.data.endswith(b"\n\n") else b""
    return replace(frame, data=begins[0] + dump({"response": inner, "traceId": "sim"}) + end)


def with_plan(answer: Answer, received: Received, says: str | None) -> Answer:
    """What Anthropic adds to the answer to a plan's token.

    Args:
        says: ``overage`` when real money pays after all, ``nothing`` for a token that no plan has.
    """
    bearer = received.header("authorization") or ""
    if not bearer.startswith("Bearer sk-ant-oat") or says == "nothing":
        return answer
    told = dict(_PLAN)
    if says == "overage":
        told["anthropic-ratelimit-unified-overage-in-use"] = "true"
    return replace(answer, headers=(*answer.headers, *told.items()))
