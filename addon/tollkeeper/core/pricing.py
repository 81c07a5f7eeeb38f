"""Which prices hold for a model: the owner's, else ours (``facts``), else the catalogue's, else none.

A model without a price has no sheet: unknown is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import chain
from typing import Final

from tollkeeper import facts
from tollkeeper.core import catalogue
from tollkeeper.core.sheet import STANDARD, PriceSheet, Rates, Tariff
from tollkeeper.domain import Policy, Prices, Provider

__all__ = ["PRICE_KEYS", "PriceBook", "PriceSheet"]

PRICE_KEYS: Final = Rates._fields
"""Keys of an owner's price: per million tokens or ``characters``, per hour for ``audio_hours``, per million
tokens and hour for ``cache_storage``, all others
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
    glob = owners_glob(provider, model)
    if glob is None:
        model = facts.model_of(provider, model)
    priced = facts.billed_as(provider.name, _routed(provider, model))
    entry = catalogue.find(provider.catalogue, priced) if provider.catalogue else None
    asked = service_tier or provider.default_tier
    own = owners_tariffs(provider.prices[glob], quarter) if glob is not None else None
    fees = facts.tool_fees(provider.name, model)
    window = entry.context_window if entry else None
    most = facts.max_output_tokens(provider.name, model)
    if own is not None:
        source = f"providers.{provider.name}.prices.{glob}"
        now, *later = (owners_tariff(rates) for rates in own)
        coming = tuple(one for one in later if one != now)
        if "web_searches" in own[0]:
            fees = {**fees, **dict.fromkeys(_SEARCHES, own[0]["web_searches"])}
        return PriceSheet(source, window, most, now, coming, asked, any_tier=True, fees=fees)
    published = facts.published_rates(provider.name, priced)
    if published is not None:
        rates, page = published
        unpriced = frozenset(catalogue.MEDIA) - rates.keys()
        return PriceSheet(
            page, window, most, owners_tariff(rates), asked_tier=asked, fees=fees, unpriced=unpriced
        )
    tariffs = entry.tariffs(quarter) if entry else None
    if entry is None or tariffs is None:
        return _by_units(provider, model, asked, most)
    percent = facts.region_percent(provider.name, model)
    storage = facts.cache_storage(provider.name, model)
    now, *later = (
        _as_billed(_stored(tariff, storage), fees.get("request", 0), percent) for tariff in tariffs
    )
    coming = tuple(one for one in later if one != now)
    return PriceSheet(
        entry.source, window, most, now, coming, asked, entry.elective,
        fees=fees, unpriced=entry.unpriced(quarter),
    )  # fmt: skip


_SEARCHES: Final = ("web_search", "web_search_preview")

_ROUTES: Final = (":floor", ":online")
"""What a name on OpenRouter may end in without its tokens becoming dearer: the cheapest host, and
a search that is billed by itself. ``:nitro`` and ``:exacto`` go to hosts that may be dearer than
the price on the model's page, so that they have no known price.

Source: https://openrouter.ai/docs/guides/routing/model-variants
"""


def _routed(provider: Provider, model: str) -> str:
    """The name under which the catalogue has a model."""
    if provider.name != "openrouter":
        return model
    return next((model.removesuffix(end) for end in _ROUTES if model.endswith(end)), model)


def _stored(tariff: Tariff, storage: int) -> Tariff:
    """A tariff with the price of keeping a million tokens for an hour, which the catalogue lacks."""
    if not storage:
        return tariff
    return {
        tier: tuple((start, rates._replace(cache_storage=storage)) for start, rates in rows)
        for tier, rows in tariff.items()
    }


def _as_billed(tariff: Tariff, request_fee: int, percent: int) -> Tariff:
    """A tariff with a fee for each request, where it has none, and a region's price of tokens."""

    def billed(rates: Rates) -> Rates:
        tokens = {
            name: -(-rate * percent // 100)
            for name, rate in rates._asdict().items()
            if rate is not None and name not in ("web_searches", "requests")
        }
        return rates._replace(**tokens, requests=rates.requests or request_fee)

    if percent == 100 and not request_fee:
        return tariff
    return {
        tier: tuple((start, billed(rates)) for start, rates in rows)
        for tier, rows in tariff.items()
    }


def _by_units(
    provider: Provider, model: str, service_tier: str | None, most: int | None
) -> PriceSheet | None:
    """A sheet of what the catalogue lacks, most of it by other measures than tokens, or None.

    Where an image's size or quality changes its price, they are its tier: what a call asks for is
    billed by that or by the cheapest, ``STANDARD``, whichever is dearer.
    """
    found = facts.unit_rates(provider.name, model)
    if found is None:
        return None
    tiers = {STANDARD: found[0], **facts.unit_tiers(provider.name, model)}
    tariff = {
        tier: ((0, owners_rates({"input": 0, "output": 0, **rates})),)
        for tier, rates in tiers.items()
    }
    return PriceSheet(found[1], None, most, tariff, asked_tier=service_tier)


def owners_glob(provider: Provider, model: str) -> str | None:
    """The key of the owner's prices that holds for a model: its name, else the first glob.

    Letter case makes no difference, as it makes none in the catalogue.
    """
    if model in provider.prices:
        return model
    name = model.lower()
    folded = {glob: glob.lower() for glob in provider.prices}
    equal = (glob for glob, one in folded.items() if one == name)
    fitting = (glob for glob, one in folded.items() if fnmatchcase(name, one))
    return next(chain(equal, fitting), None)


def owners_tariffs(prices: Prices, quarter: int) -> list[Mapping[str, int]] | None:
    """The owner's prices of this quarter of an hour and of the next hour's.

    None before the first of them is in force: the catalogue's price holds until then.
    """
    moments = [
        (quarter + ahead) * catalogue.QUARTER_NS for ahead in range(catalogue.QUARTERS_AHEAD + 1)
    ]
    found = [_in_force(prices, now_ns) for now_ns in moments]
    first = found[0]
    return None if first is None else [one or first for one in found]


def _in_force(prices: Prices, now_ns: int) -> Mapping[str, int] | None:
    begun = [one for one in prices if one.from_ns <= now_ns]
    return max(begun, key=lambda one: one.from_ns).rates if begun else None


def owners_tariff(prices: Mapping[str, int]) -> Tariff:
    """An owner's price as a tariff: one row, for every tier and length."""
    return {STANDARD: ((0, owners_rates(prices)),)}


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
        cache_read_audio=prices.get("cache_read_audio"),
        cache_storage=prices.get("cache_storage", 0),
    )
