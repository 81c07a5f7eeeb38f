"""Budgets and quotas: whether a call fits into every account that it counts on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

from tollkeeper.core.bounds import Bounds, unbounded_reasons
from tollkeeper.core.layers import Line, Stack
from tollkeeper.core.sheet import PriceSheet
from tollkeeper.core.snapshot import History
from tollkeeper.core.units import measure_of
from tollkeeper.core.wording import listed, resets, usd
from tollkeeper.domain import Account, Balance, Call, Code, Effect, Reason

LEAST_CLAMPED_TOKENS: Final = 16
"""The Responses API refuses a smaller limit, and no answer in fewer tokens is worth its input.

Source: https://github.com/earendil-works/pi/issues/6265 (the API's own error message)
"""

_NOTHING: Final = Balance()

_MEDIA: Final = {
    "audio_in": "audio_input", "audio_out": "audio_output", "image_out": "image_output"
}  # fmt: skip
"""Kinds of token that a feature of a call may be billed by."""


class Purse(NamedTuple):
    """One budget of one layer, as it stands before the call; a credit is added to its limit."""

    line: Line
    limit_nano_usd: int
    left_nano_usd: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a call may cost.

    Attributes:
        worst_nano_usd: None when no price is known or nothing bounds the call.
    """

    worst_nano_usd: int | None
    expected_nano_usd: int | None
    server_tools_nano_usd: int = 0


def purses_of(stack: Stack, balances: Mapping[Account, Balance]) -> list[Purse]:
    """Every budget over the call."""
    purses = []
    for line in stack.budgets:
        balance = balances.get(line.account, _NOTHING)
        limit = line.limit + balance.credit_nano_usd
        left = limit - balance.spent_nano_usd - balance.reserved_nano_usd
        purses.append(Purse(line, limit, left))
    return purses


def left_percent(purses: Iterable[Purse]) -> Decimal | None:
    """The least that any budget still holds, in percent of it; None without a budget."""
    least: Decimal | None = None
    for _, limit, left in purses:
        percent = Decimal(left * 100) / limit if limit > 0 and left > 0 else Decimal(0)
        if least is None or percent < least:
            least = percent
    return least


def price_of(
    call: Call,
    bounds: Bounds,
    sheet: PriceSheet | None,
    stack: Stack,
    history: History | None,
) -> Price:
    """Worst and expected cost; without a history the worst is expected."""
    if not call.metered:
        return Price(0, 0)
    if sheet is None or bounds.input_tokens is None or bounds.output_tokens is None:
        return Price(None, None)
    tools = (stack.server_tools_nano_usd or 0) if call.server_tools else 0
    worst = sheet.worst_cost_nano_usd(bounds.input_tokens, bounds.output_tokens, call, tools)
    if history is None or call.most is not None:
        return Price(worst, worst, tools)
    likely_input = history.input_share_ppm * bounds.input_tokens // 1_000_000
    likely = sheet.plain_cost_nano_usd(likely_input, history.output_tokens, call)
    return Price(worst, min(likely, worst), tools)


def clamped(
    call: Call, bounds: Bounds, price: Price, sheet: PriceSheet, purses: Sequence[Purse]
) -> Bounds | None:
    """Bounds whose worst case fits all purses, when the expected cost does; else None."""
    least = min(purse.left_nano_usd for purse in purses)
    if price.expected_nano_usd is None or price.expected_nano_usd > least:
        return None
    if "no_output_limit" in call.features:
        return None
    assert bounds.input_tokens is not None
    assert bounds.output_tokens is not None
    fits = sheet.affordable_output_tokens(
        least, bounds.input_tokens, call, price.server_tools_nano_usd
    )
    if fits < LEAST_CLAMPED_TOKENS or fits >= bounds.output_tokens:
        return None
    return replace(bounds, output_tokens=fits, put_in=fits)


def budget_reasons(price: Price, purses: Sequence[Purse]) -> Iterator[Reason]:
    """Every budget that does not hold this call."""
    worst = price.worst_nano_usd
    if worst is not None:
        for purse in purses:
            if worst > purse.left_nano_usd:
                yield _exhausted(purse, worst)


