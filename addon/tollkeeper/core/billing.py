"""Who pays for a call: money by what is used, or a plan at a flat rate.

An agent chooses what it sends, so nothing in a request can free it from a budget: a plan counts at
its notional cost unless the owner says otherwise, and what leaves with another key than the agent's
own is metered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tollkeeper import facts
from tollkeeper.core.keys import goes_with_own_key
from tollkeeper.domain import Billing, Call, Policy, Provider


def with_payer(
    call: Call, provider: Provider, credentials: Sequence[tuple[str, str]], in_query: bool
) -> Call:
    """The call, marked when all that pays for it is a plan's credential.

    Args:
        provider: Which the call was sent to.
        credentials: Every header of the request that may carry a key, name and value.
        in_query: Whether the query carries one too.
    """
    if provider.billing != "flat" or in_query or not call.metered:
        return call
    shown = facts.is_of_plan(provider.name, credentials)
    return replace(call, by_plan=True) if shown else call


def billing_of(call: Call, policy: Policy, wanted: str, goes_to: str) -> Billing:
    """Who pays for a call.

    Args:
        wanted: ``injected``, ``own`` or ``either``: the strictest over the agent and its ancestors.
        goes_to: Name of the provider that gets the call.
    """
    provider = policy.providers.get(goes_to)
    if provider is None or provider.billing != "flat" or not (call.metered and call.by_plan):
        return Billing.METERED
    if "credits" in call.features or not goes_with_own_key(policy, wanted, call.provider, goes_to):
        return Billing.METERED
    return Billing.FLAT_COUNTED if provider.counts else Billing.FLAT
