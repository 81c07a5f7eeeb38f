"""What a provider says that it was used for: the statement, as a file of it was read.

A statement is summed by day and model while it is read, so a file of any length takes little memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from tollkeeper.core.tiers import base_name

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST: Final = Decimal(10) ** 18
_CLAUDE_OLD: Final = re.compile(r"claude-(\d[\d-]*)-(opus|sonnet|haiku|instant)", re.ASCII)
_REVISION: Final = re.compile(r"(-0\d\d|-preview|-preview-\d\d-\d\d(-20\d\d)?|-exp)$", re.ASCII)


@dataclass(slots=True)
class Figures:
    """Sums that a statement or the books give; None where it does not say.

    Attributes:
        cost_usd: Exact; statements have more decimals than a nano-dollar.
        input_tokens: Inclusive: cached reads and writes are among them.
        rounding_usd: By how much rounding of its lines can have moved the cost.
    """

    cost_usd: Decimal | None = None
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    rounding_usd: Decimal = Decimal(0)

    def add(self, other: Figures) -> None:
        """Take what the other says to what is known here."""
        self.cost_usd = _sum(self.cost_usd, other.cost_usd)
        self.requests = _sum(self.requests, other.requests)
        self.input_tokens = _sum(self.input_tokens, other.input_tokens)
        self.output_tokens = _sum(self.output_tokens, other.output_tokens)
        self.rounding_usd += other.rounding_usd


def _sum[N: (int, Decimal)](one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


@dataclass(frozen=True, slots=True)
class Key:
    """What figures are of.

    Attributes:
        day: ``2026-11-21``, or empty where lines span several days and only the whole is compared.
        model: In its base name; empty where the statement does not say.
    """

    provider: str
    day: str
    model: str


@dataclass(slots=True)
class Statement:
    """A whole file.

    Attributes:
        kind: Which format it was found to be in.
        timezone: Whose days the file's are.
        first_day: Of the period that it covers, days without usage included; empty when unknown.
        notes: What was left out of the comparison and why, for the person.
    """

    kind: str
    timezone: str = "UTC"
    lines: dict[Key, Figures] = field(default_factory=dict)
    first_day: str = ""
    last_day: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, key: Key, figures: Figures) -> None:
        """Take a line in."""
        self.covers(key.day)
        self.lines.setdefault(key, Figures()).add(figures)

    def covers(self, day: str) -> None:
        """Say that the period holds this day."""
        if day:
            self.first_day = min(self.first_day or day, day)
            self.last_day = max(self.last_day, day)

    @property
    def daily(self) -> bool:
        """Whether every line is of one day."""
        return all(key.day for key in self.lines)

    @property
    def named(self) -> bool:
        """Whether any line names its model."""
        return any(key.model for key in self.lines)

    def grouped(self) -> Mapping[Key, Figures]:
        """The lines by what all of them say: without days where some span several."""
        found: dict[Key, Figures] = {}
        for key, figures in self.lines.items():
            plain = Key(key.provider, key.day if self.daily else "", key.model)
            found.setdefault(plain, Figures()).add(figures)
        return found


def exact(value: object) -> Decimal | None:
    """A number, or one written as text; None when it is none, or beyond what is ever billed."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        amount = Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() and abs(amount) < _LARGEST else None


def day_of(text: str) -> str:
    """The UTC day of a date, a time in ISO-8601 or seconds since the epoch.

    Raises:
        ValueError: When it is none of these.
    """
    text = text.strip()
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text, re.ASCII):
        return (_EPOCH + timedelta(seconds=int(text.partition(".")[0]))).date().isoformat()
    if match := re.fullmatch(r"(\d{4})[/-](\d{1,2})[/-](\d{1,2})", text, re.ASCII):
        return date(int(match[1]), int(match[2]), int(match[3])).isoformat()
    moment = datetime.fromisoformat(text.removesuffix(" UTC").replace(" UTC", ""))
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date().isoformat()


def same_model(name: str) -> str:
    """The name under which statements and books meet: without vendor, date, revision and case.

    Consoles show names for people (``Claude Haiku 4.5``), and Anthropic has had the numbers on both
    sides of the family's name.
    """
    plain = name.strip().lower().replace(" ", "-")
    variant = ":free" if plain.endswith(":free") else ""
    plain = base_name(base_name(plain.removesuffix(":free")))
    plain = _REVISION.sub("", plain)
    if plain.startswith("claude"):
        plain = plain.replace(".", "-")
        plain = _CLAUDE_OLD.sub(r"claude-\2-\1", plain)
    return plain + variant
