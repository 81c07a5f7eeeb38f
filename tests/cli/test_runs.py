from __future__ import annotations

import pytest

from tollkeeper.core.snapshot import RunRecord

from .conftest import Books, Cli


@pytest.fixture
def run(books: Books) -> str:
    books.ledger.add_run(
        RunRecord("nightly", "atlas", about={"goal": "tidy up"}, created_ns=10**18), by="tester"
    )
    books.call(run="nightly")
    books.call(run="nightly", model="o3")
    books.hold(run="nightly")
    return "nightly"


def test_list_shows_started_runs_and_days(cli: Cli, books: Books, run: str) -> None:
    books.call()

    rows = {row["id"]: row for row in cli("runs", "--json").data}

    assert rows.pop(run)["state"] == "active"
    [(day, grouped)] = rows.items()
    assert day.startswith("atlas:20")
    assert (grouped["state"], grouped["calls"], grouped["cost_usd"]) == ("grouped", 1, "0.00325")
    assert cli("runs").out == cli("runs", "list").out
    assert cli("runs", "list", "--agent", "nobody", "--json").data == []


def test_show_tells_each_call_with_what_became_of_it(cli: Cli, books: Books, run: str) -> None:
    data = cli("runs", "show", "night", "--json").data

    assert (data["run"], data["goal"], data["cost_usd"]) == (run, "tidy up", "0.00325")
    assert (data["calls"][0]["took_ms"], data["holds"]) == (1000, 1)
    assert sorted(call["became"] for call in data["calls"]) == ["complete", "held", "policy_denied"]
    assert data["refused"] == {"policy_denied": 1}
    shown = cli("runs", "show", run).out
    assert "tidy up" in shown
    assert "policy_denied" in shown


@pytest.mark.parametrize(
    ("verb", "state"), [("pause", "paused"), ("stop", "stopped"), ("resume", "active")]
)
def test_a_run_is_paused_stopped_and_resumed(
    cli: Cli, books: Books, run: str, verb: str, state: str
) -> None:
    assert cli("runs", verb, run).out == f"nightly is {state}.\n"

    assert cli("runs", "show", run, "--json").data["state"] == state
    refused = books.call(run=run).decision.reasons
    assert [reason.code for reason in refused] == ([] if state == "active" else ["agent_paused"])


def test_the_group_by_itself_takes_what_its_list_takes(cli: Cli, books: Books, run: str) -> None:
    books.call()

    assert len(cli("runs", "-n", "1", "--json").data) == 1
    assert cli("runs", "--agent", "nobody", "--json").data == []


def test_a_run_that_has_ended_is_neither_paused_nor_resumed(
    cli: Cli, books: Books, run: str
) -> None:
    books.ledger.end_run(run, 2 * 10**18, by="tester")

    for verb in ("pause", "resume", "stop"):
        done = cli("runs", verb, run)
        assert (done.code, done.out) == (1, "")
        assert "has ended" in done.err


def test_a_run_that_only_groups_cannot_be_stopped(cli: Cli, books: Books) -> None:
    books.call()

    done = cli("runs", "stop", "atlas:")

    assert done.code == 1
    assert "only groups" in done.err


def test_an_ambiguous_run_is_not_guessed(cli: Cli, books: Books, run: str) -> None:
    books.ledger.add_run(RunRecord("nightly2", "atlas", created_ns=1), by="tester")

    assert "several runs: nightly, nightly2" in cli("runs", "show", "nigh").err
    assert cli("runs", "show", "nightly").code == 0
    assert "no run 'x'" in cli("runs", "show", "x").err


def test_calls_of_children_are_rolled_up_in_the_run_that_they_were_made_in(
    cli: Cli, books: Books, run: str
) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    books.call(agent="scout", run=run)

    [row] = [one for one in cli("runs", "--json").data if one["id"] == run]
    data, shown = cli("runs", "show", run, "--json").data, cli("runs", "show", run).out

    assert (row["agent"], row["agents"], row["calls"], row["cost_usd"]) == ("atlas", 2, 4, "0.0065")
    assert cli("runs", "list", "--agent", "atlas", "--json").data == [row]
    assert cli("runs", "list", "--agent", "scout", "--json").data == [row]
    assert {one["agent"]: one["cost_usd"] for one in data["agents"]} == {
        "atlas": "0.00325", "scout": "0.00325",
    }  # fmt: skip
    assert {call["agent"] for call in data["calls"]} == {"atlas", "scout"}
    assert "scout" in shown


def test_notional_cost_stands_beside_the_money_and_in_no_sum_of_it(
    cli: Cli, books: Books, run: str
) -> None:
    assert "notional" not in cli("runs").out
    books.call(run=run, plan=True)

    [row] = cli("runs", "--json").data
    shown = cli("runs", "show", run, "--json").data

    assert (row["cost_usd"], row["notional_usd"]) == ("0.00325", "0.00325")
    assert (shown["cost_usd"], shown["notional_usd"]) == ("0.00325", "0.00325")
    last = shown["calls"][-1]
    assert (last["billing"], last["cost_usd"]) == ("flat_counted", None)
    assert last["notional_usd"] == "0.00325"
    assert "notional" in cli("runs").out
    assert "notional" in cli("runs", "show", run).out
    assert "measured, notional $0.00325, which counts" in cli("audit").out
