"""The cockpit's answers over HTTP; what a person sees of them is in ``e2e/test_cockpit.py``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e import world as worlds
from e2e.world import World, statuses, wait
from proxy.web import HOLD_ALL, Web
from tollkeeper.domain import Approval, Verdict
from tollkeeper.proxy.cockpit import answered, facts_of, row_of

SECOND = 1_000_000_000


def asked(**summary: Any) -> Approval:
    return Approval(
        "abcdefghij", "d", "atlas", "night\u202e", "dear", "open", summary, SECOND, 3600 * SECOND, 2
    )


def test_row_says_who_asks_for_what_and_until_when() -> None:
    row = row_of(asked(model="gpt-4o\x1b[2J", worst_nano_usd=1_500_000_000), 61 * SECOND)

    assert row == {
        "approval": "abcdefghij",
        "agent": "atlas",
        "run": r"night\u202e",
        "rule": "dear",
        "model": r"gpt-4o\x1b[2J",
        "at_most": "$1.5",
        "waiting": 2,
        "asked_seconds_ago": 60,
        "until": "01:00:00 UTC",
    }


def test_facts_are_in_words_and_escaped() -> None:
    facts = dict(
        facts_of(
            asked(
                agent="atlas", expected_nano_usd=5, expected_cost_usd="0.000000005", stream=True,
                tools=["sh\u202eell", "read"], prompt_class=None, provider="<b>", turns=0,
            )
        )
    )  # fmt: skip

    assert facts == {
        "expected": "$0.000000005",
        "stream": "yes",
        "tools": r"sh\u202eell, read",
        "provider": "<b>",
        "turns": "0",
    }


def test_answer_says_who_from_where_and_why() -> None:
    assert answered(asked()) == ""
    given = Verdict("abcdefghij", "rejected", "ann", "no\n", 0, "", "mitmweb")
    approval = Approval("a", "d", "atlas", "r", "dear", "rejected", {}, 0, 0, 0, given)
    assert answered(approval) == r"rejected by ann (mitmweb): no\n"


# ------------------------------------------------------------------ over HTTP


@pytest.fixture
def held(world: World, web: Web) -> tuple[Any, str]:
    world.policy(dict(HOLD_ALL))
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1)
    [approval] = world.waits_for_approval()
    return client, approval


def test_everything_of_the_cockpit_wants_mitmwebs_token(web: Web, held: tuple[Any, str]) -> None:
    _, approval = held
    for path in (
        "/tollkeeper", "/tollkeeper/cockpit.js", "/tollkeeper/state",
        f"/tollkeeper/approvals/{approval}",
    ):  # fmt: skip
        assert web.ask(path, token=False)[0] == 403, path
    for path, method in (("unlock", "POST"), ("unlock", "DELETE"), ("answer", "POST")):
        assert web.ask(f"/tollkeeper/{path}", method, {"code": ""}, token=False)[0] == 403, path


def test_post_from_elsewhere_is_refused(world: World, web: Web) -> None:
    sent = {"code": web.code(world)}

    assert web.ask("/tollkeeper/unlock", "POST", sent, headers={"X-XSRFToken": "other"})[0] == 403
    elsewhere = {"Sec-Fetch-Site": "same-site"}  # another port of the same machine is that
    assert web.ask("/tollkeeper/unlock", "POST", sent, headers=elsewhere)[0] >= 400
    assert web.ask("/tollkeeper/unlock", "POST", sent)[0] == 200


def test_operator_unlocks_looks_and_answers(world: World, web: Web, held: tuple[Any, str]) -> None:
    client, approval = held
    [hold] = json.loads(web.ask("/tollkeeper/state")[1])["holds"]
    assert (hold["approval"], hold["agent"], hold["waiting"]) == (approval, "atlas", 1)
    shown = json.loads(web.ask(f"/tollkeeper/approvals/{approval}")[1])
    assert '  "model": "gpt-4o-mini",' in shown["body"]
    opened = json.loads(web.ask("/tollkeeper/unlock", "POST", {"code": web.code(world)})[1])
    proof = {"X-Tollkeeper-Operator": opened["secret"]}
    sent = {"approval": approval, "digest": shown["digest"], "answer": "approved", "note": "ok"}

    status, told = web.ask("/tollkeeper/answer", "POST", sent, headers=proof)

    assert (status, statuses(worlds.answers(client))) == (200, {200: 1})
    assert json.loads(told)["answered"].endswith("(mitmweb): ok")
    status, told = web.ask("/tollkeeper/answer", "POST", sent, headers=proof)
    assert status == 409
    web.ask("/tollkeeper/unlock", "DELETE", {}, headers=proof)
    assert web.ask("/tollkeeper/answer", "POST", sent, headers=proof)[0] == 403
    assert opened["secret"].encode() not in web.ask("/events")[1]


@pytest.mark.parametrize(
    "sent",
    [None, [], "x", {"approval": 1}, {"approval": "x" * 201}, {"note": "x" * 2001}, {}],
)
def test_what_is_no_answer_is_refused(
    world: World, web: Web, held: tuple[Any, str], sent: Any
) -> None:
    opened = json.loads(web.ask("/tollkeeper/unlock", "POST", {"code": web.code(world)})[1])

    status, _ = web.ask(
        "/tollkeeper/answer", "POST", sent, headers={"X-Tollkeeper-Operator": opened["secret"]}
    )

    assert status in (400, 409)
    assert world.lab.calls() == []


def test_unknown_approval_is_not_found(web: Web) -> None:
    assert web.ask("/tollkeeper/approvals/aaaaaaaaaa")[0] == 404
    assert web.ask("/tollkeeper/approvals/../../../etc/passwd")[0] == 404
    assert web.ask("/tollkeeper/cockpit_page/index.html")[0] == 404


def test_refused_calls_and_a_broken_policy_are_shown(world: World, web: Web) -> None:
    world.calls(web.proxy, path="/v1/fine_tuning/jobs")
    (world.home.root / "policy.yaml").write_text("version: 1\nnonsense: \x1b[2J\n")
    wait(lambda: json.loads(web.ask("/tollkeeper/state")[1])["problem"])

    state = json.loads(web.ask("/tollkeeper/state")[1])

    assert "\x1b" not in state["problem"]
    assert state["refusals"] == ["atlas · refused · unknown_endpoint (wire)"]
    assert (state["holds"], state["waiting"], state["mode"]) == ([], 0, "enforce")
