"""The figures as Prometheus reads them.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4; read 2026-11)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tollkeeper.domain import Policy
from tollkeeper.ledger.figures import Group, Now, Sums
from tollkeeper.proxy.disclose import usd

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHER = "other"

type Labels = tuple[tuple[str, str], ...]


def exposition(sums: Sums, now: Now, policy: Policy, *, ready: bool) -> str:
    """All metrics; labels are names of the policy, so that no agent can make new series."""
    names = Names(policy)
    counted = {
        "tollkeeper_calls_total": ("Calls that are over.", names.by(sums, "calls", "outcome")),
        "tollkeeper_refusals_total": (
            "Calls that were refused, by the first reason's code.",
            names.by(refused(sums), "calls", "code"),
        ),
        "tollkeeper_cost_usd_total": ("USD booked.", names.by(sums, "cost_nano_usd")),
        "tollkeeper_notional_usd_total": (
            "USD that calls paid by plans at a flat rate would have cost.",
            names.by(sums, "notional_nano_usd"),
        ),
        "tollkeeper_input_tokens_total": ("Tokens in.", names.by(sums, "input_tokens")),
        "tollkeeper_output_tokens_total": ("Tokens out.", names.by(sums, "output_tokens")),
    }
    info: Labels = (("digest", policy.digest), ("mode", str(policy.mode)))
    measured: dict[str, tuple[str, Mapping[Labels, int]]] = {
        "tollkeeper_calls_in_flight": ("Calls at providers.", {(): now.in_flight}),
        "tollkeeper_calls_held": ("Calls that wait for a person.", {(): now.waiting}),
        "tollkeeper_approvals_open": ("Questions without an answer.", {(): now.approvals}),
        "tollkeeper_reserved_usd": ("USD set aside.", {(): now.reserved_nano_usd}),
        "tollkeeper_ready": ("Whether /readyz says yes.", {(): int(ready)}),
        "tollkeeper_policy_info": ("The policy in force.", {info: 1}),
    }
    lines: list[str] = []
    for kind, metrics in (("counter", counted), ("gauge", measured)):
        for name, (about, samples) in metrics.items():
            lines += metric(name, kind, about, samples)
    return "\n".join(lines) + "\n"


def refused(sums: Sums) -> Sums:
    """Those that were refused."""
    return {group: found for group, found in sums.items() if group.outcome == "refused"}


class Names:
    """The names that a policy gives; everything else is ``other``."""

    def __init__(self, policy: Policy) -> None:
        """Collect them."""
        everybody = [policy.ceilings, *policy.teams.values(), *policy.agents.values()]
        lists = [*policy.tiers.values(), *(limits.models or () for limits in everybody)]
        models = {model for one in lists for model in one} | {
            alias.name for alias in policy.aliases.values()
        }
        self.known: dict[str, frozenset[str]] = {
            "agent": frozenset(policy.agents),
            "provider": frozenset(policy.providers),
            "model": frozenset(models),
        }

    def by(self, sums: Sums, what: str, *more: str) -> Counter[Labels]:
        """One sum over all calls, by who called what and the further labels.

        Args:
            more: ``outcome`` or ``code``, whose values are our own.
        """
        found: Counter[Labels] = Counter()
        for group, counted in sums.items():
            found[(*self.labels(group), *((name, getattr(group, name)) for name in more))] += (
                counted[what]
            )
        return found

    def labels(self, group: Group) -> Iterator[tuple[str, str]]:
        """Who called what."""
        for label, known in self.known.items():
            name = getattr(group, label)
            yield label, name if name in known else OTHER


def metric(name: str, kind: str, about: str, samples: Mapping[Labels, int]) -> Iterable[str]:
    """The lines of one metric; amounts of money come in nano-USD and are told in USD."""
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in sorted(samples.items()):
        told = ",".join(f'{label}="{escaped(text)}"' for label, text in labels)
        amount = usd(value) if "_usd" in name else str(value)
        yield f"{name}{{{told}}} {amount}" if told else f"{name} {amount}"


def escaped(text: str) -> str:
    """A label's value as the format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
