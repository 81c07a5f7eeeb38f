"""What an agent may ask for: models, tools, streaming, vision, reasoning, parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from tollkeeper.core.layers import Over
from tollkeeper.core.tiers import fits_model
from tollkeeper.core.wording import listed
from tollkeeper.domain import Call, Reason


def capability_reasons(
    call: Call, resolved_model: str | None, layers: Iterable[Over]
) -> Iterator[Reason]:
    """Every capability that some layer does not give to this call."""
    for over in layers:
        limits = over.limits
        if limits.scope is not None:
            yield from _scope(call, over)
        if limits.models is not None:
            yield from _model(call, resolved_model, over, limits.models)
        if limits.tools is not None:
            yield from _tools(call, over, limits.tools)
        if False in (limits.streaming, limits.vision, limits.reasoning):
            yield from _kinds(call, over)
        if limits.max_output_tokens is not None and "no_output_limit" in call.features:
            yield over.denies(
                "max_output_tokens",
                f"This backend takes no output limit, so {over.name('max_output_tokens')} cannot be "
                "kept here; ask the provider's own API.",
            )
        if limits.strict:
            yield from _strict(call, over)


def _scope(call: Call, over: Over) -> Iterator[Reason]:
    if over.limits.scope == "read-only" and call.metered:
        yield over.denies(
            "scope", f"Only free endpoints may be called ({over.name('scope')} is read-only)."
        )


def _model(
    call: Call, resolved_model: str | None, over: Over, allowed: Sequence[str]
) -> Iterator[Reason]:
    if call.model is None and not call.metered:
        return
    names = {name for name in (call.model, resolved_model) if name is not None}
    if names.isdisjoint(allowed) and not fits_model([name.lower() for name in names], allowed):
        yield over.denies(
            "models",
            f"Model {listed([call.model or '(none)'])} is not among the models that this agent may "
            f"call ({over.name('models')}).",
        )


def _tools(call: Call, over: Over, allowed: Sequence[str]) -> Iterator[Reason]:
    offered = dict.fromkeys((*call.tools_offered, *call.server_tools))
    refused = [name for name in offered if name not in allowed and not _fits_any((name,), allowed)]
    if refused:
        yield over.denies(
            "tools",
            f"These tools may not be offered to a model: {listed(refused)} ({over.name('tools')}).",
        )


def _kinds(call: Call, over: Over) -> Iterator[Reason]:
    limits = over.limits
    if limits.streaming is False and call.stream:
        yield over.denies(
            "streaming", f"Streaming is not allowed ({over.name('streaming')}); ask without it."
        )
    if limits.vision is False and "vision" in call.features:
        yield over.denies("vision", f"Images are not allowed ({over.name('vision')}).")
    if limits.reasoning is False and "reasoning" in call.features:
        yield over.denies(
            "reasoning",
            f"Reasoning is not allowed ({over.name('reasoning')}); ask without reasoning parameters.",
        )


def _strict(call: Call, over: Over) -> Iterator[Reason]:
    if call.unknown_parameters:
        yield over.denies(
            "strict",
            f"Unknown parameters are not allowed ({over.name('strict')}): "
            f"{listed(call.unknown_parameters)}.",
        )


def _fits_any(names: Iterable[str], globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names for glob in globs)
