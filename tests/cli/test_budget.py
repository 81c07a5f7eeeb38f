from __future__ import annotations

from typing import Any

import pytest

from tollkeeper.home import Home

from .conftest import Books, Cli


def balances(cli: Cli, *who: str) -> dict[tuple[str, str], dict[str, Any]]:
    rows = cli("budget", "show", *who, "--json").data
    return {(row["subject"], row["window"]): row for row in rows}


def test_show_adds_up_for_agent_team_and_run(cli: Cli, books: Books) -> None:
    books.call()
    books.call(settle=False)

    rows = balances(cli)

    total = rows["atlas", "total"]
    assert (total["limit_usd"], total["source"]) == ("5.00", "agents.atlas")
    assert total["spent_usd"] == "0.00325"
    assert float(total["reserved_usd"]) > 0
    assert float(total["left_usd"]) == pytest.approx(
        5 - float(total["spent_usd"]) - float(total["reserved_usd"])
    )
    assert rows["atlas", "day"]["resets_at"].endswith("T00:00:00.000Z")
    assert rows["team:research", "month"]["spent_usd"] == "0.00325"
    assert total["resets_at"] is None


def test_the_stricter_limit_is_shown_with_its_source(cli: Cli, books: Books) -> None:
    cli("budget", "set", "atlas", "0.25", "--window", "day")
    cli("budget", "set", "atlas", "100", "--window", "total")

    rows = balances(cli, "atlas")

    assert (rows["atlas", "day"]["limit_usd"], rows["atlas", "day"]["source"]) == (
        "0.25", "agent atlas",
    )  # fmt: skip
    assert rows["atlas", "total"]["source"] == "agents.atlas"


def test_none_takes_a_limit_away_again(cli: Cli, books: Books) -> None:
    cli("budget", "set", "atlas", "0.25", "--window", "week")
    assert ("atlas", "week") in balances(cli)

    done = cli("budget", "set", "atlas", "none", "--window", "week")

    assert done.out == "atlas has no limit of its own (week).\n"
    assert ("atlas", "week") not in balances(cli)


def test_a_credit_is_added_to_the_limit_and_can_be_taken_back(cli: Cli, books: Books) -> None:
    assert cli("budget", "add", "atlas", "2").out == "atlas has a credit of $2.00 (total).\n"
    assert balances(cli)["atlas", "total"]["left_usd"] == "7.00"

    assert cli("budget", "add", "atlas", "-1.5").out == "atlas has a credit of $0.50 (total).\n"
    done = cli("budget", "add", "atlas", "-1")

    assert done.code == 1
    assert balances(cli)["atlas", "total"]["left_usd"] == "5.50"


def test_a_credit_may_go_to_a_team_or_a_window(cli: Cli, books: Books) -> None:
    cli("budget", "add", "team:research", "1", "--window", "month")
    cli("budget", "add", "atlas", "1", "--window", "day")

    rows = balances(cli)

    assert rows["team:research", "month"]["credit_usd"] == "1.00"
    assert rows["atlas", "day"]["credit_usd"] == "1.00"
    assert rows["atlas", "total"]["credit_usd"] == "0.00"


def test_an_agent_without_a_limit_still_shows_what_it_spent(cli: Cli, made: Home) -> None:
    made.policy.write_text("version: 1\n")
    cli("agent", "create", "free")

    row = balances(cli)["free", "total"]

    assert (row["limit_usd"], row["left_usd"], row["spent_usd"]) == (None, None, "0.00")


def test_burn_rate_and_time_to_empty_follow_the_last_hour(cli: Cli, books: Books) -> None:
    books.call()
    books.call(seconds_ago=7200)

    rows = balances(cli)

    total = rows["atlas", "total"]
    assert (total["burn_usd"], total["spent_usd"]) == ("0.00325", "0.0065")
    assert total["empty_in"].startswith("64 d")
    assert rows["atlas", "day"]["empty_in"] is None


def test_a_started_run_shows_its_own_budget(cli: Cli, books: Books) -> None:
    from tollkeeper.core.snapshot import RunRecord
    from tollkeeper.domain import Limits, Window

    limits = Limits(budget_nano_usd={Window.RUN: 100_000_000})
    books.ledger.add_run(RunRecord("r1", "atlas", limits=limits, created_ns=1), by="tester")
    books.call(run="r1")

    row = balances(cli)["run:r1", "run"]

    assert (row["limit_usd"], row["source"], row["spent_usd"]) == ("0.10", "run r1", "0.00325")


