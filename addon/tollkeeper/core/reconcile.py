"""Where a provider's statement and our books differ, and what most likely makes the difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from tollkeeper.core.statement import Figures, Key, Statement, same_model
from tollkeeper.domain import NANO_PER_USD

_SHIFTED: Final = Decimal("0.1")
"""Two days' differences of opposite sign whose sum is below this share of them are one shift."""


class Cause(StrEnum):
    """What most likely makes a difference."""

    NOT_THROUGH_US = "calls not through us"
    NOT_IN_FILE = "not in the file"
    ESTIMATED = "estimated here"
    UNKNOWN_PRICE = "unknown price here"
    OPEN = "still open here"
    ROUNDING = "rounding"
    TIMEZONE = "day boundary"
    PRICE = "another price"
    UNEXPLAINED = "unexplained"


ADVICE: Final = {
    Cause.NOT_THROUGH_US: "The provider counted calls that did not pass here: the key is used elsewhere,"
    " or a program goes around the proxy (`tollkeeper doctor` looks for these).",
    Cause.NOT_IN_FILE: "The file has less of it than passed here: another account or project, a filter of the export, or"
    " a day that the provider has not closed yet.",
    Cause.ESTIMATED: "Streams that broke off, or answers without usage, were booked by what was seen or as"
    " reserved; the provider's figure is the truth.",
    Cause.UNKNOWN_PRICE: "Calls here have no price, so they were booked without a cost: give one under"
    " `providers.NAME.prices`.",
    Cause.OPEN: "Calls of that day are not settled yet: compare again later.",
    Cause.ROUNDING: "The file's amounts are rounded line by line; this much can come of it.",
    Cause.TIMEZONE: "The next day differs by as much the other way: the file's days begin at another hour.",
    Cause.PRICE: "Tokens agree and amounts do not: another price holds (a discount, a tier, a change), see"
    " `tollkeeper model list`.",
    Cause.UNEXPLAINED: "Nothing here tells why: `tollkeeper export calls` has every call of that day.",
}
"""What a person can make of each."""


@dataclass(slots=True)
class Ours:
    """What the books have of a key.

    Attributes:
        unsure_nano_usd: Of the cost, what was estimated or booked as reserved.
    """

    cost_nano_usd: int = 0
    unsure_nano_usd: int = 0
    open_nano_usd: int = 0
    unknown_costs: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of a breakdown."""
        self.cost_nano_usd += row["cost_nano_usd"]
        self.unsure_nano_usd += row["estimated_nano_usd"] + row["reserved_nano_usd"]
        self.open_nano_usd += row["open_nano_usd"]
        self.unknown_costs += row["unknown_costs"]
        self.requests += row["sent"]
        self.input_tokens += row["input_tokens"]
        self.output_tokens += row["output_tokens"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two figures may be apart: an amount in nano-USD, or a share of the provider's figure."""

    nano_usd: int = 0
    share: Decimal = Decimal(0)

    def covers(self, difference_nano_usd: Decimal, theirs_nano_usd: Decimal) -> bool:
        """Whether amounts that far apart agree."""
        allowed = max(Decimal(self.nano_usd), abs(theirs_nano_usd) * self.share)
        return abs(difference_nano_usd) <= allowed

    def covers_tokens(self, ours: int, theirs: int) -> bool:
        """Whether counts agree: exactly, or within the share."""
        return abs(ours - theirs) <= theirs * self.share


@dataclass(frozen=True, slots=True)
class Difference:
    """One key, side by side.

    Attributes:
        theirs_nano_usd: As near as a nano-dollar; None where the file has no amounts.
        difference_nano_usd: Ours less theirs.
        agrees: Within the tolerance.
    """

    key: Key
    ours: Ours
    theirs: Figures
    theirs_nano_usd: int | None
    difference_nano_usd: int | None
    agrees: bool
    cause: Cause | None


@dataclass(slots=True)
class Comparison:
    """All of it, the largest differences first.

    Attributes:
        by_cost: Whether amounts were compared; else tokens were, because the file has no amounts.
    """

    rows: list[Difference] = field(default_factory=list)
    by_cost: bool = True

    @property
    def agrees(self) -> bool:
        """Whether every row does."""
        return all(row.agrees for row in self.rows)

    @property
    def causes(self) -> Sequence[Cause]:
        """Those that were found, the dearest first."""
        return tuple(dict.fromkeys(row.cause for row in self.rows if row.cause))


