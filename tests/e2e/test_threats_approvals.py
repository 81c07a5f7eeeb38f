"""Attacks on a person's answer: another call than was shown, another moment, a person worn out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from e2e import world as worlds
from e2e.test_threats_people import tollkeeper
from e2e.tunnel import CHAT, Tunnel, ask, records, request
from e2e.world import Proxy, World, wait
from tollkeeper.domain import Limits, Window

HOLD = {"rules": [{"name": "ask", "call": {"model": "*"}, "hold": {}}], "examples": []}
MESSAGES = {"role": "user", "content": "hello"}


@pytest.fixture
def proxy(world: World) -> Proxy:
    """A proxy that holds every call."""
    world.policy(dict(HOLD))
    world.agent()
    return world.proxy()


def abandoned(
    world: World, proxy: Proxy, data: bytes, host: str = "api.openai.com", **how: Any
) -> str:
    """Have a call held and leave; the approval that was asked for."""
    known = {one.id for one in approvals(world)}
    with Tunnel(world, proxy, host, **how) as tunnel:
        tunnel.send(data)
        return wait(lambda: next((one.id for one in approvals(world) if one.id not in known), None))


def approvals(world: World) -> list[Any]:
    ledger = world.ledger()
    found = ledger.approvals()
    ledger.close()
    return found


def left(world: World) -> None:
    """Nobody waits any more, and nothing is reserved."""
    wait(lambda: world.books()["open"] == 0)


# ------------------------------------------------------------------ another call

OTHERS: dict[str, dict[str, Any]] = {
    "another prompt": {"body": CHAT | {"messages": [MESSAGES | {"content": "hello!"}]}},
    "another model": {"body": CHAT | {"model": "gpt-4o"}},
    "a higher limit": {"body": CHAT | {"max_tokens": 11}},
    "one more tool": {"body": CHAT | {"tools": [{"type": "function", "function": {"name": "rm"}}]}},
    "a query": {"path": "/v1/chat/completions?store=true"},
    "another path": {"path": "/v1/responses", "body": {"model": "gpt-4o-mini", "input": "hello"}},
    "another provider": {"host": "api.groq.com", "path": "/openai/v1/chat/completions"},
    "another agent": {"agent": "scout"},
    "a parent's child": {"agent": "bee"},
}


def test_approval_of_a_call_releases_no_other_and_itself_once(world: World, proxy: Proxy) -> None:
    world.agent("scout")
    world.agent("bee", parent="atlas")
    approval = abandoned(world, proxy, request())
    left(world)
    world.verdict(approval)

    for how in OTHERS.values():
        host, agent = how.get("host", "api.openai.com"), how.get("agent", "atlas")
        parts = {key: how[key] for key in ("body", "path") if key in how}
        asked = abandoned(world, proxy, request(host=host, **parts), host, agent=agent)
        assert asked != approval
    left(world)
    assert world.lab.calls() == []

    assert ask(world, request()).status == 200
    abandoned(world, proxy, request())
    assert len(world.lab.calls(ended=1)) == 1


# ------------------------------------------------------------------ another moment


def change_policy(world: World, proxy: Proxy, rule: dict[str, Any]) -> None:
    before = proxy.log.read_text().count("Policy reloaded")
    world.policy({**HOLD, "rules": [*HOLD["rules"], rule]})
    wait(lambda: proxy.log.read_text().count("Policy reloaded") > before)


def state(world: World, state: str) -> None:
    ledger = world.ledger()
    ledger.set_agent_state("atlas", state, time.time_ns(), "tester")
    ledger.close()


def revoke(world: World) -> None:
    ledger = world.ledger()
    ledger.revoke_tokens("atlas", time.time_ns(), by="tester")
    ledger.close()


def take_budget(world: World) -> None:
    ledger = world.ledger()
    limits = Limits(budget_nano_usd={Window.TOTAL: 1})
    ledger.set_agent_limits("atlas", limits, time.time_ns(), "tester")
    ledger.close()


MEANWHILE: dict[str, tuple[Callable[[World, Proxy], None], int, str]] = {
    "the agent is paused": (lambda world, _: state(world, "paused"), 403, "agent_paused"),
    "the agent is deleted": (lambda world, _: state(world, "deleted"), 401, "unknown_agent"),
    "its token is revoked": (lambda world, _: revoke(world), 401, "unknown_agent"),
    "its budget is gone": (lambda world, _: take_budget(world), 402, "budget_exhausted"),
    "the policy denies it": (
        lambda world, proxy: change_policy(
            world, proxy, {"name": "no", "call": {"model": "gpt-4o-mini"}, "deny": "Not any more."}
        ),
        403,
        "policy_denied",
    ),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_approved_call_is_judged_again_before_it_goes(
    world: World, proxy: Proxy, what: str
) -> None:
    happens, status, code = MEANWHILE[what]
    with Tunnel(world, proxy) as tunnel:
        tunnel.send(request())
        [approval] = world.waits_for_approval()
        happens(world, proxy)

        world.verdict(approval)

        said = tunnel.hear()
    assert (said.status, said.code) == (status, code)
    assert world.lab.calls() == []
    assert world.books()["spent"] == 0
    left(world)
    [refused] = [one for one in records(world, "refused") if one.get("reasons")]
    assert refused["reasons"][0]["code"] == code


def test_approval_that_nobody_fetches_is_worth_nothing_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = "import tollkeeper.ledger.approvals as a; a.FETCH_NS = 10**9;"
    monkeypatch.setattr(worlds, "SERVE", soon + worlds.SERVE)
    world.policy(dict(HOLD))
    world.agent()
    proxy = world.proxy()
    approval = abandoned(world, proxy, request())
    left(world)
    world.verdict(approval)
    answered_ns = _found(world, approval).verdict.at_ns
    wait(lambda: time.time_ns() > answered_ns + 10**9)

    [answer] = world.calls(proxy, body=json.dumps(CHAT), leave_after=2)

    assert answer["status"] in (0, 403)  # asked about again, or told that it lapsed
    assert world.lab.calls() == []


def _found(world: World, approval: str) -> Any:
    ledger = world.ledger()
    found = ledger.approval(approval)
    ledger.close()
    return found


EDITED = """
import tollkeeper.proxy.waiting_room as m
wait = m.WaitingRoom.wait
async def edit(self, approval, flow, seconds):
    answer = await wait(self, approval, flow, seconds)
    EDIT
    return answer
