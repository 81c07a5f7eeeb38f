from __future__ import annotations

import json
import time

from tollkeeper.core.identity import operator_code, seal
from tollkeeper.home import Home

from .conftest import Books, Cli


def test_list_shows_who_asks_for_what_and_what_it_may_cost(cli: Cli, books: Books) -> None:
    held = books.hold()

    [row] = cli("approval", "list", "--json").data

    assert row["id"] == held
    assert (row["agent"], row["rule"], row["model"]) == ("atlas", "dear", "gpt-4o")
    assert (row["state"], row["waiting"]) == ("open", 1)
    assert float(row["worst_usd"]) > 0
    assert held in cli("approval", "list").out


def test_a_call_whose_client_left_shows_as_abandoned(cli: Cli, books: Books) -> None:
    admission = books.call("hold me")
    books.ledger.leave(admission.id, 2**62)

    assert "abandoned" in cli("approval", "list").out


def test_nothing_to_answer_is_said(cli: Cli, made: Home) -> None:
    done = cli("approval", "list")

    assert (done.code, done.out, done.err) == (0, "", "Nothing waits for you.\n")


def test_show_prints_the_whole_body_readable_and_escaped(cli: Cli, books: Books) -> None:
    prompt = "hold me \x1b[2J\u202e" + "x" * 5000
    body = json.dumps({"model": "gpt-4o", "n": 1.10, "prompt": prompt}).encode()
    held = books.hold(prompt, body=body)

    done = cli("approval", "show", held)

    assert done.code == 0
    assert '  "prompt": "hold me \\u001b[2J\\u202e' + "x" * 5000 + '"' in done.lines
    assert '  "n": 1.1,' in done.lines
    assert f"body                 {len(body)} bytes" in done.lines
    assert "This is the whole body; nothing is left out." in done.lines
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert "held by rule         dear" in done.lines
    assert any(line.startswith("costs at most") for line in done.lines)


def test_show_as_json_holds_the_body_as_it_came(cli: Cli, books: Books) -> None:
    held = books.hold(body=b'{"a":  1}')

    data = cli("approval", "show", held, "--json").data

    assert (data["body"], data["body_bytes"]) == ('{"a":  1}', 9)


def test_show_as_json_holds_bytes_that_are_no_text(cli: Cli, books: Books) -> None:
    held = books.hold(body=b"\xff\x00")

    assert cli("approval", "show", held, "--json").data["body_base64"] == "/wA="


def test_an_id_may_be_given_by_its_beginning(cli: Cli, books: Books) -> None:
    held = books.hold()

    assert cli("approval", "show", held[:3]).code == 0


def test_approve_seals_the_verdict_with_the_operators_key(
    cli: Cli, books: Books, made: Home
) -> None:
    held = books.hold()

    done = cli("approve", held, "--note", "go on")

    approval = books.ledger.approval(held)
    verdict = approval.verdict
    assert done.code == 0
    assert done.out.startswith(f"{held} approved: atlas, gpt-4o.")
    assert verdict is not None
    assert (approval.state, verdict.note) == ("approved", "go on")
    assert verdict.seal == seal(
        made.read_operator_key(), held, approval.digest, "approved", verdict.by, "go on",
        verdict.at_ns,
    )  # fmt: skip
    assert books.call("hold me").effect.name == "ALLOW"


def test_approving_what_nobody_waits_for_says_how_long_that_holds(cli: Cli, books: Books) -> None:
    admission = books.call("hold me")
    books.ledger.leave(admission.id, 2**62)
    assert admission.approval is not None

    done = cli("approve", admission.approval.id)

    assert "Nobody waits now; it holds for the same call within " in done.out


def test_reject_keeps_the_note_for_the_agent(cli: Cli, books: Books) -> None:
    held = books.hold()

    assert cli("reject", held, "-m", "too dear").out.startswith(f"{held} rejected")

    refused = books.call("hold me")
    assert refused.decision.reasons[0].message == "A person rejected this call: too dear"


def test_the_second_verdict_is_told_who_was_first(cli: Cli, books: Books) -> None:
    held = books.hold()
    cli("approve", held)

    done = cli("reject", held)

    assert (done.code, done.out) == (1, "")
    assert f"error: {held} was approved by " in done.err
    assert books.ledger.approval(held).state == "approved"


def test_several_are_answered_at_once_and_a_wrong_one_does_not_stop_the_rest(
    cli: Cli, books: Books
) -> None:
    first, second = books.hold("hold me 1"), books.hold("hold me 2")

    done = cli("approve", first, "nonsense", second)

    assert done.code == 1
    assert [line.split()[0] for line in done.lines] == [first, second]
    assert done.err == (
        "error: There is no approval 'nonsense': see `tollkeeper approval list --all`.\n"
    )


def test_an_ambiguous_beginning_answers_nothing_and_names_the_choices(
    cli: Cli, books: Books
) -> None:
    held: dict[str, str] = {}
    number = 0
    while True:
        name = books.hold(f"hold me {number}")
        if name[0] in held:
            break
        held[name[0]] = name
        number += 1

    done = cli("approve", name[0])

    assert (done.code, done.out) == (1, "")
    assert "beginning of several approvals" in done.err
    assert name in done.err
    assert held[name[0]] in done.err
    assert books.ledger.approval(name).state == "open"


def test_all_lists_the_answered_ones_too(cli: Cli, books: Books) -> None:
    held = books.hold()
    cli("reject", held)

    assert cli("approval", "list", "--json").data == []
    assert [row["state"] for row in cli("approval", "list", "--all", "--json").data] == ["rejected"]


def test_code_is_one_that_the_operators_key_makes(cli: Cli, made: Home) -> None:
    codes = [cli("approval", "code").out.strip() for _ in range(2)]

    key = made.read_operator_key()
    assert all(operator_code(key, code, time.time_ns()) for code in codes)
    assert codes[0] != codes[1]
