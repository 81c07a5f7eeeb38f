"""`model list`: models, tiers, prices, and where each price comes from."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper_cli import endpoints as table
from tollkeeper_cli import state
from tollkeeper_cli.output import Column, print_rows
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from tollkeeper.core.pricing import PriceBook
    from tollkeeper.domain import Policy

app = typer.Typer(help="Models, tiers and prices.", no_args_is_help=True)

_COLUMNS = [
    Column("model", "model"), Column("provider", "provider"), Column("tier", "tier"),
    Column("input_nano_usd", "in /Mtok"), Column("output_nano_usd", "out /Mtok"),
    Column("other", "other"), Column("context_window", "context", spare=1), Column("max_output_tokens", "max out", spare=2),
    Column("source", "price from", spare=3),
]  # fmt: skip

_PER = {
    "audio_hours": "an hour of audio", "cache_storage": "a million tokens kept for an hour", "characters": "a million characters",
    "images": "a thousand images", "pages": "a thousand pages",
    "search_units": "a thousand search units",
}  # fmt: skip


@app.callback()
def models() -> None:
    """Models, tiers and prices."""


@app.command("list")
def list_(
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="Only models with this in their name, or a glob."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="P", help="Only of this provider.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", "-a", help="Every model with a known price.")
    ] = False,
    endpoints: Annotated[
        bool,
        typer.Option("--endpoints", help="What of the APIs is metered, free, or refused and why."),
    ] = False,
    json_: Json = False,
) -> None:
    """List models with tiers, prices and their sources.

    Without --all or TEXT: those that the policy names, and those that were called.
    """
    from tollkeeper.core.pricing import PriceBook

    at = state.made_home()
    policy = state.load_policy(at)
    if endpoints:
        table.show(policy, provider, text, json_=json_)
        return
    book = PriceBook(policy)
    known = {(name, model) for name in policy.providers for model in _catalogue(policy, name)}
    wanted = known if all_ or text or provider else _named(policy, known) | _called()
    rows = [
        _row(policy, book, name, model, None)
        for name, model in sorted(wanted)
        if (provider is None or name == provider) and _fits(model, text)
    ]
    rows += [
        _row(policy, book, alias.provider, alias.model, alias.name)
        for alias in policy.aliases.values()
        if (provider is None or alias.provider == provider) and _fits(alias.name, text)
    ]
    print_rows(rows, _COLUMNS, json_=json_, empty="No model fits: try --all.")


def _fits(model: str, text: str | None) -> bool:
    return text is None or text in model or fnmatchcase(model, text)


def _catalogue(policy: Policy, name: str) -> list[str]:
    """Models that the owner, our own table and the catalogue have prices for."""
    from genai_prices.data import providers

    from tollkeeper import facts

    known = policy.providers[name]
    own = [glob for glob in known.prices if not set(glob) & set("*?[")]
    listed = [m.id for p in providers if p.id == known.catalogue for m in p.models]
    return list(dict.fromkeys([*own, *facts.published_models(name), *listed]))


def _named(policy: Policy, known: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of the known ones those that a tier, an agent or a price of the owner's names.

    A model that several providers serve is shown where its maker sells it (the first in the list of
    providers); resellers' names for it (``openai/gpt-4o``) only on demand.
    """
    from tollkeeper.core.tiers import fits_model, tier_of

    globs = [g for limits in policy.agents.values() for g in limits.models or () if g != "*"]
    order = {name: number for number, name in enumerate(policy.providers)}
    found: dict[str, str] = {}
    plain = [one for one in known if not set(one[1]) & set("/:~")]
    for name, model in sorted(plain, key=lambda one: (order[one[0]], one[1])):
        meant = tier_of(policy.tiers, model) or fits_model((model.lower(),), globs)
        if meant:
            found.setdefault(model, name)
    own = {(n, m) for n, m in known if m in policy.providers[n].prices}
    return {(name, model) for model, name in found.items()} | own


def _called() -> set[tuple[str, str]]:
    from tollkeeper_cli import reports

    with state.open_ledger() as ledger:
        return {
            (row["provider"], row["model"]) for row in reports.top_models(ledger, 0, 1000)
            if row["provider"]
        }  # fmt: skip


def _row(
    policy: Policy, book: PriceBook, provider: str, model: str, alias: str | None
) -> dict[str, Any]:
    from tollkeeper.core.tiers import tier_of
    from tollkeeper.core.units import MEASURES
    from tollkeeper.core.wording import usd

    sheet = book.sheet(provider, model, now_ns())
    rates = sheet.tariff["standard"][0][1] if sheet else None
    other = {name: getattr(rates, name) for name in MEASURES if rates and getattr(rates, name)}
    by_tokens = rates if rates and (rates.input or rates.output or not other) else None
    return {
        "model": alias or model,
        "is": model if alias else None,
        "provider": provider,
        "tier": tier_of(policy.tiers, alias or model) or tier_of(policy.tiers, model),
        "input_nano_usd": by_tokens.input if by_tokens else None,
        "output_nano_usd": by_tokens.output if by_tokens else None,
        "cache_read_nano_usd": by_tokens.cache_read if by_tokens else None,
        "cache_write_nano_usd": by_tokens.cache_write if by_tokens else None,
        "other": ", ".join(f"{usd(nano)} {_PER[name]}" for name, nano in other.items()) or None,
        "context_window": sheet.context_window if sheet else None,
        "max_output_tokens": sheet.max_output_tokens if sheet else None,
        "source": sheet.source if sheet else "unknown: refused under a budget",
    }