def price_reasons(
    call: Call, goes_to: str, sheet: PriceSheet | None, bounds: Bounds, stack: Stack
) -> Iterator[Reason]:
    """Why this call's cost would stay unknown, or no budget could be kept over it, where one stands.

    Args:
        goes_to: ``provider/model`` as resolved.
    """
    if "background" in call.features:
        yield from _background(call, goes_to)
    if not stack.budgets or not call.metered:
        return
    over, key = stack.budgets[0].over, stack.budgets[0].key
    if sheet is None:
        provider, _, model = goes_to.partition("/")
        what = "deployment" if call.deployment == model else "model"
        runs = f"write what it runs under providers.{provider}.deployments, or "
        yield over.denies(
            key,
            f"No price{measure_of(call)} is known for {what} {listed([model])} of {provider}, and a "
            f"budget stands over this call; the operator can {runs if what == 'deployment' else ''}"
            "set one under "
            f"providers.{provider}.prices.",
        )
    else:
        yield from unbounded_reasons(call, bounds, over, key)
        if not sheet.prices_tier(call.service_tier):
            yield over.denies(
                key,
                f"No price is known for service tier {listed([call.service_tier or sheet.asked_tier or ''])} of this "
                "model, and a budget stands over this call; ask for the standard tier.",
            )
        for kind in sorted(_MEDIA.keys() & call.features):
            if _MEDIA[kind] in sheet.unpriced:
                yield over.denies(
                    key,
                    f"No price is known for {_MEDIA[kind].replace('_', ' ')} of this model, and a "
                    "budget stands over this call; the operator can set one "
                    f"({_MEDIA[kind]}) under providers.{goes_to.partition('/')[0]}.prices.",
                )
    if call.server_tools and stack.server_tools_nano_usd is None:
        yield over.denies(
            "server_tools_usd",
            f"Tools that the provider runs and bills ({listed(call.server_tools)}) are refused "
            "under a budget; the operator can set an amount aside for them with server_tools_usd.",
        )


def _background(call: Call, goes_to: str) -> Iterator[Reason]:
    """Why a call may not go on behind its answer: nobody could ask what came of it, and what it cost."""
    provider = goes_to.partition("/")[0]
    if "background_unasked" in call.features or provider != call.provider:
        yield Reason(
            Effect.DENY,
            Code.POLICY_DENIED,
            f"providers.{provider}",
            f"Background calls of {provider} are refused, because no endpoint is known that asks for "
            "their answer, so nobody could fetch it and what it cost would stay unknown; send this "
            "call without `background`, as a stream if it takes long.",
        )


def _exhausted(purse: Purse, worst_nano_usd: int) -> Reason:
    over, key, account, _ = purse.line
    name = over.name(key)
    limit, left = purse.limit_nano_usd, purse.left_nano_usd
    if worst_nano_usd > limit:
        message = (
            f"This call may cost up to {usd(worst_nano_usd)}, more than the whole budget {name} of "
            f"{usd(limit)} ({usd(left)} left): shorten it or lower its output limit."
        )
    else:
        message = (
            f"Budget {name} is exhausted: {usd(limit)} limit, {usd(left)} left, this call may cost "
            f"up to {usd(worst_nano_usd)}; {resets(account.resets_ns)}."
        )
    return Reason(
        Effect.DENY,
        Code.BUDGET_EXHAUSTED,
        over.source(key),
        message,
        account=account,
        left_nano_usd=left,
    )


def overdrawn(price: Price, purses: Sequence[Purse]) -> bool:
    """Whether the worst case is more than some purse holds."""
    worst = price.worst_nano_usd
    return worst is not None and any(worst > purse.left_nano_usd for purse in purses)


def quota_reasons(stack: Stack, balances: Mapping[Account, Balance]) -> Iterator[Reason]:
    """Every quota of calls that is used up."""
    for over, key, account, limit in stack.quotas:
        if balances.get(account, _NOTHING).calls + 1 > limit:
            yield Reason(
                Effect.DENY,
                Code.BUDGET_EXHAUSTED,
                over.source(key),
                f"Quota {over.name(key)} of {limit} calls is used up; {resets(account.resets_ns)}.",
                account=account,
            )
