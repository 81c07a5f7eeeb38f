"""Gemini's caches of one's own, with the real SDK: made, named, kept longer and deleted."""

from __future__ import annotations

from typing import Any

from e2e.test_sdks import program
from e2e.world import World
from tollkeeper.domain import NANO_PER_USD, Window

MODEL = "gemini-2.5-flash"
MAKE = """
from google import genai
client = genai.Client()
kept = client.caches.create(model=MODEL, config={"contents": "word " * 400, "ttl": "7200s"})
"""
NAME = """
r = client.models.generate_content(model=MODEL, contents="hello", config={"cached_content": kept.name, "max_output_tokens": 20})
print("GOT", r.usage_metadata.cached_content_token_count, r.text)
"""
LONGER = """
more = client.caches.update(name=kept.name, config={"ttl": "10800s"})
print("GOT", more.name == kept.name)
"""
END = """
print("GOT", client.caches.get(name=kept.name).name)
client.caches.delete(name=kept.name)
"""
BUDGET = {"agents": {"default": {"budget_usd": {"total": 1}}}}
KEY = {"providers": {"google": {"key": {"env": "REAL_KEY"}}}}
HELD = 400 * 5 // 4 + 4 + 3
"""Tokens, as the simulator counts them."""


def rows(world: World) -> list[dict[str, Any]]:
    return list(world.ledger().rows("select * from calls order by booked_ns"))


def test_cache_is_billed_for_its_tokens_and_time_and_the_calls_that_name_it_at_its_rate(
    world: World,
) -> None:
    world.policy(BUDGET | KEY)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy(REAL_KEY="real")

    done = world.python(program(MODEL, MAKE + NAME), proxy)

    assert done.stdout.startswith(f"GOT {HELD} Hello"), done.stdout + done.stderr
    made, named = rows(world)
    assert made["cost_nano_usd"] == HELD * 300 + HELD * 2 * 1000
    assert named["cost_nano_usd"] == HELD * 30 + (named["input_tokens"] - HELD) * 300 + 5 * 2500
    for row in (made, named):
        assert row["basis"] == "measured"
        assert row["cost_nano_usd"] <= row["worst_nano_usd"] < 20_000_000


def test_more_time_is_booked_once_and_an_early_end_gives_nothing_back(world: World) -> None:
    world.policy(BUDGET)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()

    done = world.python(program(MODEL, MAKE + LONGER + END), proxy)

    assert done.stdout.startswith("GOT True\nGOT cachedContents/"), done.stdout + done.stderr
    made, longer, looked, ended = rows(world)
    [_, more] = [call["billed"] for call in world.lab.calls() if call["billed"]]
    assert longer["cost_nano_usd"] == -(
        -more["kept_token_seconds"] * 1_000_000_000 // 3_600_000_000
    )
    assert HELD * 3600 <= more["kept_token_seconds"] <= HELD * 3605
    assert longer["cost_nano_usd"] <= longer["worst_nano_usd"] == HELD * 3 * 1000
    assert (looked["cost_nano_usd"], ended["cost_nano_usd"]) == (0, 0)
    assert world.books()["spent"] == made["cost_nano_usd"] + longer["cost_nano_usd"]


def test_cache_of_another_agent_is_neither_named_nor_kept_longer_with_the_operators_key(
    world: World,
) -> None:
    world.policy(BUDGET | KEY)
    world.agent("atlas")
    world.agent("other")
    proxy = world.proxy(REAL_KEY="real")
    world.python(program(MODEL, MAKE + "print('GOT')"), proxy)
    [call] = world.lab.calls()
    name = f"kept = type('', (), {{'name': {made_by(world)!r}}})"
    client = "from google import genai\nclient = genai.Client()\n"

    for code in (NAME, LONGER, END):
        done = world.python(program(MODEL, f"{client}{name}\n{code.strip()}"), proxy, "other")
        assert done.stdout.startswith("RAISED google"), done.stdout + done.stderr
        assert "no call of this agent has made" in done.stdout

    assert world.lab.calls() == [call]


def made_by(world: World) -> str:
    [row] = world.ledger().rows("select id from caches")
    return str(row["id"])


def test_cache_over_the_budget_never_leaves(world: World) -> None:
    world.agent(budget_nano_usd={Window.DAY: 1000})
    proxy = world.proxy()

    done = world.python(program(MODEL, MAKE), proxy)

    assert done.stdout.startswith("RAISED google"), done.stdout + done.stderr
    assert "budget_usd" in done.stdout
    assert world.lab.calls() == []


def test_more_time_for_a_cache_that_was_made_elsewhere_is_refused(world: World) -> None:
    world.policy(BUDGET)
    world.agent()
    proxy = world.proxy()
    kept = "from google import genai\nclient = genai.Client()\nkept = type('', (), {'name': 'cachedContents/sim-9-9-9'})\n"

    done = world.python(program(MODEL, kept + LONGER.strip()), proxy)

    assert "make the cache anew" in done.stdout, done.stdout + done.stderr
    assert world.lab.calls() == []
