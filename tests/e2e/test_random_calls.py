"""Both sides of the books agree: a few hundred calls behind the listener, and some through the proxy."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path

import pytest

from e2e.random_calls import KINDS, PRICES, Asked, Kind, ask, bill, walk
from e2e.tunnel import Tunnel, request
from e2e.world import World
from tollkeeper.domain import Usage, Window

PLENTY_NANO_USD = 10**12


def test_every_model_of_a_kind_has_its_prices() -> None:
    assert {model for kind in KINDS for model in kind.models} == PRICES.keys()


@pytest.mark.parametrize("seed", [1, 7])
def test_whole_answers_are_settled_as_billed_and_cut_ones_at_what_was_received(
    tmp_path: Path, seed: int
) -> None:
    outcomes = walk(tmp_path, 250, seed)

    assert {(one.kind, one.exact) for one in outcomes} == {
        (kind.name, exact) for kind in KINDS for exact in (True, False)
    }


def words_of(rng: random.Random, asked: Asked) -> str:
    """Directives for an honest answer."""
    return f"[sim tokens={rng.randint(0, asked.limit)} cache_read={rng.randint(0, 50)} delay=0.001]"


def asked_of(rng: random.Random, kind: Kind) -> Asked:
    drawn = ask(rng, kind)
    return Asked(
        drawn.model, f"{drawn.text} {words_of(rng, drawn)}", drawn.stream, min(drawn.limit, 64),
        drawn.choices, drawn.tier if drawn.tier == "default" else None, drawn.cached,
    )  # fmt: skip


PIECES = {
    "chat": rb'"delta":\{"content":"[^"]',
    "responses": rb'"type":"response.output_text.delta"',
    "messages": rb'"type":"text_delta"',
    "gemini": rb'"parts":\[\{"text":"[^"]',
    "groq": rb'"delta":\{"content":"[^"]',
}
"""What an event of each dialect has for each token that it brings."""


def converse(world: World, kind: Kind, asked: Asked, leave: bool, rng: random.Random) -> int:
    """One call on a connection of its own; the tokens that were received of it in whole events."""
    with Tunnel(world, world.proxies[-1], kind.host) as tunnel:
        tunnel.send(request(kind.body(asked), host=kind.host, path=kind.path(asked)))
        answer = HTTPResponse(tunnel.socket, method="POST")
        answer.begin()
        assert answer.status == 200, answer.read()
        received = b""
        with suppress(ConnectionError):
            received = answer.read(rng.randint(1, 2_000) if leave else None)
    return len(re.findall(PIECES[kind.name], received.rpartition(b"\n\n")[0]))


def test_calls_through_the_proxy_leave_nothing_reserved_and_cost_what_was_billed(
    world: World,
) -> None:
    rng = random.Random(20261121)
    world.agent(budget_nano_usd={Window.TOTAL: PLENTY_NANO_USD})
    world.proxy()
    left: list[tuple[bool, int]] = []
    for _ in range(150):
        kind = rng.choice(KINDS)
        asked = asked_of(rng, kind)
        leave = asked.stream and rng.random() < 0.3
        left.append((leave, converse(world, kind, asked, leave, rng)))
    seen = world.lab.calls(received=150, ended=150)
    world.proxies[-1].stop()

    ledger = world.ledger()
    rows = list(ledger.rows("select * from calls order by booked_ns"))
    [still] = ledger.rows("select coalesce(sum(reserved_nano_usd), 0) as n from balances")
    ledger.close()
    assert (len(seen), len(rows), still["n"]) == (150, 150, 0)
    for call, row, (gone, received) in zip(seen, rows, left, strict=True):
        usage = Usage(**call["billed"] | {"unknown": (), "server_tools": ()})
        cost = row["cost_nano_usd"]
        assert cost <= row["worst_nano_usd"], row
        if gone and row["basis"] != "measured":
            assert cost >= bill(replace(usage, output_tokens=received), ""), row
        else:
            assert (cost, row["basis"]) == (bill(usage, ""), "measured"), row
