"""Statements as the providers' consoles export them in CSV, told apart by their columns.

The consoles' pages promise an export and list no columns. Those here are what public programs that read
such files expect (seen 2026-11); only the columns that a comparison needs are asked for.

openai-costs, openai-usage
    The usage dashboard's cost and completions exports.
    Source: https://platform.openai.com/usage, with the fields of
    https://platform.openai.com/docs/api-reference/usage
anthropic-costs, anthropic-usage
    The Claude Console's cost and usage pages. Input is split into what was not cached, written and read.
    Source: https://support.anthropic.com/en/articles/9534590-cost-and-usage-reporting-in-console
openrouter-activity
    A line a generation, times in UTC; ``cost_total`` is what OpenRouter charges itself.
    Source: https://openrouter.ai/docs/guides/features/activity
google-billing
    The console's cost table, below a few lines of preamble; its days are those of Pacific time.
    Source: https://cloud.google.com/billing/docs/how-to/cost-table,
    https://cloud.google.com/channel/docs/reference/rest/v1/DateRange (midnight to midnight, Pacific)
google-bigquery
    A query result of the billing export, times in UTC, columns with ``.`` or ``_``.
    Source: https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage
plain
    ``day``, ``model`` and ``cost_usd``, with ``provider``, ``requests``, ``input_tokens`` and
    ``output_tokens`` where there are any: for what no format is known of.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tollkeeper.core.statement import Figures, Key, Statement, day_of, exact, same_model
from tollkeeper.errors import StatementError

_PREAMBLE_LINES: Final = 30
_GEMINI: Final = re.compile(
    r"gemini (\d+(?:\.\d+)?) (flash[ -]lite|flash|pro|ultra|nano)( image)?", re.ASCII
)
_CLAUDE: Final = re.compile(
    r"claude (?:(opus|sonnet|haiku) (\d+(?:\.\d+)?)|(\d+(?:\.\d+)?) (opus|sonnet|haiku))", re.ASCII
)

PLAIN: Final = ("day", "model", "cost_usd")


class Bad(ValueError):  # becomes a StatementError with its place
    """A cell that is not what its column says."""

    def __init__(self, column: str, message: str) -> None:
        self.column = column
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Row:
    """One line, by the names of its columns in lower case."""

    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """What stands there, without space around it; empty where there is no such column."""
        return (self.cells.get(column) or "").strip()

    def day(self, column: str) -> str:
        """The UTC day of a date or time."""
        try:
            return day_of(self.text(column))
        except (ValueError, OverflowError):
            raise Bad(column, f"{self.text(column)!r} is no date or time") from None

    def usd(self, column: str) -> Figures:
        """An amount, exact, and how far its rounding can have moved it; nothing where it is empty."""
        text = self.text(column)
        if not text:
            return Figures()
        amount = exact(text.replace("$", "").replace(",", ""))
        if amount is None:
            raise Bad(column, f"{text!r} is no amount in USD")
        last = Decimal(1).scaleb(int(amount.as_tuple().exponent))
        return Figures(cost_usd=amount, rounding_usd=min(last / 2, Decimal("0.005")))

    def count(self, *columns: str) -> int | None:
        """The sum of some counts; None where none is there."""
        found = [(column, self.text(column)) for column in columns]
        known = [(column, text) for column, text in found if text]
        total = 0
        for column, text in known:
            plain = text.replace(",", "").removesuffix(".0")
            if not re.fullmatch(r"\d{1,18}", plain, re.ASCII):
                raise Bad(column, f"{text!r} is no count")
            total += int(plain)
        return total if known else None


type Read = Callable[[Statement, Row], None]


@dataclass(frozen=True, slots=True)
class Format:
    """One format: the columns that tell it, and what to do with a line."""

    kind: str
    columns: tuple[str, ...]
    read: Read
    timezone: str = "UTC"


def read_csv(lines: Iterable[str], path: str) -> Statement:
    """A statement from the lines of a file.

    Raises:
        StatementError: With line and column, when it is of no known format or a cell cannot be read.
    """
    source = iter(lines)
    header_line, header, rows = _header(source, path)
    found = next((one for one in FORMATS if set(one.columns) <= set(header)), None)
    if found is None:
        raise StatementError(
            f"{path}:{header_line}:1: no known export has the columns {', '.join(header)[:300]}; a"
            f" plain file has {', '.join(PLAIN)}"
        )
    _demand_dollars(header, path, header_line)
    statement = Statement(found.kind, found.timezone)
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as e:
            raise StatementError(f"{path}:{header_line + rows.line_num}:1: {e}") from e
        if cells is None:
            return statement
        if not any(cell.strip() for cell in cells):
            continue
        try:
            found.read(statement, Row(dict(zip(header, cells, strict=False))))
        except Bad as e:
            place = f"{header_line + rows.line_num}:{header.index(e.column) + 1}"
            raise StatementError(f"{path}:{place}: {e} (column {e.column})") from e


class Rows(Iterator[list[str]]):
    """The rows below the header; a protocol of ``csv.reader`` that can be named."""

    line_num: int


def _header(source: Iterator[str], path: str) -> tuple[int, list[str], Rows]:
    """The line of the column names: the first that is some format's, else the very first."""
    seen: list[tuple[int, list[str], str]] = []
    for number, line in enumerate(source, 1):
        mark = max(",\t;", key=line.count)
        try:
            cells = next(csv.reader([line], delimiter=mark), [])
        except csv.Error as e:
            raise StatementError(f"{path}:{number}:1: {e}") from e
        names = [name.strip().lower() for name in cells]
        seen.append((number, names, mark))
        if number >= _PREAMBLE_LINES or any(set(one.columns) <= set(names) for one in FORMATS):
            break
    if not seen:
        raise StatementError(f"{path}:1:1: the file is empty")
    known = any(set(one.columns) <= set(seen[-1][1]) for one in FORMATS)
    number, names, mark = seen[-1] if known else seen[0]
    rows: Rows = csv.reader(source, delimiter=mark)  # type: ignore[assignment]  # as the protocol says
    return number, names, rows


