from __future__ import annotations

from tollkeeper.home import Home

from .conftest import Books, Cli


def test_figures_add_up(cli: Cli, books: Books) -> None:
    for seconds_ago in (0, 7200, 90_000):
        books.call(seconds_ago=seconds_ago)
    books.call(model="o3")
    books.call(settle=False)
    books.hold()

    data = cli("metrics", "--json").data

    assert data["totals"]["spent_usd"] == "0.0065"
    assert data["ever"]["spent_usd"] == "0.00975"
    assert data["burn_usd"] == "0.00325"
    assert (data["totals"]["settled"], data["totals"]["refused"]) == (2, 1)
    assert data["denials"] == [{"code": "policy_denied", "count": 1}]
    assert [(row["model"], row["calls"]) for row in data["top_models"]] == [("gpt-4o", 2)]
    assert (data["now"]["in_flight"], data["now"]["waiting"]) == (1, 1)
    assert data["now"]["open_approvals"] == 1
    assert len(data["hours"]) == 24
    assert sum(hour["calls"] for hour in data["hours"]) == 5


def test_a_longer_time_holds_more(cli: Cli, books: Books) -> None:
    books.call(seconds_ago=90_000)

    assert cli("metrics", "--json").data["totals"]["calls"] == 0
    assert cli("metrics", "--since", "7d", "--json").data["totals"]["calls"] == 1


def test_people_see_the_same_in_a_few_lines(cli: Cli, books: Books) -> None:
    books.call()
    books.call(model="o3")

    done = cli("metrics")

    assert "calls in 24h  2 (1 refused)" in done.lines
    assert "  policy_denied  1" in done.lines
    assert any(line.startswith("gpt-4o  openai") for line in done.lines)
    assert "calls an hour, at most 2" in done.out


def test_empty_books_have_figures_too(cli: Cli, made: Home) -> None:
    assert "calls in 24h  0 (0 refused)" in cli("metrics").lines


def test_what_plans_paid_is_told_apart_from_money(cli: Cli, books: Books) -> None:
    books.call()
    books.call(plan=True)

    figures = cli("metrics", "--json").data

    assert figures["totals"]["spent_usd"] == "0.00325"
    assert figures["totals"]["notional_usd"] == "0.00325"
    assert "notional, by plans" in cli("metrics").out
