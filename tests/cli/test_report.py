from __future__ import annotations

import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.home import Home
from tollkeeper_cli.report import steps, unit_of
from tollkeeper_cli.report_page import page, rounded
from tollkeeper_cli.report_text import gauge, print_report, sparkline
from tollkeeper_cli.spent import Period

from .conftest import Books, Cli

HOSTILE = [
    "<script>alert(1)</script>", "</style><img src=x onerror=alert(1)>", '"onload="alert(1)',
    "'--><svg/onload=alert(1)>", "\u202egnp.exe", "\x1b[2Jo3", "javascript:alert(1)", "x" * 500,
]  # fmt: skip
HOUR_NS = 3600 * NS_PER_SECOND


class Page(HTMLParser):
    """What a browser would make of it."""

    ALONE = frozenset({"meta", "rect", "line", "path", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.shown = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, name: str, attributes: Any) -> None:
        self.tags.append(name)
        self.attributes += attributes
        if name not in self.ALONE:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        if name not in self.ALONE:
            assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.shown += data


def made(cli: Cli, target: Path, *words: str) -> Page:
    assert cli("report", "--output", str(target), *words).code == 0
    return Page(target.read_text(encoding="utf-8"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_a_page_needs_nothing_and_runs_nothing(cli: Cli, books: Books, target: Path) -> None:
    books.call()
    books.call(model="o3")
    books.hold()

    seen = made(cli, target)

    text = target.read_text(encoding="utf-8")
    assert seen.open == []
    assert set(seen.tags).isdisjoint({"script", "link", "img", "iframe", "object", "a", "form"})
    assert not any(name.startswith("on") or name in ("href", "src") for name, _ in seen.attributes)
    assert ("http-equiv", "Content-Security-Policy") in seen.attributes
    assert any((value or "").startswith("default-src 'none'") for _, value in seen.attributes)
    assert not re.search(r"url\(|@import|https?:", text)


def test_what_happened_is_on_the_page(cli: Cli, books: Books, target: Path) -> None:
    books.call()
    books.call(model="gpt-4o-mini")
    books.call(model="o3")
    books.call(settle=False)
    books.hold()

    shown = " ".join(made(cli, target).shown.split())

    for part in ("$0.003445", "gpt-4o-mini", "policy_denied", "atlas", "research", "measured by"):
        assert part in shown
    assert "Budgets" in shown
    assert "half within" in shown


def test_every_drawing_has_words_and_a_table_beside_it(
    cli: Cli, books: Books, target: Path
) -> None:
    books.call()

    text = target.read_text() if made(cli, target) else ""

    drawings = re.findall(r"<svg[^>]*>", text)
    assert drawings
    assert all('role="img" aria-label="' in one or 'aria-hidden="true"' in one for one in drawings)
    assert text.count("<table>") >= 4
    assert text.count("<caption>") == text.count("<table>") == text.count('tabindex="0"')


def test_names_that_want_to_be_markup_stay_names(cli: Cli, books: Books, target: Path) -> None:
    for _ in HOSTILE:
        books.call()
    connection = sqlite3.connect(books.ledger.path)
    ids = [row[0] for row in connection.execute("SELECT id FROM calls")]
    for call, name in zip(ids, HOSTILE, strict=True):
        connection.execute(
            "UPDATE calls SET model = ?1, agent = ?1, run = ?1, team = ?1, provider = ?1 WHERE id = ?2",
            (name, call),
        )
        connection.execute(
            "INSERT INTO calls SELECT ?, at_ns, booked_ns, ?1, team, run, provider, model, operation,"
            " stream, 'refused', effect, json_array(?), subjects, NULL, 0, NULL, 0, 0, NULL, NULL,"
            " NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, model_key, NULL,"
            " owner, 0, billing, NULL FROM calls WHERE id = ?",
            (f"{call}x", name, call),
        )
    connection.commit()
    connection.close()

    plain = made(cli, target)

    assert set(plain.tags) <= {
        "html", "head", "meta", "title", "style", "body", "header", "p", "h1", "main", "dl", "div",
        "dt", "dd", "strong", "span", "svg", "g", "rect", "line", "ul", "li", "b", "section", "h2",
        "figure", "table", "caption", "thead", "tbody", "tr", "th", "td", "small", "code", "footer",
    }  # fmt: skip
    assert plain.open == []
    assert not any(name.startswith("on") for name, _ in plain.attributes)
    for name in HOSTILE[:4]:
        assert name in plain.shown
    assert "\u202e" not in target.read_text()
    assert "\\u202egnp.exe" in plain.shown
    assert "\x1b" not in cli("report").out


def test_the_terminal_tells_the_same(cli: Cli, books: Books) -> None:
    books.call()
    books.call(seconds_ago=90_000)
    books.call(model="o3")

    done = cli("report")

    assert "spent   $0.0065" in done.out
    assert any(line.startswith("gpt-4o  ███") for line in done.lines)
    assert any(line.startswith("policy_denied") for line in done.lines)
    assert "spent, each hour" in done.out


def test_figures_are_there_for_programs_too(cli: Cli, books: Books) -> None:
    books.call()
    books.call(seconds_ago=90_000)

    data = cli("report", "--json").data
    young = cli("report", "--since", "24h", "--json").data

    assert data["total"]["cost_usd"] == "0.0065"
    assert young["total"]["cost_usd"] == "0.00325"
    assert [row["model"] for row in data["models"]] == ["gpt-4o"]
    assert len(data["times"]) >= 25
    assert {row["subject"] for row in data["budgets"]} >= {"atlas", "team:research"}


def test_empty_books_make_a_page_too(cli: Cli, made: Home, target: Path) -> None:
    assert cli("report", "-o", str(target)).err == f"The report is in {target}.\n"
    assert "Nothing was spent in this time." in Page(target.read_text()).shown
    assert "No calls in this time." in cli("report").err


def test_a_broken_policy_takes_the_budgets_alone(cli: Cli, books: Books, target: Path) -> None:
    books.call()
    Home.default().policy.write_text("version: 1\nagnets: {}\n")

    shown = made(cli, target).shown

    assert "Unknown: " in shown
    assert "gpt-4o" in shown


def test_an_overdrawn_budget_is_shown_as_such(cli: Cli, books: Books) -> None:
    books.call()
    figures = cli("report", "--json").data
    raw = dict.fromkeys(("limit_nano_usd", "credit_nano_usd", "reserved_nano_usd"), 0)
    row = {"subject": "atlas", "window": "day", "resets_ns": None, "spent_nano_usd": 5,
           "left_nano_usd": -5, **raw}  # fmt: skip

    assert figures["budgets"]
    assert 'class="cover"' in page({**EMPTY, "budgets": [row]})


EMPTY: dict[str, Any] = {
    "made_ns": 0, "since_ns": None, "until_ns": None, "timezone": "UTC", "unit": "day", "times": [],
    "total": dict.fromkeys(
        ("sent", "cost_nano_usd", "measured_nano_usd", "estimated_nano_usd", "reserved_nano_usd",
         "overrun_nano_usd", "open_nano_usd", "unknown_costs", "input_tokens", "output_tokens",
         "cache_read_input_tokens"), 0),
    "over_time": [], "models": [], "agents": [], "teams": [], "runs": [], "refusals": [], "holds": [],
    "latencies": [], "budgets": [], "budgets_unknown": None,
}  # fmt: skip


def test_long_lists_are_cut_with_their_sum() -> None:
    amounts = dict.fromkeys(("estimated_nano_usd", "reserved_nano_usd"), 0)
    rows = [{"run": f"r{n}", "cost_nano_usd": 10**9, "calls": 1, **amounts} for n in range(1000)]

    text = page({**EMPTY, "runs": rows})

    assert len(text) < 60_000
    assert "975 more" in text
    assert "$975.00" in text


@pytest.mark.parametrize(
    ("hours", "unit"),
    [(0, "hour"), (71, "hour"), (72, "day"), (24 * 399, "day"), (24 * 401, "month")],
)
def test_the_unit_of_time_fits_the_period(hours: int, unit: str) -> None:
    assert unit_of((0, hours * HOUR_NS), Period(None, None, "UTC"), 0) == unit


def test_every_day_is_there_also_where_clocks_change() -> None:
    first = 1_793_404_800 * NS_PER_SECOND  # 2026-10-31T00:00Z
    days = steps((first, first + 72 * HOUR_NS), "day", "America/New_York")

    assert days == ["2026-10-30", "2026-10-31", "2026-11-01", "2026-11-02"]
    assert steps((first, first), "month", "UTC") == ["2026-10"]
    assert steps(None, "day", "UTC") == []


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1_234_567_890_123, "$1,234.57"),
        (10_000_000, "$0.01"),
        (3_250_000, "$0.0033"),
        (1, "$0.000000001"),
        (5_000, "$0.000005"),
    ],
)
def test_amounts_for_a_glance_keep_what_matters(nano: int, text: str) -> None:
    assert rounded(nano) == text


