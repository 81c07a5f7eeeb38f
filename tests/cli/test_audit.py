from __future__ import annotations

import csv
import getpass
import io
import json
import re
import sqlite3
from pathlib import Path

import pytest

from tollkeeper.home import Home
from tollkeeper.ledger.chain import link

from .conftest import Books, Cli


def test_tail_shows_the_newest_records_oldest_first(cli: Cli, books: Books) -> None:
    books.call()
    books.call(model="o3")

    done = cli("audit", "tail", "-n", "3")

    kinds = [line.split()[3] for line in done.lines[1:]]
    assert kinds == ["settled", "token_added", "refused"]
    assert "policy_denied (agents.atlas.models), model o3" in done.lines[-1]
    assert "cost $0.00325" in done.lines[1]
    assert cli("audit", "-n", "3").out == done.out
    assert [row["kind"] for row in cli("audit", "--json", "-n", "3").data] == kinds


def test_a_change_names_its_maker_whom_it_is_about_and_what_it_is(cli: Cli, made: Home) -> None:
    for words in ("agent create scout --budget 1 --rpm 30", "budget add scout 2", "agent pause scout",
                  "budget set scout 3 --window day", "agent rotate-token scout"):  # fmt: skip
        assert cli(*words.split()).code == 0

    lines = cli("audit").lines
    told = {" ".join(line.split()[3:5]): " ".join(line.split()[5:]) for line in lines[1:]}

    user = getpass.getuser()
    assert told[f"agent_created {user}"] == "agent scout, budget total $1.00, rpm 30"
    assert told[f"credit {user}"] == "agent scout, total budget, amount $2.00"
    assert told[f"agent_state {user}"] == "agent scout, state paused"
    limits = "budget day $3.00, budget total $1.00, rpm 30"
    assert told[f"agent_limits {user}"] == f"agent scout, {limits}"
    assert re.fullmatch(r"agent scout, tokens t_\w{12}", told[f"tokens_revoked {user}"])


def test_limits_that_were_taken_away_and_parents_are_told(cli: Cli, made: Home) -> None:
    for words in (
        "agent create atlas",
        "agent create kid --parent atlas --budget 1",
        "budget set kid none",
    ):
        assert cli(*words.split()).code == 0

    told = cli("audit").out

    assert "agent kid, parent atlas, budget total $1.00" in told
    assert "agent kid, no limits of its own" in told


def test_a_refusal_of_what_was_not_read_names_its_cause_and_place(cli: Cli, books: Books) -> None:
    data = {"code": "unknown_endpoint", "message": "no", "run": "r1", "host": "api.openai.com",
            "method": "POST", "path": "/v1/nothing"}  # fmt: skip
    books.ledger.record("refused", "atlas", data, 10**18)

    told = cli("audit", "-n", "1").lines[-1]

    assert told.endswith("unknown_endpoint, run r1, host api.openai.com, path /v1/nothing")


@pytest.mark.parametrize(
    "damaged",
    ["not json", "[]", "null", '{"reasons": {"a": 1}}', '{"amount_nano_usd": 1e400}',
     '{"limits": 1, "tokens": 2, "subject": 3, "model": {"a": ["b"]}}'],
)  # fmt: skip
def test_a_damaged_record_can_be_looked_at(
    cli: Cli, books: Books, made: Home, damaged: str
) -> None:
    books.call()
    with sqlite3.connect(made.database) as connection:
        connection.execute("DROP TRIGGER audit_not_update")
        connection.execute("UPDATE audit SET data = ? WHERE seq = 2", (damaged,))

    for words in (["audit"], ["audit", "--json"], ["audit", "search", "--agent", "atlas"]):
        assert cli(*words).code == 0
    assert cli("audit", "verify").code == 1


def test_details_from_requests_are_escaped(cli: Cli, books: Books) -> None:
    books.call(model="evil\x1b[31m\u202e")

    for words in (["audit"], ["runs", "show", "atlas"], ["audit", "--json"], ["audit", "export"],
                  ["audit", "export", "--format", "csv"], ["model", "list"], ["metrics"]):  # fmt: skip
        done = cli(*words)
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "\u202e" not in done.out


