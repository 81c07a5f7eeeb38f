from __future__ import annotations

import pytest

from tollkeeper.home import Home

from .conftest import Books, Cli


def test_spending_is_told_by_whatever_is_asked(cli: Cli, books: Books) -> None:
    books.call()
    books.call(model="gpt-4o-mini")
    books.call(seconds_ago=90_000)

    done = cli("budget", "spent", "--by", "model,day", "--json").data

    assert done["by"] == ["model", "day"]
    assert done["total"]["cost_usd"] == "0.006695"
    assert done["total"]["measured_usd"] == done["total"]["cost_usd"]
    assert len(done["rows"]) == 3
    assert {row["model"] for row in done["rows"]} == {"gpt-4o", "gpt-4o-mini"}


def test_a_period_and_an_account_narrow_it_down(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    cli("agent", "create", "lone")
    for agent in ("atlas", "scout", "lone"):
        books.call(agent=agent)
        books.call(agent=agent, seconds_ago=90_000)

    def spent(*words: str) -> str:
        return str(cli("budget", "spent", *words, "--json").data["total"]["cost_usd"])

    assert spent() == "0.0195"
    assert spent("--since", "24h") == "0.00975"
    assert spent("--until", "24h") == "0.00975"
    assert spent("atlas") == spent("team:research") == "0.013"
    assert spent("scout", "--since", "24h") == "0.00325"


def test_children_stand_in_the_rows_of_their_parents(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    books.call()
    books.call(agent="scout")

    shown = cli("budget", "spent", "--by", "agent").lines

    assert "with children" in shown[0]
    assert [line.split()[0] for line in shown[1:]] == ["atlas", "scout", "total"]


def test_what_is_unsure_has_a_column_of_its_own_only_when_there_is_some(
    cli: Cli, books: Books
) -> None:
    books.call()
    assert "reserved now" not in cli("budget", "spent").out

    books.call(settle=False)

    assert "reserved now" in cli("budget", "spent").out


def test_runs_tell_the_basis_and_the_models_too(cli: Cli, books: Books) -> None:
    books.call()
    run = cli("runs", "list", "--json").data[0]

    shown = cli("runs", "show", run["id"], "--json").data

    assert (run["measured_usd"], run["overrun_usd"]) == ("0.00325", "0.00")
    assert [(row["model"], row["measured_usd"]) for row in shown["models"]] == [
        ("gpt-4o", "0.00325")
    ]


@pytest.mark.parametrize(
    "words",
    [["--by", "colour"], ["--by", ""], ["--since", "soon"], ["planet:x"]],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_wrong_usage(cli: Cli, books: Books, words: list[str]) -> None:
    assert cli("budget", "spent", *words).code == 2


def test_an_unknown_account_and_an_empty_period_are_errors(cli: Cli, made: Home) -> None:
    assert cli("budget", "spent", "nobody").code == 1
    assert "nothing lies between" in cli("budget", "spent", "--since", "1h", "--until", "2h").err
    assert cli("budget", "spent").err == "No calls in this time.\n"