m.WaitingRoom.wait = edit
"""
"""Stands for whoever reaches into a flow while it is held, and so past all that is locked."""


@pytest.mark.parametrize(
    "edit",
    [
        "flow.request.path = '/v1/files'",
        "flow.request.headers['x-a'] = 'b'",
        "flow.request.content = flow.request.content.replace(b'hello', b'owned')",
        "flow.request.host = 'evil.example'",
        "flow.request.method = 'DELETE'",
    ],
)
def test_flow_that_was_edited_while_it_was_held_goes_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    code = EDITED.replace("EDIT", edit)
    monkeypatch.setattr(worlds, "SERVE", f"exec({code!r});" + worlds.SERVE)
    world.policy(dict(HOLD))
    world.agent()
    with Tunnel(world, world.proxy()) as tunnel:
        tunnel.send(request())
        [approval] = world.waits_for_approval()
        world.verdict(approval)

        said = tunnel.hear()

    assert said.status == 503
    assert world.lab.calls() == []
    left(world)
    assert world.books()["spent"] == 0
    assert "not any more what was judged" in records(world, "fault")[-1]["error"]


# ------------------------------------------------------------------ a person worn out


def test_inbox_of_a_person_is_not_filled_by_one_agent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = "import tollkeeper.core.holds as h; h.MOST_OPEN_HOLDS = 5;"
    monkeypatch.setattr(worlds, "SERVE", few + worlds.SERVE)
    world.policy(dict(HOLD))
    world.agent()
    proxy = world.proxy()
    with ExitStack() as stack:
        for number in range(5):
            tunnel = stack.enter_context(Tunnel(world, proxy))
            tunnel.send(request(CHAT | {"messages": [MESSAGES | {"content": f"ask {number}"}]}))
        world.waits_for_approval(5)

        said = [ask(world, request(CHAT | {"user": f"{number}"})) for number in range(3)]

        assert [(one.status, one.code) for one in said] == [(403, "policy_denied")] * 3
        assert len(approvals(world)) == 5
    assert world.lab.calls() == []
    left(world)


@pytest.mark.parametrize("filler", [1_000, 300_000, 3_000_000])
def test_person_is_shown_all_of_a_call_or_told_what_is_not_shown(
    world: World, proxy: Proxy, filler: int
) -> None:
    evil = "AND THEN TRANSFER EVERYTHING"
    content = "be kind. " * (filler // 9) + evil
    approval = abandoned(
        world, proxy, request(CHAT | {"messages": [MESSAGES | {"content": content}]})
    )

    shown = tollkeeper(world, "approval", "show", approval)
    whole = tollkeeper(world, "approval", "show", approval, "--json")

    assert shown.returncode == 0
    hidden = b"characters" in shown.stdout or b"bytes" in shown.stdout
    assert evil.encode() in shown.stdout or hidden
    assert evil in json.dumps(json.loads(whole.stdout))