def test_bars_and_lines_show_the_least_amount() -> None:
    assert sparkline([0, 1, 1000]) == " ▁█"
    assert sparkline([]) == ""
    assert (gauge(0, 10), gauge(1, 10**9), gauge(10, 10, 4), gauge(20, 10, 4)) == (
        " ",
        "▏",
        "████",
        "████",
    )


def test_a_page_that_cannot_be_written_is_an_error(cli: Cli, made: Home, tmp_path: Path) -> None:
    assert "cannot be written" in cli("report", "-o", str(tmp_path / "no" / "r.html")).err
    assert cli("report", "--since", "soon").code == 2


def test_the_basis_of_the_whole_is_told() -> None:
    total = {**EMPTY["total"], "cost_nano_usd": 6, "estimated_nano_usd": 2, "reserved_nano_usd": 4,
             "overrun_nano_usd": 1, "unknown_costs": 3}  # fmt: skip

    shown = Page(page({**EMPTY, "total": total})).shown

    for part in ("estimated from", "whole reservation", "overruns", "calls whose cost is unknown"):
        assert part in shown


def test_the_terminal_counts_the_calls_whose_cost_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    total = {**EMPTY["total"], "sent": 3, "unknown_costs": 3}

    print_report({**EMPTY, "total": total, "times": ["2026-11-21"]})

    lines = capsys.readouterr().out.splitlines()
    assert any("cost unknown" in line and "3 calls" in line for line in lines)
