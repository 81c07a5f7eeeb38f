"""Budgets, quotas and rates against many processes at once, crashes and cut streams."""

from __future__ import annotations

import json

import pytest

from e2e import world as worlds
from e2e.world import World, answers, statuses, wait
from tollkeeper.domain import Window

BODY = json.dumps(
    {"model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
)
LONG_MINUTE = (
    "import tollkeeper.core.rates as c, tollkeeper.ledger.rates as l;"
    "c.WINDOW_NS = l._WINDOW_NS = l.KEPT_NS = 3600 * 10**9;"
)


def reservation(world: World) -> int:
    """What one such call reserves; from now on the provider bills exactly that for each."""
    world.agent("scout")
    proxy = world.proxy()
    world.calls(proxy, agent="scout", body=BODY)
    ledger = world.ledger()
    [row] = list(ledger.rows("select * from calls"))
    ledger.close()
    proxy.stop()
    world.lab.reset()
    bound = f"input={row['bound_input_tokens']} tokens={row['bound_output_tokens']}"
    world.lab.order(bound, times=100)
    return int(row["worst_nano_usd"])


def fire(world: World, processes: int, calls: int, proxies: int, **plan: object) -> list[dict]:
    """Calls from several client processes, spread over several proxy processes."""
    running = [world.proxy() for _ in range(proxies)]
    clients = [
        world.start_clients(running[i % proxies], calls // processes, body=BODY, **plan)
        for i in range(processes)
    ]
    return [one for client in clients for one in answers(client)]


@pytest.mark.parametrize(("calls", "proxies"), [(50, 1), (50, 4), (500, 4)])
def test_budget_for_five_lets_five_through_from_four_processes(
    world: World, calls: int, proxies: int
) -> None:
    worst = reservation(world)
    world.agent(budget_nano_usd={Window.TOTAL: 5 * worst})
    before = world.books()["spent"]

    seen = fire(world, 4, calls, proxies)

    assert statuses(seen) == {200: 5, 402: len(seen) - 5}
    assert len(world.lab.calls()) == 5
    assert world.books() == {"spent": before + 5 * worst, "calls": 6, "open": 0}


@pytest.mark.parametrize("limit", ["requests", "rpm"])
def test_quota_and_rate_for_five_let_exactly_five_through_from_four_processes(
    world: World, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "rpm":  # of the slowest machine's minute
        monkeypatch.setattr(worlds, "SERVE", LONG_MINUTE + worlds.SERVE)
    world.agent(**({"requests": {Window.TOTAL: 5}} if limit == "requests" else {"rpm": 5}))

    seen = fire(world, 4, 200, 4)

    assert statuses(seen) == {200: 5, (402 if limit == "requests" else 429): 195}
    assert len(world.lab.calls()) == 5
    assert world.books()["open"] == 0


def test_concurrent_slots_are_freed_on_every_way_out(world: World) -> None:
    world.agent(concurrent=2)
    proxy = world.proxy()
    for words in ("status=500", "cut=1", "hang"):
        world.lab.order(words, times=2)
        client = world.start_clients(proxy, 2)
        if words == "hang":
            world.lab.calls(received=6)
            client.kill()
        client.communicate()
        wait(lambda: world.books()["open"] == 0)  # or the next two would be refused

    seen = wait(lambda: (found := world.calls(proxy, 2)) and statuses(found) == {200: 2} and found)

    assert statuses(seen) == {200: 2}
    assert world.books()["open"] == 0


def test_kill_in_the_middle_of_twenty_calls_books_them_all_and_lets_new_calls_pass(
    world: World,
) -> None:
    worst = reservation(world)
    world.agent(budget_nano_usd={Window.TOTAL: 100 * worst})
    proxy = world.proxy()
    world.lab.reset()
    world.lab.order("hang", times=20)
    client = world.start_clients(proxy, 20, body=BODY)
    world.lab.calls(received=20)

    proxy.kill()
    client.communicate()
    second = world.proxy()
    [answer] = world.calls(second, body=BODY)

    assert answer["status"] == 200
    books = world.books()
    assert books["open"] == 0
    assert books["spent"] >= 20 * worst


def test_refused_budget_names_account_limit_and_what_is_left(world: World) -> None:
    worst = reservation(world)
    world.agent(budget_nano_usd={Window.DAY: worst + 1000})
    proxy = world.proxy()
    world.calls(proxy, body=BODY)

    [answer] = world.calls(proxy, body=BODY)

    error = json.loads(answer["body"])["error"]
    assert answer["status"] == 402
    assert error["code"] == "budget_exhausted"
    assert "day" in error["message"]
    assert "$0.000001" in error["message"]
    assert "resets" in error["message"]


def test_retry_after_is_enough(world: World) -> None:
    world.agent(rpm=1)
    proxy = world.proxy()
    [first] = world.calls(proxy, body=BODY)
    [second] = world.calls(proxy, body=BODY)

    assert (first["status"], second["status"]) == (200, 429)
    assert 1 <= int(second["headers"]["retry-after"]) <= 60


def test_overrun_is_booked_in_full_and_the_next_call_meets_the_limit(world: World) -> None:
    worst = reservation(world)
    world.agent(budget_nano_usd={Window.TOTAL: 3 * worst})
    proxy = world.proxy()
    world.lab.reset()
    world.lab.order("tokens=5000 ignore_limit")

    world.calls(proxy, body=BODY)
    [after] = world.calls(proxy, body=BODY)

    assert world.books()["spent"] > 5000 * 600
    assert after["status"] == 402