def compare(
    statement: Statement, booked: Iterable[Mapping[str, Any]], tolerance: Tolerance
) -> Comparison:
    """Lay the statement beside the books.

    Args:
        booked: Rows of a breakdown by provider, day and model, in the statement's timezone and
            period; of providers that the statement is not about too.
    """
    theirs = statement.grouped()
    providers = {key.provider for key in theirs}
    ours: dict[Key, Ours] = {}
    for row in booked:
        provider = (row["provider"] or "").removesuffix("-regional")
        if "" not in providers and provider not in providers:
            continue
        key = Key(
            "" if "" in providers else provider,
            row["day"] if statement.daily else "",
            same_model(row["model"] or "") if statement.named else "",
        )
        ours.setdefault(key, Ours()).add(row)
    by_cost = any(figures.cost_usd is not None for figures in theirs.values()) or not theirs
    rows = [
        _difference(key, ours.get(key, Ours()), theirs.get(key), tolerance, by_cost=by_cost)
        for key in {**theirs, **ours}
        if key in theirs or _matters(ours[key])
    ]
    rows = _shifted(rows)
    rows.sort(key=lambda row: (row.agrees, -abs(row.difference_nano_usd or 0), row.key.day,
                               row.key.provider, row.key.model))  # fmt: skip
    return Comparison(rows, by_cost)


def _matters(ours: Ours) -> bool:
    """Whether there is anything that a provider could have billed."""
    return bool(ours.cost_nano_usd or ours.requests or ours.unknown_costs)


def _difference(
    key: Key, ours: Ours, theirs: Figures | None, tolerance: Tolerance, *, by_cost: bool
) -> Difference:
    figures = theirs or Figures()
    if not by_cost:
        agrees = tolerance.covers_tokens(
            ours.input_tokens, figures.input_tokens or 0
        ) and tolerance.covers_tokens(ours.output_tokens, figures.output_tokens or 0)
        cause = None if agrees else _cause(ours, theirs, None)
        return Difference(key, ours, figures, None, None, agrees, cause)
    billed = (figures.cost_usd or Decimal(0)) * NANO_PER_USD
    apart = ours.cost_nano_usd - billed
    agrees = tolerance.covers(apart, billed) and not ours.unknown_costs
    cause = None if agrees else _cause(ours, theirs, apart)
    return Difference(key, ours, figures, round(billed), round(apart), agrees, cause)


def _cause(ours: Ours, theirs: Figures | None, apart_nano_usd: Decimal | None) -> Cause:
    """What most likely makes the difference; day boundaries are seen later, over several rows."""
    if theirs is None:
        return Cause.NOT_IN_FILE
    if not ours.requests:
        return Cause.NOT_THROUGH_US
    if ours.unknown_costs:
        return Cause.UNKNOWN_PRICE
    if ours.open_nano_usd and (apart_nano_usd is None or 0 < -apart_nano_usd <= ours.open_nano_usd):
        return Cause.OPEN
    if apart_nano_usd is not None and abs(apart_nano_usd) <= theirs.rounding_usd * NANO_PER_USD:
        return Cause.ROUNDING
    more = [
        (theirs.requests, ours.requests),
        (theirs.input_tokens, ours.input_tokens),
        (theirs.output_tokens, ours.output_tokens),
    ]
    known = [(one, other) for one, other in more if one is not None]
    estimated = ours.unsure_nano_usd
    if estimated and (apart_nano_usd is None or abs(apart_nano_usd) <= estimated):
        return Cause.ESTIMATED
    if any(one > other for one, other in known):
        return Cause.NOT_THROUGH_US
    tokens = known[1:] if theirs.requests is not None else known
    if apart_nano_usd is not None and tokens and all(one == other for one, other in tokens):
        return Cause.PRICE
    if any(one < other for one, other in known) and (apart_nano_usd is None or apart_nano_usd > 0):
        return Cause.NOT_IN_FILE
    return Cause.UNEXPLAINED


def _shifted(rows: list[Difference]) -> list[Difference]:
    """Neighbouring days of a model that are apart by as much in either direction are one shift."""
    by_place = {(row.key.provider, row.key.model, row.key.day): n for n, row in enumerate(rows)}
    ordered = sorted(by_place)
    found = list(rows)
    for place, after in pairwise(ordered):
        one, other = rows[by_place[place]], rows[by_place[after]]
        if place[:2] != after[:2] or one.agrees or other.agrees:
            continue
        first, second = one.difference_nano_usd or 0, other.difference_nano_usd or 0
        largest = max(abs(first), abs(second))
        if first * second < 0 and abs(first + second) <= largest * _SHIFTED:
            for row in (one, other):
                at = by_place[row.key.provider, row.key.model, row.key.day]
                found[at] = replace(row, cause=Cause.TIMEZONE)
    return found
