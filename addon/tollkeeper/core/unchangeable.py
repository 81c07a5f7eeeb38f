"""Calls that cannot be changed: signed ones, and aliases for what stands in a path as a deployment."""

from __future__ import annotations

from collections.abc import Iterator

from tollkeeper.core.keys import goes_with_own_key
from tollkeeper.domain import Call, Changes, Code, Effect, Policy, Reason

_OF_SESSIONS = frozenset({"websocket", "realtime", "transcription"})
"""Operations of sessions whose model was named when they were opened."""


def unchangeable_reasons(
    call: Call, changes: Changes, policy: Policy, wanted: str
) -> Iterator[Reason]:
    """Why a call cannot be let go as the policy would change it.

    Args:
        changes: What the forwarded request would differ in.
        wanted: Whose key goes along; with the operator's, the signature is thrown away.
    """
    goes_to = changes.provider or call.provider
    if call.signed and changes and goes_with_own_key(policy, wanted, call.provider, goes_to):
        yield _refused(
            "signature",
            f"This call is signed with an AWS key, so nothing in it can be changed, but {_told(changes)}. "
            "Send it that way, or use a Bedrock API key (AWS_BEARER_TOKEN_BEDROCK).",
        )
    elif call.operation in _OF_SESSIONS and "fixed_model" in call.features and changes.model:
        yield _refused(
            f"models.{call.model}",
            f"A session keeps the model of its URL, and {call.model} is an alias: name "
            f"{changes.model} there instead.",
        )
    elif "fixed_model" in call.features and changes.model and not changes.provider:
        yield _refused(
            f"models.{call.model}",
            f"{call.deployment} is a deployment, and the alias {call.model} cannot change what it "
            "runs; name the deployment that is meant.",
        )


def _told(changes: Changes) -> str:
    if changes.max_output_tokens is not None:
        return f"the policy limits its output to {changes.max_output_tokens} tokens"
    return f"the policy sends it to {changes.model}"


def _refused(source: str, message: str) -> Reason:
    return Reason(Effect.DENY, Code.POLICY_DENIED, source, message)
