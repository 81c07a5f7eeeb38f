from __future__ import annotations

import re

import pytest

from tollkeeper.core.identity import token_sha256
from tollkeeper.domain import Limits, Window
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger

from .conftest import Books, Cli


def test_create_shows_the_token_once_and_keeps_only_its_hash(cli: Cli, made: Home) -> None:
    done = cli("agent", "create", "atlas")

    token = done.out.strip()
    assert done.code == 0
    assert re.fullmatch(r"tk_[\w-]{43}", token)
    assert token.encode() not in made.database.read_bytes()
    ledger = SqliteLedger(made.database)
    assert ledger.identify("atlas", token_sha256(token)) is not None
    assert token not in cli("agent", "show", "atlas", "--json").out


def test_create_keeps_every_limit_that_it_was_given(cli: Cli, made: Home) -> None:
    cli(
        "agent", "create", "atlas", "--budget", "5", "--budget-day", "0.5", "--budget-run", "0.1",
        "--rpm", "30", "--tpm", "1000", "--concurrent", "2", "--models", "gpt-4o, gpt-4o-mini",
        "--tools", "read_file", "--no-streaming", "--no-vision", "--max-input-tokens", "100",
        "--max-output-tokens", "50", "--strict", "--scope", "read-only",
    )  # fmt: skip

    [record] = SqliteLedger(made.database).agents()
    assert record.limits == Limits(
        budget_nano_usd={
            Window.TOTAL: 5_000_000_000, Window.DAY: 500_000_000, Window.RUN: 100_000_000,
        },
        rpm=30, tpm=1000, concurrent=2, models=("gpt-4o", "gpt-4o-mini"), tools=("read_file",),
        streaming=False, vision=False, max_input_tokens=100, max_output_tokens=50, strict=True,
        scope="read-only",
    )  # fmt: skip


def test_no_tools_forbids_all_of_them(cli: Cli, made: Home) -> None:
    cli("agent", "create", "atlas", "--no-tools")

    assert SqliteLedger(made.database).agents()[0].limits.tools == ()


@pytest.mark.parametrize(
    "more",
    [["--scope", "all"], ["--budget", "-1"], ["--ttl", "soon"], ["--no-tools", "--tools", "x"],
     ["--rpm", "0"]],
    ids=" ".join,
)  # fmt: skip
def test_a_limit_that_makes_no_sense_makes_no_agent(cli: Cli, made: Home, more: list[str]) -> None:
    assert cli("agent", "create", "atlas", *more).code == 2
    assert cli("agent", "list", "--json").data == []


def test_a_token_with_a_time_to_live_expires(cli: Cli, made: Home) -> None:
    created = cli("agent", "create", "atlas", "--ttl", "24h", "--json").data

    [token] = cli("agent", "show", "atlas", "--json").data["tokens"]
    assert token["id"] == created["token_id"]
    assert token["state"] == "valid"
    assert created["expires_at"] == token["expires_at"] > token["created_at"]


def test_a_name_is_given_once(cli: Cli, made: Home) -> None:
    cli("agent", "create", "atlas")

    done = cli("agent", "create", "atlas")

    assert (done.code, done.out) == (1, "")
    assert "already" in done.err


def test_a_child_names_its_parent(cli: Cli, made: Home) -> None:
    cli("agent", "create", "atlas")
    cli("agent", "create", "scout", "--parent", "atlas")

    assert cli("agent", "show", "scout", "--json").data["parent"] == "atlas"
    assert cli("agent", "show", "atlas", "--json").data["children"] == ["scout"]
    assert cli("agent", "create", "lost", "--parent", "nobody").code == 1


def test_list_shows_state_limits_and_what_each_spent(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--budget", "2", "--rpm", "5")
    books.call()

    done = cli("agent", "list")

    assert done.lines[0].split() == ["agent", "state", "parent", "calls", "spent", "last", "call",
                                     "limits", "of", "its", "own"]  # fmt: skip
    assert re.search(r"^atlas +active +- +1 +\$0\.00325 ", done.lines[1])
    assert done.lines[2].endswith("$2 total, 5 rpm")
    rows = cli("agent", "list", "--json").data
    assert [(row["name"], row["calls"], row["spent_usd"]) for row in rows] == [
        ("atlas", 1, "0.00325"), ("scout", 0, "0.00"),
    ]  # fmt: skip


def test_rotate_revokes_every_older_token(cli: Cli, made: Home) -> None:
    first = cli("agent", "create", "atlas").out.strip()

    second = cli("agent", "rotate-token", "atlas").out.strip()

    ledger = SqliteLedger(made.database)
    old, new = (ledger.identify("atlas", token_sha256(one)) for one in (first, second))
    assert old is not None
    assert new is not None
    assert old.revoked_ns is not None
    assert new.revoked_ns is None


def test_pause_and_resume_set_the_state(cli: Cli, made: Home) -> None:
    cli("agent", "create", "atlas")

    assert cli("agent", "pause", "atlas").out == "atlas is paused.\n"
    assert cli("agent", "show", "atlas", "--json").data["state"] == "paused"
    assert cli("agent", "resume", "atlas").out == "atlas is active.\n"
    assert cli("agent", "show", "atlas", "--json").data["state"] == "active"


def test_delete_hides_it_and_revokes_its_tokens(cli: Cli, made: Home) -> None:
    token = cli("agent", "create", "atlas").out.strip()

    assert cli("agent", "delete", "atlas").code == 0

    assert cli("agent", "list", "--json").data == []
    assert [row["state"] for row in cli("agent", "list", "--all", "--json").data] == ["deleted"]
    record = SqliteLedger(made.database).identify("atlas", token_sha256(token))
    assert record is not None
    assert record.revoked_ns is not None


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "delete", "rotate-token"])
def test_an_unknown_agent_is_an_error(cli: Cli, made: Home, verb: str) -> None:
    done = cli("agent", verb, "nobody")

    assert done.code == 1
    assert "no agent 'nobody'" in done.err
