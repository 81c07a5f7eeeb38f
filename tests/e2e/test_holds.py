"""Held calls: one verdict, one forward, whoever answers and however the client waits."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time

from e2e.world import World, answers, wait
from tollkeeper.proxy.waiting_room import LOOK_SECONDS

HOLD_ALL = {"rules": [{"name": "ask", "call": {"model": "gpt-4o-mini"}, "hold": {}}]}


def held_world(world: World) -> None:
    world.agent()
    world.policy(HOLD_ALL | {"examples": []})


def test_held_call_goes_on_when_approved(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    client = world.start_clients(proxy, 1)
    [approval] = world.waits_for_approval()
    assert world.lab.calls() == []

    world.verdict(approval)

    [answer] = answers(client)
    assert answer["status"] == 200
    assert len(world.lab.calls(ended=1)) == 1
    assert world.books()["open"] == 0


def test_rejected_call_is_refused_with_the_note_and_so_is_its_repetition(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    client = world.start_clients(proxy, 1)
    [approval] = world.waits_for_approval()

    world.verdict(approval, "rejected", "not today")

    [answer] = answers(client)
    [again] = world.calls(proxy)
    for one in (answer, again):
        error = json.loads(one["body"])["error"]
        assert one["status"] == 403
        assert error["code"] == "approval_rejected"
        assert "not today" in error["message"]
    assert world.lab.calls() == []


def test_client_that_leaves_abandons_its_approval_and_its_next_try_joins_it(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    client = world.start_clients(proxy, 1)
    [approval] = world.waits_for_approval()
    leaves(client)
    ledger = world.ledger()
    wait(lambda: ledger.approval(approval).waiting == 0)
    assert world.books()["open"] == 0

    world.verdict(approval)
    [answer] = world.calls(proxy)

    assert answer["status"] == 200
    assert len(world.lab.calls(ended=1)) == 1


def test_one_verdict_releases_one_of_two_equal_calls(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    clients = [world.start_clients(proxy, 1) for _ in range(2)]
    [approval] = world.waits_for_approval()
    ledger = world.ledger()
    wait(lambda: ledger.approval(approval).waiting == 2)

    world.verdict(approval)

    first = wait(lambda: [client for client in clients if client.poll() is not None])
    [again] = world.waits_for_approval()
    wait(lambda: ledger.approval(again).waiting == 1)
    assert again != approval
    assert [answer["status"] for client in first for answer in answers(client)] == [200]
    assert len(world.lab.calls(ended=1)) == 1
    leaves(*(client for client in clients if client not in first))


def test_window_of_a_hasty_client_ends_in_approval_pending_with_its_id(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    fields = [
        ["Host", "api.openai.com"],
        ["x-stainless-read-timeout", "3"],
        ["User-Agent", "OpenAI/Python 3.0"],
    ]

    [answer] = world.calls(proxy, headers=fields)

    [approval] = world.waits_for_approval()
    error = json.loads(answer["body"])["error"]
    assert error["code"] == "approval_pending"
    assert approval in error["message"]
    assert world.books()["open"] == 0


def test_forged_verdict_in_the_database_releases_nothing(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    client = world.start_clients(proxy, 1)
    [approval] = world.waits_for_approval()

    with sqlite3.connect(world.home.database) as forged:
        columns = [row[1] for row in forged.execute("pragma table_info(verdicts)")]
        values = {
            "approval": approval,
            "answer": "approved",
            "by": "x",
            "note": "",
            "at_ns": time.time_ns(),
            "seal": "00",
        }
        forged.execute(
            f"insert into verdicts ({', '.join(columns)}) values ({', '.join('?' for _ in columns)})",
            [values.get(column, 0) for column in columns],
        )

    time.sleep(50 * LOOK_SECONDS)
    assert client.poll() is None
    assert world.lab.calls() == []
    leaves(client)


def leaves(*clients: subprocess.Popen[str]) -> None:
    """Their connections end without a word."""
    for client in clients:
        client.kill()
        client.communicate()


def test_proxy_that_dies_leaves_the_approval_open_for_the_next_try(world: World) -> None:
    held_world(world)
    proxy = world.proxy()
    client = world.start_clients(proxy, 1)
    [approval] = world.waits_for_approval()
    proxy.kill()
    client.communicate()
    second = world.proxy()

    world.verdict(approval)
    [answer] = world.calls(second)

    assert answer["status"] == 200
    assert world.books()["open"] == 0