def test_search_finds_by_text_agent_kind_and_call(cli: Cli, books: Books) -> None:
    admission = books.call()
    cli("agent", "create", "scout")

    def kinds(*words: str) -> list[str]:
        return [row["kind"] for row in cli("audit", "search", *words, "--json").data]

    assert kinds("--call", admission.id) == ["admitted", "settled"]
    assert kinds("--agent", "scout") == ["agent_created", "token_added"]
    assert kinds("--kind", "settled") == ["settled"]
    assert kinds("GPT-4O", "--kind", "admitted", "--since", "1h") == ["admitted"]


def test_a_search_for_a_kind_that_is_not_there_names_those_that_are(cli: Cli, books: Books) -> None:
    books.call()

    done = cli("audit", "search", "--kind", "hold")

    assert (done.code, done.out) == (1, "")
    assert "there are admitted, agent_created, settled, token_added." in done.err


def test_a_search_without_result_is_a_no(cli: Cli, made: Home) -> None:
    done = cli("audit", "search", "nowhere")

    assert (done.code, done.out, done.err) == (1, "", "No record fits.\n")


def test_an_export_can_be_proved_with_a_few_lines_of_anything(cli: Cli, books: Books) -> None:
    books.call()
    rows = [json.loads(line) for line in cli("audit", "export").lines]

    previous = "0" * 64
    for row in rows:
        assert row["previous"] == previous
        previous = link(
            previous, row["seq"], row["at_ns"], row["kind"], row["actor"], row["call"], row["data"]
        )
        assert row["hash"] == previous
    assert cli("audit", "verify", "--json").data["head"] == previous


def test_csv_holds_no_formulas(cli: Cli, books: Books) -> None:
    books.ledger.record("=1+1", "@SUM(A1)", {}, 1)

    [*_, row] = csv.DictReader(io.StringIO(cli("audit", "export", "--format", "csv").out))

    assert (row["kind"], row["actor"]) == ("'=1+1", "'@SUM(A1)")


def test_export_writes_a_new_file_and_never_over_one(
    cli: Cli, books: Books, tmp_path: Path
) -> None:
    target = tmp_path / "audit.jsonl"

    assert cli("audit", "export", "-o", str(target)).out == ""
    assert len(target.read_text().splitlines()) == len(cli("audit", "export").lines)
    assert cli("audit", "export", "-o", str(target)).code == 1


def test_verify_says_that_the_books_balance_and_what_to_keep(cli: Cli, books: Books) -> None:
    books.call()
    books.hold()

    done = cli("audit", "verify")

    assert done.code == 0
    assert done.lines[0].startswith("The books balance: ")
    head = done.lines[1].removeprefix("head ")
    assert cli("audit", "verify", "--expect-head", head).code == 0


def test_verify_finds_a_changed_record(cli: Cli, books: Books, made: Home) -> None:
    books.call()
    with sqlite3.connect(made.database) as connection:
        connection.execute("DROP TRIGGER audit_not_update")
        connection.execute("UPDATE audit SET actor = 'somebody' WHERE seq = 1")

    done = cli("audit", "verify")

    assert done.code == 1
    assert done.lines[0] == "chain: Record 1 was changed after it was written."
    assert cli("audit", "verify", "--json").data["ok"] is False


def test_verify_misses_a_head_that_is_gone(cli: Cli, made: Home) -> None:
    done = cli("audit", "verify", "--expect-head", "ab" * 32)

    assert done.code == 1
    assert "No record has the hash" in done.out


@pytest.mark.parametrize("words", [["--since", "yesterday"], ["-n", "0"]], ids=" ".join)
def test_a_search_that_cannot_be_meant_is_wrong_usage(
    cli: Cli, made: Home, words: list[str]
) -> None:
    assert cli("audit", "search", *words).code == 2
