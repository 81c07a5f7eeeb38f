"""Agents that make agents: by the real proxy, under their parent's budget, rules and end."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import pytest

from e2e.test_money_under_fire import BODY, reservation
from e2e.world import PATIENCE_SECONDS, Proxy, World, answers, statuses
from tollkeeper.core import identity
from tollkeeper.core.snapshot import RunRecord, TokenRecord
from tollkeeper.domain import Account, Window


def ask(world: World, proxy: Proxy, agent: str, *arguments: str) -> tuple[int, Any]:
    """Status and JSON of what curl gets as this agent."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", str(PATIENCE_SECONDS), "--noproxy", "", "-w", "\n%{http_code}",
         "--cacert", str(world.home.ca_certificate), "-x", world.url(proxy, agent), *arguments],
        capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(world.folder)},
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    assert done.returncode == 0, done.stderr
    return int(status), json.loads(body) if body.startswith("{") else body


def delegate(world: World, proxy: Proxy, agent: str = "atlas", **wish: Any) -> str:
    """The name of a child that an agent made; its token is known to the world."""
    asked = ("http://tollkeeper.local/delegate", "-d", json.dumps(wish))
    status, child = ask(world, proxy, agent, *asked)
    assert status == 201, child
    world.tokens[child["agent"]] = child["token"]
    return str(child["agent"])


def test_five_children_with_children_fire_at_once_and_five_calls_reach_the_provider(
    world: World,
) -> None:
    worst = reservation(world)
    world.agent(budget_nano_usd={Window.TOTAL: 5 * worst})
    before = world.books()["spent"]
    proxies = [world.proxy(), world.proxy()]
    children = [delegate(world, proxies[n % 2], name=f"c{n}") for n in range(5)]
    below = [delegate(world, proxies[0], child, budget_usd=100) for child in children for _ in "ab"]

    callers = ["atlas", *children, *below]
    clients = [
        world.start_clients(proxies[n % 2], 5, agent=agent, body=BODY)
        for n, agent in enumerate(callers)
    ]
    seen = [one for client in clients for one in answers(client)]

    assert statuses(seen) == {200: 5, 402: 5 * len(callers) - 5}
    assert len(world.lab.calls()) == 5
    assert world.books() == {"spent": before + 5 * worst, "calls": 6, "open": 0}
    ledger = world.ledger()
    balance = ledger.balance(Account("agent:atlas", Window.TOTAL))
    parts = {
        row["agent"]: row["spent"]
        for row in ledger.rows("select agent, sum(cost_nano_usd) as spent from calls group by 1")
    }
    ledger.close()
    assert balance.spent_nano_usd == 5 * worst
    assert sum(spent or 0 for agent, spent in parts.items() if agent != "scout") == 5 * worst


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://tollkeeper.local/delegate"],
        ["http://TOLLKEEPER.local./delegate"],
        ["-p", "http://tollkeeper.local/delegate"],
        ["https://tollkeeper.local/delegate"],
        ["--http1.1", "https://tollkeeper.local/delegate"],
    ],
    ids=" ".join,
)
def test_child_is_made_by_every_way_that_a_client_takes_to_the_proxy(
    world: World, arguments: list[str]
) -> None:
    world.agent()
    world.policy({"other_hosts": {"default": "deny"}})
    proxy = world.proxy()

    status, child = ask(world, proxy, "atlas", *arguments, "-d", '{"name": "scout"}')

    assert status == 201
    world.tokens[child["agent"]] = child["token"]
    assert child["proxy_url"] == world.url(proxy, child["agent"])
    assert statuses(world.calls(proxy, agent=child["agent"])) == {200: 1}
    assert "server connect tollkeeper.local" not in proxy.log.read_text()


def test_rules_limits_and_team_of_the_parent_hold_for_its_children(world: World) -> None:
    world.policy(
        {
            "teams": {"research": {"max_output_tokens": 50}},
            "agents": {
                "default": {"models": ["nothing"]},
                "atlas": {"team": "research", "models": ["gpt-4o-mini", "gpt-4o"]},
                "atlas.scout": {"models": ["*"]},
            },
            "rules": [
                {"name": "dear", "call": {"agent": "atlas", "model": "gpt-4o"}, "deny": "Not you."},
                {"name": "ours", "call": {"team": "research", "stream": True}, "deny": {}},
            ],
        }
    )
    world.agent()
    proxy = world.proxy()
    bee = delegate(world, proxy, delegate(world, proxy, name="scout"))

    def told(**changes: Any) -> str:
        [seen] = world.calls(proxy, agent=bee, body=json.dumps(json.loads(BODY) | changes))
        return "" if seen["status"] == 200 else json.loads(seen["body"])["error"]["message"]

    assert told() == ""
    assert "rule dear" in told(model="gpt-4o")
    assert "Rule ours" in told(stream=True)
    assert "models of a parent agent" in told(model="gpt-4.1")


