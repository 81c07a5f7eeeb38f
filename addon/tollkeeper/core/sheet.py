"""What a call costs, at most and in the end: integer arithmetic over one model's prices.

Money is nano-USD, a rate nano-USD per million tokens (per thousand for searches and requests); each
cost is one sum and one ceiling division.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tollkeeper.core.units import by_tokens, units_numerator
from tollkeeper.domain import Call, Dialect, Usage

MEGA: Final = 1_000_000
STANDARD: Final = "standard"
UNLIMITED_TOKENS: Final = 1 << 40
"""What can be afforded of something that costs nothing; larger than any context window."""

_PLAIN_TIERS: Final = frozenset(
    {
        "default",
        STANDARD,
        "standard_only",
        "standard_speed",
        "priority_capacity",
        "on_demand",
        "scale",
        "unspecified",
    }
)
"""What providers call tiers that are billed at list price, or by capacity paid in advance.

Source: https://platform.openai.com/docs/api-reference/chat/create (default, scale),
https://docs.anthropic.com/en/api/service-tiers (standard, standard_only),
https://console.groq.com/docs/service-tiers (on_demand); ``standard_speed`` and ``priority_capacity``
are our words for what Anthropic's answers name (``wire/usage.py``)
"""

_CHEAPER_TIERS: Final = frozenset({"flex", "batch"})
"""Never dearer than list price, so that a sheet without a price for them still bounds them."""

_COUNTED_FEATURES: Final = frozenset(
    {"vision", "audio_in", "audio_out", "cache_write_5m", "cache_write_1h"}
)

_MARKED: Final = frozenset({Dialect.ANTHROPIC, Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE})
"""Dialects in which a cache is written only where the call marks it."""

_GEO_PERCENT: Final = 110
"""What inference pinned to a region costs of the list price, every kind of token alike.

Source: https://support.claude.com/en/articles/15422948-enable-us-only-inference-for-your-organization
(1.1x); older models refuse the parameter,
https://platform.claude.com/docs/en/build-with-claude/data-residency
"""


class Rates(NamedTuple):
    """One row of a sheet; a part without a price of its own has the rate of its whole."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    reasoning: int
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int
    web_searches: int = 0
    requests: int = 0
    audio_hours: int = 0
    characters: int = 0
    images: int = 0
    pages: int = 0
    search_units: int = 0
    cache_read_audio: int | None = None
    cache_storage: int = 0


type Brackets = tuple[tuple[int, Rates], ...]
"""``(start, rates)``, ascending; the last whose start is below the total input prices every token."""

