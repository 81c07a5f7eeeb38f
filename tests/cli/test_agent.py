from __future__ import annotations

import os
import re
import time

import pytest

from tollkeeper.core.delegation import Birth, DelegationCase, Wish
from tollkeeper.core.identity import token_sha256
from tollkeeper.domain import Limits, Principal, Window
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


def test_list_shows_children_below_their_parents_with_what_they_spent_together(
    cli: Cli, books: Books
) -> None:
    cli("agent", "create", "zeus", "--parent", "atlas")
    cli("agent", "create", "bee", "--parent", "zeus")
    cli("agent", "create", "loner")
    for agent in ("atlas", "zeus", "bee", "bee"):
        books.call(agent=agent)

    lines, rows = cli("agent", "list").lines, cli("agent", "list", "--json").data

    assert [line.split("  ")[0] for line in lines[1:2]] == ["atlas"]
    assert [row["name"] for row in rows] == ["atlas", "zeus", "bee", "loner"]
    assert [row["depth"] for row in rows] == [0, 1, 2, 0]
    assert [row["with_children_usd"] for row in rows] == ["0.013", "0.00975", "0.0065", "0.00"]
    assert lines[2].startswith("└ zeus")
    assert lines[3].startswith("  └ bee")


def test_show_tells_the_lineage_above_and_the_descendants_below(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    cli("agent", "create", "bee", "--parent", "scout")
    books.call(agent="bee")

    bee, atlas = (cli("agent", "show", one, "--json").data for one in ("bee", "atlas"))

    assert bee["ancestors"] == ["scout", "atlas"]
    assert (atlas["children"], atlas["descendants"]) == (["scout"], ["scout", "bee"])
    assert (atlas["spent_usd"], atlas["with_children_usd"]) == ("0.00", "0.00325")
    lines = cli("agent", "show", "atlas").lines
    assert "children       └ scout" in lines
    assert "                 └ bee" in lines


def test_parent_that_only_the_policy_names_is_made_without_a_token(cli: Cli, made: Home) -> None:
    done = cli("agent", "create", "scout", "--parent", "atlas")

    assert done.code == 0, done.err
    assert "which the policy names" in done.err
    atlas = cli("agent", "show", "atlas", "--json").data
    assert (atlas["children"], atlas["tokens"]) == (["scout"], [])
    assert cli("agent", "create", "lost", "--parent", "default").code == 1


def test_parent_that_was_deleted_is_not_made_again_by_a_child(cli: Cli, made: Home) -> None:
    cli("agent", "create", "atlas")
    cli("agent", "delete", "atlas")

    assert cli("agent", "create", "scout", "--parent", "atlas").code == 1


def minted(books: Books, parent: str = "atlas") -> str:
    """A child that an agent made with the first of its tokens."""
    token = books.ledger.tokens(parent)[0]
    now_ns = time.time_ns()
    case = DelegationCase(Wish("ant"), Principal(parent, token.id, "r"), (), now_ns, os.urandom(16))
    born = books.ledger.delegate(case, os.urandom(32).hex(), now_ns)
    assert isinstance(born, Birth)
    return born.agent.name


def test_rotating_a_token_revokes_what_it_minted_and_not_what_the_operator_gave(
    cli: Cli, books: Books
) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    ant = minted(books)
    bee = minted(books, ant)

    done = cli("agent", "rotate-token", "atlas")

    assert "3 older tokens revoked, those they minted too." in done.err
    states = {
        name: [token["state"] for token in cli("agent", "show", name, "--json").data["tokens"]]
        for name in (ant, bee, "scout")
    }
    assert states == {ant: ["revoked"], bee: ["revoked"], "scout": ["valid"]}


def test_delete_says_whom_it_took_along(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    ant = minted(books)

    done = cli("agent", "delete", "atlas")

    assert f"So are its descendants: {ant}, scout." in done.out
    assert cli("agent", "list", "--json").data == []


def test_list_tells_who_was_made_by_an_agent(cli: Cli, books: Books) -> None:
    cli("agent", "create", "scout", "--parent", "atlas")
    ant = minted(books)

    by = {row["name"]: row["made_by"] for row in cli("agent", "list", "--json").data}

    assert by == {"atlas": "operator", "scout": "operator", ant: "agent"}
