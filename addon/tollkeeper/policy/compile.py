"""From what the owner wrote to what the house works with (``domain.Policy``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tollkeeper import facts
from tollkeeper.domain import (
    NS_PER_SECOND,
    Effect,
    KeySource,
    Limits,
    Mode,
    ModelAlias,
    Mount,
    OtherHosts,
    Policy,
    Price,
    Prices,
    Provider,
    Rule,
)
from tollkeeper.policy.match import compile_call
from tollkeeper.policy.model import (
    AliasEntry,
    KeyEntry,
    LimitsEntry,
    OtherHostsEntry,
    PolicyEntry,
    PriceEntry,
    ProviderEntry,
    RuleEntry,
)

DEFAULT_LAPSE_NS = 3600 * NS_PER_SECOND
"""How long an unanswered hold, or an approved call that nobody fetches, stays open."""

_AUTH = {
    "openai": "bearer", "anthropic": "x-api-key", "gemini": "x-goog-api-key",
    "cohere": "bearer", "ollama": "bearer", "vllm": "bearer",
}  # fmt: skip
_AS_WRITTEN = (
    "rpm", "tpm", "concurrent", "streaming", "vision", "reasoning", "max_input_tokens",
    "max_output_tokens", "unsized_input_tokens", "strict", "clamp", "key", "scope",
    "on_overrun",
)  # fmt: skip


def compile_policy(entry: PolicyEntry, digest: str, folder: Path) -> Policy:
    """The policy that is put in force.

    Args:
        entry: Checked.
        digest: SHA-256 of the source text.
        folder: What file names in the policy are relative to.
    """
    return Policy(
        digest=digest,
        mode=Mode(entry.mode),
        timezone=entry.timezone,
        providers=_providers(entry.providers, folder),
        other_hosts=_other_hosts(entry.other_hosts),
        aliases=_frozen({name.lower(): _alias(name, one) for name, one in entry.models.items()}),
        tiers=_frozen({tier.name: tuple(tier.models) for tier in entry.tiers}),
        teams=_frozen({name: _limits(team) for name, team in entry.teams.items()}),
        ceilings=_limits(entry.ceilings),
        agents=_frozen({name: _limits(agent) for name, agent in entry.agents.items()}),
        members=_frozen({name: one.team for name, one in entry.agents.items() if one.team}),
        rules=tuple(_rule(rule) for rule in entry.rules),
        refusals=_frozen({code: _frozen(by) for code, by in entry.refusals.items()}),
        durability=entry.durability,
        upstream_proxy=entry.upstream.proxy,
        upstream_credentials=_key(entry.upstream.credentials, folder),
        upstream_trust=_path(entry.upstream.trust, folder),
        body_limit_bytes=entry.body_limit,
        websockets=entry.websockets,
    )


def _frozen[V](values: Mapping[str, V]) -> Mapping[str, V]:
    return MappingProxyType(dict(values))


def _path(written: str | None, folder: Path) -> str | None:
    return str(resolve_path(written, folder)) if written else None


def resolve_path(written: str, folder: Path) -> Path:
    """A file named in the policy; ``~`` is the home of who runs the proxy."""
    return folder / Path(written).expanduser()


def _providers(entries: Mapping[str, ProviderEntry], folder: Path) -> Mapping[str, Provider]:
    """The policy's providers first, so that their hosts are looked up first; then all others."""
    own = {name: _provider(name, entry, folder) for name, entry in entries.items()}
    return _frozen(own | {name: one for name, one in facts.providers().items() if name not in own})


def _provider(name: str, entry: ProviderEntry, folder: Path) -> Provider:
    base = facts.providers().get(name) or Provider(name, (), entry.api or "none")
    mounts = base.mounts
    if entry.prefix is not None and entry.api is not None:
        mounts = (Mount(entry.api, entry.prefix, _AUTH[entry.api]),)
    return replace(
        base,
        hosts=tuple(dict.fromkeys((*base.hosts, *(entry.hosts or ())))),
        key=_key(entry.key, folder),
        connect_to=entry.connect_to,
        trust=_path(entry.trust, folder),
        prices={glob: _prices(price) for glob, price in (entry.prices or {}).items()},
        mounts=mounts,
        billing=entry.billing or base.billing,
        counts=entry.counts is not False,
        deployments=_frozen(entry.deployments or {}),
        default_tier=entry.service_tier,
    )


def _key(entry: KeyEntry | None, folder: Path) -> KeySource | None:
    return KeySource(env=entry.env, file=_path(entry.file, folder)) if entry else None


def _prices(entry: PriceEntry | list[PriceEntry]) -> Prices:
    return tuple(
        Price(
            {key: nano for key, nano in one if nano is not None and key != "since"}, one.since or 0
        )
        for one in (entry if isinstance(entry, list) else [entry])
    )


def _other_hosts(entry: OtherHostsEntry) -> OtherHosts:
    return OtherHosts(
        default=entry.default or "tunnel",
        inspect=tuple(entry.inspect or ()),
        deny=tuple(entry.deny or ()),
        tunnel=tuple(entry.tunnel or ()),
        ports=tuple(entry.ports or (443,)),
    )


def _alias(name: str, entry: AliasEntry) -> ModelAlias:
    limits = Limits(
        tools=None if entry.tools is None else tuple(entry.tools),
        streaming=entry.streaming,
        vision=entry.vision,
        reasoning=entry.reasoning,
        max_input_tokens=entry.max_input_tokens,
        max_output_tokens=entry.max_output_tokens,
    )
    return ModelAlias(name, entry.provider, entry.model, limits)


def _limits(entry: LimitsEntry) -> Limits:
    written: dict[str, Any] = {name: getattr(entry, name, None) for name in _AS_WRITTEN}
    return Limits(
        budget_nano_usd=entry.budget_usd.by_window if entry.budget_usd else {},
        requests=entry.requests.by_window if entry.requests else {},
        models=None if entry.models is None else tuple(entry.models),
        tools=None if entry.tools is None else tuple(entry.tools),
        server_tools_nano_usd=entry.server_tools_usd,
        **written,
    )


def _rule(entry: RuleEntry) -> Rule:
    matches, fields = compile_call(entry.call)
    message, lapse_ns = None, DEFAULT_LAPSE_NS
    if isinstance(entry.deny, str):
        message = entry.deny
    elif entry.deny is not None:
        message = entry.deny.message
    if entry.hold is not None:
        message = entry.hold.message
        lapse_ns = entry.hold.lapses_after or DEFAULT_LAPSE_NS
    (effect,) = entry.effects
    return Rule(entry.name, Effect[effect.upper()], matches, fields, message, lapse_ns)