@pytest.mark.parametrize("how", ["pause", "end", "rotate", "delete"])
def test_children_stop_at_once_with_their_parent(world: World, how: str) -> None:
    world.agent()
    proxy = world.proxy()
    child = delegate(world, proxy)
    bee = delegate(world, proxy, child)
    assert statuses(world.calls(proxy, agent=bee)) == {200: 1}

    ledger, now_ns = world.ledger(), time.time_ns()
    match how:
        case "pause":
            ledger.set_agent_state("atlas", "paused", now_ns, "ada")
        case "rotate":
            ledger.revoke_tokens("atlas", now_ns, by="tester")
        case "delete":
            ledger.set_agent_state("atlas", "deleted", now_ns, "ada")
        case "end":
            ended = ask(
                world, proxy, "atlas", "-X", "DELETE", f"http://tollkeeper.local/delegate/{child}"
            )
            assert ended == (200, {"agent": child, "state": "ended"})
    ledger.close()

    assert statuses(world.calls(proxy, agent=bee)) == {403 if how == "pause" else 401: 1}
    assert len(world.lab.calls()) == 1


def test_child_of_an_agent_with_an_own_key_gets_no_injected_one(world: World) -> None:
    world.policy(
        {
            "providers": {"openai": {"key": {"env": "REAL_KEY"}}},
            "agents": {"default": {"key": "injected"}, "atlas": {"key": "own"}},
        }
    )
    world.agent()
    proxy = world.proxy(REAL_KEY="sk-the-owners")
    child = delegate(world, proxy)

    world.calls(proxy, agent=child)

    assert "sk-the-owners" not in repr(world.lab.calls())
    assert "sk-agent" in repr(world.lab.calls())


DELEGATING = """
import json, os, subprocess, sys, urllib.request
import openai
ask = urllib.request.Request(
    "http://tollkeeper.local/delegate",
    data=json.dumps({"name": "scout", "requests": 1, "label": "reads"}).encode(),
)
child = json.load(urllib.request.urlopen(ask))
ways = {n: child["proxy_url"] for n in os.environ if n.upper() in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")}
work = '''
import openai
for _ in range(2):
    try:
        made = openai.OpenAI().chat.completions.create(
            model="gpt-4o-mini", max_tokens=5, messages=[{"role": "user", "content": "hello"}])
        print("child", made.choices[0].message.content, flush=True)
    except openai.APIStatusError as error:
        print("child", error.status_code, error.body["code"], flush=True)
'''
subprocess.run([sys.executable, "-c", work], env=os.environ | ways, check=True)
made = openai.OpenAI().chat.completions.create(
    model="gpt-4o-mini", max_tokens=5, messages=[{"role": "user", "content": "hello"}])
print("parent", made.choices[0].message.content)
"""


def test_program_hands_a_childs_token_to_a_subprocess_and_both_are_in_its_run(world: World) -> None:
    world.agent()
    ledger = world.ledger()
    ledger.add_run(RunRecord("run1", "atlas", created_ns=time.time_ns()), by="tester")
    world.tokens["atlas"] = token = identity.new_token()
    bound = TokenRecord("bound", "atlas", time.time_ns(), run="run1")
    ledger.add_token(bound, identity.token_sha256(token), by="tester")
    proxy = world.proxy()

    said = world.python(DELEGATING, proxy).stdout.splitlines()

    assert said == [
        "child Hello from the simulated gpt-4o-mini.",
        "child 402 budget_exhausted",
        "parent Hello from the simulated gpt-4o-mini.",
    ]
    calls = list(ledger.rows("select agent, run, state from calls order by at_ns, id"))
    assert {call["run"] for call in calls} == {"run1"}
    [child] = {call["agent"] for call in calls} - {"atlas"}
    ledger.end_run("run1", time.time_ns(), by="tester")
    assert all(one.revoked_ns is not None for one in ledger.tokens(child))
    ledger.close()
    assert world.books()["open"] == 0
