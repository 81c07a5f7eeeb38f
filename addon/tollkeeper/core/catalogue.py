"""The genai-prices catalogue, compiled to integer rates.

Source: https://github.com/pydantic/genai-prices (the installed release; it is never updated over
the network, so that the same call is priced alike on every machine)

How names are matched
    The catalogue matches some models by prefix or substring, which would price a model that it has
    never heard of like an older relative. Here such a match counts only when what the name has
    beyond it is a release date, a revision or a word that never changes a price (``-latest``,
    ``-preview``); before a substring only a vendor or region may stand. A fine-tune's name may end
    as it likes. Everything else is unknown.

What is not priced
    Models billed by kinds of token that no usage tells apart (video, citations) have no price here, and neither has an entry without any price, except where
    the provider's own name for it ends in ``:free``. An output rate that the catalogue leaves out is
    taken to be the input rate; such models (embeddings) bill no output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_CEILING, Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Final

from genai_prices import types
from genai_prices.data import providers as _catalogue

from tollkeeper.core.sheet import STANDARD, Brackets, Rates, Tariff
from tollkeeper.domain import NANO_PER_USD, NS_PER_SECOND

QUARTER_NS: Final = 900 * NS_PER_SECOND
"""Tariffs begin and end on quarters of an hour (a test looks at the whole catalogue)."""

QUARTERS_AHEAD: Final = 4
"""A call may be billed by the tariff in force when it ends; an hour is longer than calls last.

Source: https://api-docs.deepseek.com/quick_start/pricing (prices by the time of day)
"""

_RELEASE: Final = version("genai-prices")

_LONGEST_NAME: Final = 256
"""The catalogue's own patterns are matched with ``re``; no real name comes near this."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_KEYS: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_input": "input_image_mtok",
    "image_output": "output_image_mtok",
    "web_searches": "web_searches_kcount",
    "requests": "requests_kcount",
    "audio_hours": "audio_hours",
    "characters": "input_mchars",
    "pages": "input_document_kpages",
    "cache_read_audio": "cache_audio_read_mtok",
}

_UNNEEDED: Final = frozenset(
    {
        "cache_image_read_mtok",
        "storage_searches_kcount",
        "input_audio_hours",
        "input_annotated_document_kpages",
    }
)
"""Cached images count at the dearer rate; file searches have a fee of their own (``facts``); hours of
input audio are named twice; annotated pages are refused."""

_BASES: Final = frozenset(
    {"input_mtok", "requests_kcount", "audio_hours", "input_mchars", "input_document_kpages"}
)
"""An entry without any of these has no price."""

MEDIA: Final = ("audio_input", "audio_output", "image_output")
"""Kinds of token whose price is never taken to be that of text."""

_ONE_PRICE: Final = frozenset({"google"})
"""Makers whose own price pages name a kind of media wherever it is not billed as text.

Source: https://ai.google.dev/gemini-api/docs/pricing
"""

_MAKES_ONLY: Final = (
    (re.compile(r"gpt-image-[a-z0-9.-]+", re.ASCII), "image_output"),
    (re.compile(r"gpt-[a-z0-9.-]+-tts", re.ASCII), "audio_output"),
)
"""Models that make nothing else, so that their one price of output is that medium's.

Source: https://platform.openai.com/docs/models/gpt-image-1,
https://platform.openai.com/docs/models/gpt-4o-mini-tts, https://platform.openai.com/docs/pricing
(2026-11-21)
"""

_BY_UNIT: Final = {"audio_hours": "audio_input", "characters": "audio_output"}
"""What a model without a price of tokens bills instead of tokens of a medium."""

_WEEKDAYS_ONLY: Final = {"deepseek": 12}
"""Providers whose hours of a higher price are those of workdays in Beijing, and an hour (UTC) outside of
them; the catalogue knows the hours and not the days. A holiday counts as a workday, which is dearer.

Source: https://api-docs.deepseek.com/zh-cn/quick_start/pricing.md (2026-11-21)
"""

_BEIJING: Final = timezone(timedelta(hours=8))
_SATURDAY: Final = 5

