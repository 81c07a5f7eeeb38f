"""Whose key goes along with a call: the agent's own, or the policy's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from tollkeeper import facts
from tollkeeper.core.wording import listed
from tollkeeper.domain import Call, Code, Effect, Policy, Provider, Reason

STRICTEST_FIRST = ("injected", "own")


def strictest(wanted: Collection[str | None]) -> str:
    """``injected``, ``own`` or ``either``: what holds of all that is said over one call."""
    return next((key for key in STRICTEST_FIRST if key in wanted), "either")


def goes_with_own_key(policy: Policy, wanted: str, asked: str, goes_to: str) -> bool:
    """Whether the agent's own key goes along as it came.

    Args:
        wanted: ``injected``, ``own`` or ``either``: the strictest over the agent and its ancestors.
        asked: Name of the provider that the agent sent the call to. Its key never goes to another.
        goes_to: Name of the provider that gets the call.
    """
    provider = policy.providers.get(goes_to)
    has_key = provider is not None and provider.key is not None
    return asked == goes_to and (wanted == "own" or (wanted == "either" and not has_key))


def sent_to(call: Call, provider: Provider, host: str) -> Call:
    """The call, marked when the provider's key in the policy may not go to this host."""
    return call if facts.takes_key(provider, host) else replace(call, foreign_host=host)


def host_reasons(call: Call, policy: Policy, wanted: str, goes_to: str) -> Iterator[Reason]:
    """Why the policy's key may not go where the agent sent the call: anybody can have such a host."""
    if call.foreign_host is None or goes_to != call.provider:
        return
    if goes_with_own_key(policy, wanted, call.provider, goes_to):
        return
    provider = policy.providers.get(goes_to)
    named = listed(provider.hosts if provider is not None else ())
    yield Reason(
        Effect.DENY,
        Code.POLICY_DENIED,
        f"providers.{goes_to}.hosts",
        f"The operator's key goes only to hosts that the policy names ({named or 'none'}), because "
        f"anybody can have one like {call.foreign_host[:253]}; send the call to one of them.",
    )


def stored_reasons(
    call: Call, policy: Policy, wanted: str, goes_to: str, own: Collection[str] = ()
) -> Iterator[Reason]:
    """Why a call may not name objects that the provider keeps: with a shared key they are anyone's.

    Args:
        own: Those of them that calls of this agent, or of one below it, have made.
    """
    if call.stored is None or goes_with_own_key(policy, wanted, call.provider, goes_to):
        return
    if call.stored_ids and all(one in own for one in call.stored_ids):
        return
    yield Reason(
        Effect.DENY,
        Code.POLICY_DENIED,
        f"providers.{goes_to}.key",
        f"{call.stored} names something that the provider keeps and no call of this agent has made. "
        "With the operator's key it could be another agent's, so it is refused; send what is needed in "
        "the call itself.",
    )