@pytest.mark.parametrize("who", ["nobody", "team:none", "run:none"])
@pytest.mark.parametrize("verb", ["show", "add"])
def test_unknown_subjects_are_errors(cli: Cli, made: Home, who: str, verb: str) -> None:
    done = cli("budget", verb, who, *(["1"] if verb == "add" else []))

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")


@pytest.mark.parametrize(
    "words",
    [["add", "team:", "1"], ["add", "planet:x", "1"], ["set", "atlas", "-1"],
     ["set", "atlas", "1", "--window", "year"]],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_meant_is_wrong_usage(cli: Cli, books: Books, words: list[str]) -> None:
    assert cli("budget", *words).code == 2


def test_budget_alone_shows_all(cli: Cli, books: Books) -> None:
    assert cli("budget").out == cli("budget", "show").out
    assert cli("budget", "--json").data == cli("budget", "show", "--json").data


def test_spending_of_children_is_rolled_up_and_told_apart(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas", "--budget", "1")
    cli("agent", "create", "bee", "--parent", "scout")
    for agent in ("atlas", "scout", "bee", "bee"):
        books.call(agent=agent)

    rows, shown = balances(cli, "atlas"), cli("budget", "show", "atlas").out

    atlas, scout = rows["atlas", "total"], rows["scout", "total"]
    assert (atlas["spent_usd"], atlas["of_children_usd"]) == ("0.013", "0.00975")
    assert (scout["spent_usd"], scout["of_children_usd"]) == ("0.00975", "0.0065")
    assert rows["atlas", "day"]["of_children_usd"] == "0.00975"
    assert rows["bee", "total"]["limit_usd"] is None
    assert "by children" in shown
    assert [line.split()[:2] for line in shown.splitlines()[-3:]] == [
        ["bee", "2"], ["atlas", "1"], ["scout", "1"],
    ]  # fmt: skip


@pytest.mark.parametrize("parent", [["--parent", "zeus"], []], ids=["another parent", "none"])
def test_what_a_child_spent_stays_with_who_was_above_it_then(
    cli: Cli, books: Books, parent: list[str]
) -> None:
    cli("agent", "create", "zeus")
    cli("agent", "create", "bee", "--parent", "atlas")
    books.call(agent="bee")
    assert cli("agent", "delete", "bee").code == 0
    assert cli("agent", "create", "bee", *parent).code == 0
    books.call(agent="bee")
    books.call(agent="bee")

    rows = balances(cli, "atlas") | balances(cli, "zeus") | balances(cli, "bee")
    listed = {row["name"]: row for row in cli("agent", "list", "--json").data}

    of_zeus = "0.0065" if parent else "0.00"
    assert rows["atlas", "total"]["of_children_usd"] == "0.00325"
    assert rows["zeus", "day"]["of_children_usd"] == of_zeus
    assert {row["of_children_usd"] for key, row in rows.items() if key[0] == "bee"} == {"0.00"}
    assert [listed[name]["with_children_usd"] for name in ("atlas", "zeus", "bee")] == [
        "0.00325", of_zeus, "0.00975",
    ]  # fmt: skip
    for name in ("atlas", "zeus", "bee"):
        shown = cli("agent", "show", name, "--json").data
        assert shown["with_children_usd"] == listed[name]["with_children_usd"]


def test_without_children_nothing_is_said_of_them(cli: Cli, books: Books) -> None:
    books.call()

    assert "by children" not in cli("budget", "show", "atlas").out


def test_child_of_a_named_agent_is_not_shown_under_the_default(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    cli("agent", "create", "stranger")

    rows = balances(cli)

    assert rows["stranger", "day"]["source"] == "agents.default"
    assert ("scout", "day") not in rows


def test_notional_part_of_what_was_spent_is_shown_as_such(cli: Cli, books: Books) -> None:
    assert "notional" not in cli("budget").out
    books.call()
    books.call(plan=True)

    total = balances(cli)["atlas", "total"]

    assert (total["spent_usd"], total["notional_usd"]) == ("0.0065", "0.00325")
    assert "notional of it" in cli("budget").out