def _demand_dollars(header: list[str], path: str, line: int) -> None:
    for number, name in enumerate(header, 1):
        money = re.fullmatch(r"(?:unrounded )?cost \((.+)\)", name)
        if money and money[1] != "$":
            raise StatementError(
                f"{path}:{line}:{number}: amounts are in {money[1]}; only US dollars can be compared"
            )


def _dollars(row: Row, column: str) -> None:
    currency = row.text(column).lower()
    if currency not in ("", "usd"):
        raise Bad(column, f"amounts are in {currency!r}; only usd can be compared")


def _openai_costs(statement: Statement, row: Row) -> None:
    day = row.day("start_time")
    statement.covers(day)
    if not row.text("amount_value"):
        return
    _dollars(row, "amount_currency")
    model = same_model(row.text("line_item").partition(",")[0])
    statement.add(Key("openai", day, model), row.usd("amount_value"))


def _openai_usage(statement: Statement, row: Row) -> None:
    day = row.day("start_time")
    statement.covers(day)
    figures = Figures(
        requests=row.count("num_model_requests"), input_tokens=row.count("input_tokens"),
        output_tokens=row.count("output_tokens"),
    )  # fmt: skip
    if figures.requests or figures.input_tokens:
        statement.add(Key("openai", day, same_model(row.text("model"))), figures)


def _anthropic_costs(statement: Statement, row: Row) -> None:
    key = Key("anthropic", row.day("usage_date_utc"), same_model(row.text("model")))
    statement.add(key, row.usd("cost_usd"))


def _anthropic_usage(statement: Statement, row: Row) -> None:
    key = Key("anthropic", row.day("usage_date_utc"), same_model(row.text("model_version")))
    cached = [name for name in row.cells if name.startswith("usage_input_tokens_cache_")]
    figures = Figures(
        input_tokens=row.count("usage_input_tokens_no_cache", *cached),
        output_tokens=row.count("usage_output_tokens"),
    )
    statement.add(key, figures)


