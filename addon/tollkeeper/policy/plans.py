"""Checks of what a policy says of plans at a flat rate: who pays, whose key, whose login."""

from __future__ import annotations

from tollkeeper import facts
from tollkeeper.policy.model import ProviderEntry
from tollkeeper.policy.problems import Steps
from tollkeeper.policy.sources import Checked


def check_plans(checked: Checked) -> None:
    """Everything of this module."""
    for name, entry in checked.entry.providers.items():
        _billing(checked, name, entry)
    for alias, wanted in checked.entry.models.items():
        plan = facts.plans().get(wanted.provider)
        if plan is not None and plan.credential is None:
            checked.error(
                f"'{wanted.provider}' takes nothing but a plan's own login, so no other call can be "
                "sent there",
                "models",
                alias,
                "provider",
            )
    _logins(checked)


def _billing(checked: Checked, name: str, entry: ProviderEntry) -> None:
    way: Steps = ("providers", name)
    plan, built_in = facts.plans().get(name), facts.providers().get(name)
    billing = entry.billing or (built_in.billing if built_in else "metered")
    if entry.billing == "flat" and built_in is not None and plan is None:
        known = ", ".join(facts.plans())
        checked.warn(
            f"what '{name}' gives to a plan cannot be told from a key that pays by use, so all calls "
            f"to it are taken for a plan's; it can be told of {known}",
            *way,
            "billing",
        )
    if entry.counts is not None and billing != "flat":
        checked.error(
            "counts is about the notional cost of calls that a plan pays; with billing: metered "
            "every cost counts",
            *way,
            "counts",
            key=True,
        )
    if entry.key is not None and plan is not None and plan.credential is None:
        checked.error(
            f"'{name}' takes nothing but a plan's own login, which each client keeps and refreshes "
            "itself; no key can be injected there",
            *way,
            "key",
            key=True,
        )


def _logins(checked: Checked) -> None:
    """Tokens are refreshed at hosts of their own, which must be reachable and are never decrypted."""
    others = checked.entry.other_hosts
    for index, host in enumerate(others.inspect or ()):
        if host in facts.login_hosts():
            checked.error(
                f"'{host}' hands out logins of {facts.login_hosts()[host]}; it is never decrypted, "
                "because its tokens would be shown; put it under tunnel",
                "other_hosts",
                "inspect",
                index,
            )
    if others.default != "deny":
        return
    for name, entry in checked.entry.providers.items():
        plan = facts.plans().get(name)
        if plan is None or (entry.billing is None and entry.counts is None):
            continue
        if not any(host in (others.tunnel or ()) for host in plan.login):
            checked.warn(
                f"clients refresh a plan's login at {plan.login[0]}, which other_hosts denies; "
                "name it under other_hosts.tunnel",
                "providers",
                name,
                key=True,
            )