_REVISION: Final = re.compile(
    r"([-@:]("
    r"latest|preview|exp|experimental|stable|beta|customtools|thinking|free"
    r"|20\d{2}-\d{2}-\d{2}|\d{2}-\d{2}|\d{2}-20\d{2}|20\d{6}|\d{4}|00\d|v\d+(:\d+)?"
    r")|:\d)*",
    re.ASCII,
)
_VENDOR: Final = re.compile(r"([a-z0-9-]+[./])*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue.

    Attributes:
        elective: Service tiers that only their own name asks for (Anthropic's ``speed: fast``).
    """

    source: str
    context_window: int | None
    elective: frozenset[str]
    _model: types.ModelInfo
    _has_variants: bool
    _free: bool
    _one_price: bool
    _calm_hour: int | None

    def tariffs(self, quarter: int) -> list[Tariff] | None:
        """The tariffs of this quarter and of the next hour's; None when one has no price."""
        found = [self._tariff(quarter + ahead) for ahead in range(QUARTERS_AHEAD + 1)]
        known = [tariff for tariff in found if tariff is not None]
        return known if len(known) == len(found) else None

    def unpriced(self, quarter: int) -> frozenset[str]:
        """Media whose price is not known: the catalogue has none, and text's would be too low."""
        if self._one_price or self._free:
            return frozenset()
        stored = vars(self._model.get_prices(_moment(quarter), {}))
        covered = {medium for names, medium in _MAKES_ONLY if names.fullmatch(self._model.id)}
        if stored.get("input_mtok") is None:
            covered |= {kind for unit, kind in _BY_UNIT.items() if stored.get(_KEYS[unit])}
        return frozenset(
            kind for kind in MEDIA if kind not in covered and stored.get(_KEYS[kind]) is None
        )

    def _tariff(self, quarter: int) -> Tariff | None:
        moment = _moment(quarter)
        if self._calm_hour is not None and moment.astimezone(_BEIJING).weekday() >= _SATURDAY:
            moment = moment.replace(hour=self._calm_hour)
        plain: dict[str, dict[str, str]] = {STANDARD: {}}
        contexts = plain | (_contexts(self._model) if self._has_variants else {})
        tariff: dict[str, Brackets] = {}
        for tier, context in contexts.items():
            brackets = _brackets(self._model.get_prices(moment, context), free=self._free)
            if brackets is None:
                return None
            tariff[tier] = brackets
        return tariff


@lru_cache(maxsize=4096)
def find(catalogue_id: str, model: str) -> Entry | None:
    """The catalogue's entry for a model as its provider names it, or None when it is unknown.

    Args:
        catalogue_id: A provider's exact id in genai-prices.
    """
    if len(model) > _LONGEST_NAME:
        return None
    provider = _providers().get(catalogue_id)
    info = provider.find_model(model, all_providers=_catalogue) if provider else None
    if provider is None or info is None:
        return None
    names = {model.lower(), types._normalize_compact_dated_ref(model.lower())}
    if not any(_is_meant(info.match, name) for name in names):
        return None
    own = any(info is one for one in provider.models)
    elective = frozenset(
        tier for tier, context in _contexts(info).items() if "speed" in context and own
    )
    source = f"genai-prices {_RELEASE} {provider.id}/{info.id}"
    free = model.lower().endswith(":free")
    one_price = provider.id in _ONE_PRICE
    calm = _WEEKDAYS_ONLY.get(provider.id)
    return Entry(source, info.context_window, elective, info, own, free, one_price, calm)


def _moment(quarter: int) -> datetime:
    return _EPOCH + timedelta(seconds=quarter * QUARTER_NS // NS_PER_SECOND)


@cache
def _providers() -> dict[str, types.Provider]:
    return {provider.id: provider for provider in _catalogue}


def _contexts(model: types.ModelInfo) -> dict[str, dict[str, str]]:
    """Price contexts by service tier; batches go through endpoints that are refused."""
    return {
        value: {key: value}
        for variant in model.price_variants or ()
        for key, value in variant.when.items()
        if key in ("service_tier", "speed") and len(variant.when) == 1
    }


def _is_meant(clause: types.MatchLogic, name: str) -> bool:
    """Whether a clause that may match loosely means exactly this name (see the module's text)."""
    match clause:
        case types.ClauseOr():
            return any(_is_meant(one, name) for one in clause.or_)
        case types.ClauseAnd():
            return all(_is_meant(one, name) for one in clause.and_)
        case types.ClauseStartsWith():
            start = clause.starts_with.lower()
            return name.startswith(start) and _is_revision(start, name[len(start) :])
        case types.ClauseContains():
            part = clause.contains.lower()
            before, found, after = name.partition(part)
            vendor = _VENDOR.fullmatch(before) is not None
            return bool(found) and vendor and _is_revision(part, after)
        case types.ClauseEndsWith():
            before = name.removesuffix(clause.ends_with.lower())
            return before != name and _VENDOR.fullmatch(before) is not None
        case _:
            return bool(clause.is_match(name))


def _is_revision(matched: str, rest: str) -> bool:
    if matched.startswith("ft:") or matched.endswith((".ft-", ":ft-")):
        return True
    if matched.endswith(("-", "@", ":")):
        rest = matched[-1] + rest
    return _REVISION.fullmatch(rest) is not None


def _brackets(price: types.ModelPrice, *, free: bool) -> Brackets | None:
    stored = {key: value for key, value in vars(price).items() if value is not None}
    if not stored and free:
        return ((0, Rates(*[0] * 10)),)
    if not stored.keys() <= {*_KEYS.values(), *_UNNEEDED}:
        return None
    if not _BASES & stored.keys():
        return None
    tiered = [value for value in stored.values() if isinstance(value, types.TieredPrices)]
    starts = sorted({0, *(tier.start for value in tiered for tier in value.tiers)})
    return tuple(
        (start, _rates({key: _at(value, start) for key, value in stored.items()}))
        for start in starts
    )


def _at(value: Decimal | types.TieredPrices, start: int) -> int:
    """The price from ``start`` tokens on, as nano-USD; decimals beyond the ninth round up."""
    if isinstance(value, types.TieredPrices):
        reached = [tier.price for tier in value.tiers if tier.start <= start]
        value = reached[-1] if reached else value.base
    return int((value * NANO_PER_USD).to_integral_value(ROUND_CEILING))


def _rates(prices: dict[str, int]) -> Rates:
    def rate(name: str, whole: int) -> int:
        return prices.get(_KEYS[name], whole)

    whole_input = rate("input", 0)
    whole_output = rate("output", whole_input)
    cache_write = rate("cache_write", whole_input)
    return Rates(
        input=whole_input,
        output=whole_output,
        cache_read=rate("cache_read", whole_input),
        cache_write=cache_write,
        cache_write_1h=rate("cache_write_1h", cache_write),
        reasoning=rate("reasoning", whole_output),
        audio_input=rate("audio_input", whole_input),
        audio_output=rate("audio_output", whole_output),
        image_input=rate("image_input", whole_input),
        image_output=rate("image_output", whole_output),
        web_searches=rate("web_searches", 0),
        requests=rate("requests", 0),
        audio_hours=rate("audio_hours", 0),
        characters=rate("characters", 0),
        pages=rate("pages", 0),
        cache_read_audio=prices.get(_KEYS["cache_read_audio"]),
    )