def _openrouter(statement: Statement, row: Row) -> None:
    variant = row.text("variant")
    name = row.text("model_permaslug") + (":free" if variant == "free" else "")
    figures = row.usd("cost_total")
    figures.requests = 1
    figures.input_tokens = row.count("tokens_prompt")
    figures.output_tokens = row.count("tokens_completion")
    statement.add(Key("openrouter", row.day("created_at"), same_model(name)), figures)


def _google(statement: Statement, row: Row, names: Mapping[str, str]) -> None:
    """A line of Google's: what is no model, and taxes and credits, are counted and left out."""
    sku, service = row.text(names["sku"]), row.text(names["service"])
    model = model_of_sku(sku)
    kind = row.text(names["type"]).lower()
    credit = bool(row.text("credit type"))
    if model is None or credit or kind not in ("", "usage", "regular"):
        note = "Credits, taxes and what is no Gemini or Claude model are left out."
        if sku and note not in statement.notes:
            statement.notes.append(note)
        return
    if "currency" in row.cells:
        _dollars(row, "currency")
    start, end = row.day(names["start"]), row.day(names["end"] or names["start"])
    statement.covers(end)
    statement.covers(start)
    day = start if start == end or names["end"] == "" else ""
    provider = "vertex" if "vertex" in service.lower() else "google"
    cost = names["cost"] if row.text(names["cost"]) else names["rounded"]
    statement.add(Key(provider, day, model), row.usd(cost))


def model_of_sku(sku: str) -> str | None:
    """The model that a line of Google's bill is for; None for anything else."""
    plain = sku.lower().replace("-", " ")
    if gemini := _GEMINI.search(plain):
        parts = (gemini[1], gemini[2].replace(" ", "-"), (gemini[3] or "").strip())
        return "-".join(["gemini", *(part for part in parts if part)])
    if claude := _CLAUDE.search(plain):
        name, version = claude[1] or claude[4], claude[2] or claude[3]
        return same_model(f"claude-{name}-{version}")
    return None


_CONSOLE: Final = {
    "sku": "sku description", "service": "service description", "type": "cost type",
    "start": "usage start date", "end": "usage end date", "cost": "unrounded cost ($)",
    "rounded": "cost ($)",
}  # fmt: skip


def _google_console(statement: Statement, row: Row) -> None:
    _google(statement, row, _CONSOLE)


def _google_query(mark: str) -> Read:
    names = {
        "sku": f"sku{mark}description", "service": f"service{mark}description",
        "type": "cost_type", "start": "usage_start_time", "end": "", "cost": "cost",
        "rounded": "cost",
    }  # fmt: skip
    return lambda statement, row: _google(statement, row, names)


def _plain(statement: Statement, row: Row) -> None:
    figures = row.usd("cost_usd")
    figures.requests = row.count("requests")
    figures.input_tokens = row.count("input_tokens")
    figures.output_tokens = row.count("output_tokens")
    key = Key(row.text("provider").lower(), row.day("day"), same_model(row.text("model")))
    statement.add(key, figures)


FORMATS: Final = (
    Format("openai-costs", ("start_time", "amount_value", "amount_currency"), _openai_costs),
    Format("openai-usage", ("start_time", "num_model_requests", "input_tokens"), _openai_usage),
    Format("anthropic-costs", ("usage_date_utc", "model", "cost_usd"), _anthropic_costs),
    Format("anthropic-usage",
           ("usage_date_utc", "model_version", "usage_output_tokens"), _anthropic_usage),
    Format("openrouter-activity", ("created_at", "model_permaslug", "cost_total"), _openrouter),
    Format("google-billing", ("sku description", "usage start date", "usage end date", "cost ($)"),
           _google_console, "America/Los_Angeles"),
    Format("google-bigquery", ("usage_start_time", "sku.description", "cost"), _google_query(".")),
    Format("google-bigquery", ("usage_start_time", "sku_description", "cost"), _google_query("_")),
    Format("plain", PLAIN, _plain),
)  # fmt: skip
"""Every format, the first whose columns are all there; their order tells which is meant."""