type Tariff = Mapping[str, Brackets]
"""Brackets by service tier; ``standard`` is always there."""


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """The prices of one model at one moment, for calls that ask for one service tier.

    Attributes:
        source: Where the prices are written, for people and for the record.
        context_window: The most input tokens, None when unknown.
        max_output_tokens: The documented most that one answer may hold, None when unknown.
        tariff: In force now.
        coming: Tariffs that come into force within the next hour: a call that begins now may be
            billed by them (DeepSeek bills by the time of day).
        asked_tier: The service tier that the call asks for, else the account's.
        elective: Tiers that only their own name asks for, never ``auto``.
        any_tier: True when the price stands for every service tier, because the owner set it.
        fees: For each use of a tool that the provider runs, by name: nano-USD per thousand uses.
        unpriced: Kinds of token that have no price of their own here although their maker bills
            them by one: ``audio_input``, ``audio_output``, ``image_output``.
        priced: Whether it prices anything at all.
        by_tokens: Whether all of its rates are of tokens or requests.
    """

    source: str
    context_window: int | None
    max_output_tokens: int | None
    tariff: Tariff
    coming: tuple[Tariff, ...] = ()
    asked_tier: str | None = None
    elective: frozenset[str] = frozenset()
    any_tier: bool = False
    fees: Mapping[str, int] = field(default_factory=dict)
    unpriced: frozenset[str] = frozenset()
    priced: bool = field(init=False, compare=False)
    by_tokens: bool = field(init=False, compare=False)
    _worst: dict[
        tuple[bool, frozenset[str], tuple[tuple[str, ...], ...]],
        tuple[tuple[int, int, int, int], ...],
    ] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        rows = tuple(self.rows())
        object.__setattr__(self, "priced", any(map(any, rows)))
        object.__setattr__(self, "by_tokens", by_tokens(rows))

    # ------------------------------------------------------------------------------ settling

    def cost_nano_usd(self, usage: Usage, call: Call | None = None) -> int:
        """What this usage is billed, rounded up to the next nano-dollar.

        Parts are taken out of their wholes. Where parts overlap (cached audio, say) or exceed their
        whole, the dearest are counted first and the whole bounds them all, so the cost is never
        below the truth and never above the whole at its dearest rate. Counts that are None are 0:
        fill in what is unknown before asking. When the provider names no tier, or one without a
        price, the dearest that the call may have been given counts. What has no price at all is in
        ``missing`` and not in here.

        Args:
            call: What was asked; its surcharge (``inference_geo``) and tools are looked at.
        """
        tiers = self._billed_tiers(usage.service_tier)
        percent = _percent_of(usage, call)
        numerator = max(
            self._numerator(self.tariff[tier], usage) * percent
            + self._fees(self.tariff[tier], usage, call) * 100
            for tier in tiers
        )
        return -(-numerator // (MEGA * 100))

    def _billed_tiers(self, told: str | None) -> tuple[str, ...]:
        """The tiers that an answer may be billed by; the one that it names wins.

        An elective tier is a speed, and a tier named beside it says nothing about speed.
        """
        if told is not None and not (told.lower() == STANDARD and self.asked_tier in self.elective):
            tier = told.lower()
            return (tier,) if tier in self.tariff else self._reachable(self.tariff, tier)
        return self._reachable(self.tariff, self.asked_tier)

    def missing(self, usage: Usage, call: Call | None = None) -> tuple[str, ...]:
        """What the provider bills by a price that is not known here: a reason, never zero."""
        counts = {
            "audio_input": usage.audio_input_tokens,
            "audio_output": usage.audio_output_tokens,
            "image_output": usage.image_output_tokens,
        }
        found = [name for name in sorted(self.unpriced) if counts[name]]
        stored = self.priced and usage.kept_token_seconds
        if stored and not any(rates.cache_storage for rates in self.rows()):
            found.append("cache_storage")
        tier = usage.service_tier or self.asked_tier
        found += [f"service tier {tier}"] if not self.prices_tier(tier) else []
        tools = dict(usage.server_tools) | ({"web_search": 1} if usage.web_searches else {})
        if self.tariff[STANDARD][0][1].web_searches:
            tools.pop("web_search", None)
        return (*found, *(tool for tool in tools if _fee_name(tool, call) not in self.fees))

    def _fees(self, brackets: Brackets, usage: Usage, call: Call | None) -> int:
        """What is billed by use and by request, times a million; regions do not make it dearer."""
        rates = _bracket(brackets, usage.input_tokens or 0)
        search_fee = self.fees.get(_fee_name("web_search", call), rates.web_searches)
        fees = {"web_search": search_fee}
        total = rates.requests + search_fee * usage.web_searches
        for tool, uses in usage.server_tools:
            total += fees.get(tool, self.fees.get(_fee_name(tool, call), 0)) * uses
        return total * 1000

    def plain_cost_nano_usd(self, input_tokens: int, output_tokens: int, call: Call) -> int:
        """``cost_nano_usd`` of tokens that are neither cached, thought, heard nor seen; quicker."""
        percent = _percent(call.features)
        numerator = 0
        for tier in self._reachable(self.tariff, self.asked_tier):
            rates = _bracket(self.tariff[tier], input_tokens)
            tokens = input_tokens * rates.input + output_tokens * rates.output
            numerator = max(numerator, tokens * percent + rates.requests * 1000 * 100)
        return -(-numerator // (MEGA * 100))

    @staticmethod
    def _numerator(brackets: Brackets, usage: Usage) -> int:
        whole_input, whole_output = usage.input_tokens or 0, usage.output_tokens or 0
        rates = _bracket(brackets, whole_input)
        write_1h = usage.cache_write_1h_input_tokens
        write_5m = max(usage.cache_write_input_tokens - write_1h, 0)
        read, heard = usage.cache_read_input_tokens, usage.audio_input_tokens
        read_audio = 0
        if rates.cache_read_audio is not None:
            read_audio = min(usage.cache_read_audio_input_tokens, read, heard)
        total = _shared_out(
            whole_input,
            rates.input,
            (rates.cache_read, read - read_audio),
            (rates.cache_read_audio or 0, read_audio),
            (rates.cache_write, write_5m),
            (rates.cache_write_1h, write_1h),
            (rates.audio_input, heard - read_audio),
            (rates.image_input, usage.image_input_tokens),
        )
        total += _shared_out(
            whole_output,
            rates.output,
            (rates.reasoning, usage.reasoning_output_tokens),
            (rates.audio_output, usage.audio_output_tokens),
            (rates.image_output, usage.image_output_tokens),
        )
        return total + units_numerator(rates, usage)

    # ----------------------------------------------------------------------------- reserving

    def worst_cost_nano_usd(
        self, input_tokens: int, output_tokens: int, call: Call, server_tools_nano_usd: int = 0
    ) -> int:
        """More than the provider can bill for this call.

        Every token at the dearest rate that the call may be billed: over all price brackets that
        ``input_tokens`` reaches, the service tiers that the call permits, and the kinds of token
        that its features allow. Cache writes count always where a provider may write by itself,
        and on Anthropic's API only where the call marks them. Image output counts wherever the
        model has a price for it, because image models answer with images unasked. Search fees are
        not in here: ``server_tools_nano_usd`` must cover them.

        Args:
            input_tokens: At least what can be billed as input.
            output_tokens: At least what one choice can be billed as output.
            server_tools_nano_usd: Set aside for tools that the provider runs and bills.
        """
        percent = _percent(call.features)
        total_output = output_tokens * call.choices + call.extra_output_tokens
        numerator = max(
            (input_tokens * input_rate + total_output * output_rate) * percent + fixed * 100
            for start, input_rate, output_rate, fixed in self._worst_rates(call)
            if start < input_tokens or start == 0
        )
        if call.most is not None:
            reached = self._reached_rows(call)
            numerator += percent * max(units_numerator(rates, call.most) for rates in reached)
        return -(-numerator // (MEGA * 100)) + server_tools_nano_usd

    def rows(self) -> Iterator[Rates]:
        """Every row of the tariffs in force now or soon."""
        for tariff in (self.tariff, *self.coming):
            for brackets in tariff.values():
                yield from (rates for _, rates in brackets)

    def _reached_rows(self, call: Call) -> Iterator[Rates]:
        """Every row that may price this call."""
        asked = call.service_tier or self.asked_tier
        for tariff in (self.tariff, *self.coming):
            for tier in self._reachable(tariff, asked):
                yield from (rates for _, rates in tariff[tier])

    def affordable_output_tokens(
        self, left_nano_usd: int, input_tokens: int, call: Call, server_tools_nano_usd: int = 0
    ) -> int:
        """The largest output limit of one choice whose worst cost is within ``left_nano_usd``.

        0 when not even the input fits.
        """
        percent = _percent(call.features)
        purse = (left_nano_usd - server_tools_nano_usd) * MEGA * 100
        most = UNLIMITED_TOKENS
        for start, input_rate, output_rate, fixed in self._worst_rates(call):
            if start and start >= input_tokens:
                continue
            rest = purse - fixed * 100 - input_tokens * input_rate * percent
            if rest < 0:
                return 0
            if output_rate:
                most = min(most, rest // (output_rate * percent))
        return max(most - call.extra_output_tokens, 0) // call.choices

    def _worst_rates(self, call: Call) -> tuple[tuple[int, int, int, int], ...]:
        """``(start, input rate, output rate, request fee)`` of all rows that may price the call."""
        features = call.features & _COUNTED_FEATURES
        if call.opaque_input is not None:
            features |= {"vision", "audio_in"}
        tariffs = (self.tariff, *self.coming)
        asked = call.service_tier or self.asked_tier
        reached = tuple(self._reachable(tariff, asked) for tariff in tariffs)
        key = (call.dialect in _MARKED, features, reached)
        rows = self._worst.get(key)
        if rows is None:
            rows = self._worst[key] = tuple(
                (start, *_dearest(rates, key[0], features))
                for tariff, tiers in zip(tariffs, reached, strict=True)
                for tier in tiers
                for start, rates in tariff[tier]
            )
        return rows

    def prices_tier(self, asked: str | None) -> bool:
        """Whether the price of the service tier that a call asks for is known."""
        tier = (asked or self.asked_tier or "auto").lower()
        known = {"auto", *_PLAIN_TIERS, *_CHEAPER_TIERS, *self.tariff}
        return self.any_tier or tier in known

    def _reachable(self, tariff: Tariff, asked: str | None) -> tuple[str, ...]:
        """The service tiers of a tariff that a call may be billed by when it asks for ``asked``.

        ``auto`` reaches all that are not elective. A call that asks for none gets what the policy
        says that the account's settings give it (``default_tier``), else the standard tier; where
        they give it a dearer one, the excess is booked as an overrun.
        """
        tier = STANDARD if asked is None else asked.lower()
        if tier in _PLAIN_TIERS:
            return (STANDARD,)
        if tier in tariff:
            return (STANDARD, tier)
        return (STANDARD, *sorted(tariff.keys() - self.elective - {STANDARD}))


def _bracket(brackets: Brackets, whole_input: int) -> Rates:
    for start, rates in reversed(brackets):
        if whole_input > start:
            return rates
    return brackets[0][1]


def _shared_out(whole: int, rate: int, *parts: tuple[int, int]) -> int:
    """Tokens times rates of a whole and its ``(rate, tokens)`` parts, dearest part first."""
    total = 0
    for part_rate, tokens in sorted([part for part in parts if part[1]], reverse=True):
        taken = min(tokens, whole)
        total += taken * part_rate
        whole -= taken
    return total + whole * rate


def _dearest(rates: Rates, anthropic: bool, features: frozenset[str]) -> tuple[int, int, int]:
    """Input rate, output rate and request fee (times 1000) that no billed token exceeds."""
    inputs = [rates.input, rates.cache_read, rates.cache_read_audio or 0]
    if not anthropic or features & {"cache_write_5m", "cache_write_1h"}:
        inputs.append(rates.cache_write)
    if not anthropic or "cache_write_1h" in features:
        inputs.append(rates.cache_write_1h)
    if "audio_in" in features:
        inputs.append(rates.audio_input)
    if "vision" in features:
        inputs.append(rates.image_input)
    outputs = [rates.output, rates.reasoning, rates.image_output]
    if "audio_out" in features:
        outputs.append(rates.audio_output)
    return max(inputs), max(outputs), rates.requests * 1000


def _percent(features: frozenset[str]) -> int:
    return _GEO_PERCENT if "inference_geo" in features else 100


def _percent_of(usage: Usage, call: Call | None) -> int:
    """The surcharge of the region that the answer names, else of the one that was asked for."""
    if usage.inference_geo is not None:
        plain = usage.inference_geo in ("global", "not_available", "")
        return 100 if plain else _GEO_PERCENT
    return _percent(call.features) if call is not None else 100


_VARIANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "web_search": {"web_search_preview": "web_search_preview"},
    "code_interpreter": {
        f"memory_{size}": f"code_interpreter_{size}" for size in ("unknown", "64g", "16g", "4g")
    },
}
"""What of a call makes a use of its tool another use, by features; of several, the first counts."""


def _fee_name(tool: str, call: Call | None) -> str:
    for feature, name in _VARIANTS.get(tool, {}).items():
        if call is not None and feature in call.features:
            return name
    return tool
