"""Both sides of the books agree: a few hundred calls behind the listener, and some through the proxy."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path

import pytest

from e2e.random_calls import KINDS, OWN, ask, walk
from e2e.random_kinds import PRICES, UNITS, Asked, Kind, bill
from e2e.tunnel import Tunnel, request
from e2e.world import World
from tollkeeper.domain import Usage, Window
from tollkeeper.simulator import wiring

PLENTY_NANO_USD = 10**12
CALLS = 200


def test_every_model_of_a_kind_has_its_prices() -> None:
    assert {model for kind in KINDS for model in kind.models} == {*PRICES, *UNITS}


@pytest.mark.parametrize("seed", [8, 9])
def test_whole_answers_are_settled_as_billed_and_cut_ones_at_what_was_received(
    tmp_path: Path, seed: int
) -> None:
    outcomes = walk(tmp_path, 400, seed)

    assert {one.kind for one in outcomes if one.exact} == set(KINDS)
    assert {one.kind for one in outcomes if not one.exact} >= {one for one in KINDS if one.streams}


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
    "chat": rb'"delta":\{"content":"[^"][^\n]*\n\n',
    "responses": rb'"type":"response.output_text.delta"[^\n]*\n\n',
    "messages": rb'"type":"text_delta"[^\n]*\n\n',
    "gemini": rb'"parts":\[\{"text":"[^"][^\n]*\n\n',
    "converse": rb'"delta":\{"text":"[^"]*"\},"p":"\w+"\}(?s:.{4})',
    "invoke": rb'"bytes":"eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSI[^"]*","p":"\w+"\}(?s:.{4})',
}
PIECES |= {"groq": PIECES["chat"], "azure": PIECES["chat"], "chatgpt": PIECES["responses"]}
PIECES |= {"vertex": PIECES["gemini"], "code assist": PIECES["gemini"]}
PIECES |= {"vertex claude": PIECES["messages"], "vertex region": PIECES["messages"]}
PIECES |= {"azure responses": PIECES["responses"]}
"""What a whole event of each dialect has for each token that it brings; tasks bring all in their last."""


def converse(world: World, kind: Kind, asked: Asked, leave: bool, rng: random.Random) -> int:
    """One call on a connection of its own; the tokens that were received of it in whole events."""
    with Tunnel(world, world.proxies[-1], kind.host) as tunnel:
        fields = (("Content-Type", kind.content_type),)
        path = kind.path(asked)
        tunnel.send(request(kind.body(asked), host=kind.host, path=path, fields=fields))
        answer = HTTPResponse(tunnel.socket, method="POST")
        answer.begin()
        assert answer.status == 200, answer.read()
        received = b""
        with suppress(ConnectionError):
            received = answer.read(rng.randint(1, 2_000) if leave else None)
    return len(re.findall(PIECES[kind.name], received)) if kind.name in PIECES else 0


def test_calls_through_the_proxy_leave_nothing_reserved_and_cost_what_was_billed(
    world: World,
) -> None:
    rng = random.Random(20261121)
    lab = wiring.providers(world.lab.port, world.lab.certificate, {kind.provider for kind in KINDS})
    world.policy({"providers": {name: wire | OWN.get(name, {}) for name, wire in lab.items()}})
    world.agent(budget_nano_usd={Window.TOTAL: PLENTY_NANO_USD})
    world.proxy()
    left: list[tuple[Kind, Asked, bool, int]] = []
    for serial in range(CALLS):
        kind = KINDS[serial % len(KINDS)]
        asked = asked_of(rng, kind)
        leave = asked.stream and rng.random() < 0.3
        left.append((kind, asked, leave, converse(world, kind, asked, leave, rng)))
    seen = world.lab.calls(received=CALLS, ended=CALLS)
    world.proxies[-1].stop()

    ledger = world.ledger()
    rows = list(ledger.rows("select * from calls order by booked_ns"))
    [still] = ledger.rows("select coalesce(sum(reserved_nano_usd), 0) as n from balances")
    ledger.close()
    assert (len(seen), len(rows), still["n"]) == (CALLS, CALLS, 0)
    for call, row, (kind, asked, gone, received) in zip(seen, rows, left, strict=True):
        usage = Usage(**call["billed"] | {"unknown": (), "server_tools": ()})
        said = f"{kind.name} {asked} {row}"
        worth = row["notional_nano_usd"] if kind.plan else row["cost_nano_usd"]
        assert row["cost_nano_usd"] == (0 if kind.plan == "flat" else worth), said
        assert row["cost_nano_usd"] <= row["worst_nano_usd"], said
        if gone and row["basis"] != "measured":
            seen_of_it = replace(usage, output_tokens=received)
            assert worth >= bill(seen_of_it, asked.model, "", kind.percent), said
        else:
            assert (worth, row["basis"]) == (
                bill(usage, asked.model, "", kind.percent),
                "measured",
            ), said
