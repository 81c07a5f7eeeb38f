"""Which prices hold for a model: the owner's, else the catalogue's, else none.

A model without a price has no sheet: unknown is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from tollkeeper import facts
from tollkeeper.core import catalogue
from tollkeeper.core.sheet import STANDARD, PriceSheet, Rates
from tollkeeper.domain import Policy, Provider

__all__ = ["PRICE_KEYS", "PriceBook", "PriceSheet"]

PRICE_KEYS: Final = Rates._fields
"""Keys of an owner's price: per million tokens or ``characters``, per hour for ``audio_hours``, all others
(``web_searches``, ``requests``, ``images``, ``pages``, ``search_units``) per thousand."""


class PriceBook:
    """All prices that a policy's providers have, compiled when first asked for.

    The cache holds for a quarter of an hour of the clock, because tariffs begin on such. Names that
    clients make up cannot grow it beyond ``CACHE_SIZE``.
    """

    CACHE_SIZE: Final = 4096

    def __init__(self, policy: Policy) -> None:
        """Price for one policy; a reloaded policy needs a new book."""
        self._providers = policy.providers
        self._sheets: dict[tuple[str, str, str | None], PriceSheet | None] = {}
        self._quarter = -1

    def sheet(
        self, provider: str, model: str, now_ns: int, service_tier: str | None = None
    ) -> PriceSheet | None:
        """The sheet of a model, or None when its price is unknown.

        Args:
            provider: A name of the policy's providers.
            model: As the provider names it.
            service_tier: What the call asks for; prices answers that do not say what they got.
        """
        quarter = now_ns // catalogue.QUARTER_NS
        if quarter != self._quarter or len(self._sheets) >= self.CACHE_SIZE:
            self._sheets, self._quarter = {}, quarter
        key = (provider, model, service_tier)
        if key not in self._sheets:
            known = self._providers.get(provider)
            self._sheets[key] = _compile(known, model, quarter, service_tier) if known else None
        return self._sheets[key]


def _compile(
    provider: Provider, model: str, quarter: int, service_tier: str | None
) -> PriceSheet | None:
    if owners_glob(provider, model) is None:
        model = facts.model_of(provider, model)
    entry = catalogue.find(provider.catalogue, model) if provider.catalogue else None
    window = entry.context_window if entry else None
    most = facts.max_output_tokens(provider.name, model)
    glob = owners_glob(provider, model)
    if glob is not None:
        rates = owners_rates(provider.prices[glob])
        source = f"providers.{provider.name}.prices.{glob}"
        tariff = {STANDARD: ((0, rates),)}
        return PriceSheet(source, window, most, tariff, asked_tier=service_tier, any_tier=True)
    tariffs = entry.tariffs(quarter) if entry else None
    if entry is None or tariffs is None:
        return _by_units(provider, model, service_tier)
    now, *later = tariffs
    coming = tuple(one for one in later if one != now)
    return PriceSheet(entry.source, window, most, now, coming, service_tier, entry.elective)


def _by_units(provider: Provider, model: str, service_tier: str | None) -> PriceSheet | None:
    """A sheet of other measures than tokens, which the catalogue lacks, or None."""
    found = facts.unit_rates(provider.name, model)
    if found is None:
        return None
    rates = owners_rates({"input": 0, "output": 0, **found[0]})
    return PriceSheet(found[1], None, None, {STANDARD: ((0, rates),)}, asked_tier=service_tier)


def owners_glob(provider: Provider, model: str) -> str | None:
    """The key of the owner's prices that holds for a model: its name, else the first glob."""
    if model in provider.prices:
        return model
    return next((glob for glob in provider.prices if fnmatchcase(model, glob)), None)


def owners_rates(prices: Mapping[str, int]) -> Rates:
    """Rates from an owner's prices.

    A part without a price has the rate of its whole: cache reads and writes the input rate, 1h
    writes that of other writes, reasoning the output rate.

    Raises:
        KeyError: When ``input`` or ``output`` is missing; the policy's loader sees to it.
    """
    whole_input, whole_output = prices["input"], prices["output"]
    cache_write = prices.get("cache_write", whole_input)
    return Rates(
        input=whole_input,
        output=whole_output,
        cache_read=prices.get("cache_read", whole_input),
        cache_write=cache_write,
        cache_write_1h=prices.get("cache_write_1h", cache_write),
        reasoning=prices.get("reasoning", whole_output),
        audio_input=prices.get("audio_input", whole_input),
        audio_output=prices.get("audio_output", whole_output),
        image_input=prices.get("image_input", whole_input),
        image_output=prices.get("image_output", whole_output),
        web_searches=prices.get("web_searches", 0),
        requests=prices.get("requests", 0),
        audio_hours=prices.get("audio_hours", 0),
        characters=prices.get("characters", 0),
        images=prices.get("images", 0),
        pages=prices.get("pages", 0),
        search_units=prices.get("search_units", 0),
    )
