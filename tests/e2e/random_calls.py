"""Random calls of every dialect, priced and cut at random: ``python -m e2e.random_calls [CALLS] [SEED]``.

Each goes the real way (parse, decide, books, rewrite, meter, settle) behind one listener without its
sockets, and a simulated provider answers it: honestly, or billing the worst that its own rules allow.
What must hold, and is looked at call by call:

- a whole answer is settled at what was billed, to the nano-dollar, by a price list of its own here;
- a cut one at no less than what the client received of it;
- nothing at more than was reserved; at the end nothing is reserved, and the books verify.

A dialect joins with a ``Kind`` and its models in ``PRICES``. Of a call on a plan the notional cost is held
against the bill, and what its budget was charged is either the same or nothing.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from mitmproxy import http

from e2e import random_clouds, random_tasks
from e2e.random_kinds import DIALECTS, PRICES, Asked, Kind, bill
from proxy.house import House
from tollkeeper.domain import Decision
from tollkeeper.simulator.exchange import Frame
from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.providers import Simulated, simulate

KINDS: tuple[Kind, ...] = (*DIALECTS, *random_clouds.KINDS, *random_tasks.KINDS)

OWN: dict[str, dict[str, Any]] = {
    "chatgpt": {"billing": "flat", "counts": False},
    "my-ollama": {
        "hosts": [random_tasks.OLLAMA], "api": "ollama", "prices": {"*": {"input": 1, "output": 2}},
    },
}  # fmt: skip
"""What the policy says of providers: a plan that does not count, and a server with a price of its own."""

THINKERS = ("gpt-5-mini", "gpt-5.4", "gemini-2.5-flash", "gemini-2.5-pro")
"""Models that think unasked; others think only in calls that ask for it."""

MOST_WORDS = 2000
"""Of an answer whose call names no limit."""

WORDS = ("tea", "kettle", "naïve", "日本語", "🙂", "def f(x): return x", '{"a": 1}')


def ask(rng: random.Random, kind: Kind) -> Asked:
    """A call that its provider would take."""
    text = " ".join(rng.choices(WORDS, k=rng.randint(1, 120)))
    return Asked(
        model=rng.choice(kind.models),
        text=text,
        stream=rng.random() < 0.6,
        limit=rng.choice((1, 16, 64, 400)),
        choices=rng.randint(1, kind.most_choices),
        tier=rng.choice(kind.asked_tiers),
        cached=rng.choice((None, "5m", "1h")) if kind.cache_marks else None,
        tool=rng.random() < 0.2,
        picture=kind.pictures and rng.random() < 0.15,
        thinks=kind.may_think and rng.random() < 0.3,
    )


def answer_tier(rng: random.Random, kind: Kind, asked: Asked) -> str | None:
    """A tier that the provider may serve the call in, or None to leave it to the simulator."""
    known = PRICES[asked.model]
    if asked.tier == "auto":
        return rng.choice(sorted(known))
    return asked.tier if asked.tier in known and rng.random() < 0.7 else None


def order(rng: random.Random, kind: Kind, asked: Asked, decision: Decision) -> tuple[str, str]:
    """Directives for the answer, and the tier that it is billed by."""
    if kind.task:
        return "", ""
    per_choice = min(decision.bound_output_tokens // asked.choices, MOST_WORDS)
    tier = answer_tier(rng, kind, asked)
    words = [f"service_tier={tier}"] if tier else []
    if rng.random() < 0.4:
        share = decision.bound_input_tokens
        words += [f"input={share}", f"tokens={per_choice}"]
        words += [f"cache_write_1h={share}" if asked.cached == "1h" else "cache_write=0"]
        words += [f"cache_write={share}" if asked.cached == "5m" else "cache_read=0"]
    else:
        words += [f"tokens={rng.randint(0, per_choice)}", f"cache_read={rng.randint(0, 300)}"]
        if asked.cached and rng.random() < 0.5:
            name = "cache_write_1h" if asked.cached == "1h" else "cache_write"
            words.append(f"{name}={rng.randint(0, 200)}")
        thinks = asked.thinks or asked.model in THINKERS
        words += [f"reasoning={rng.randint(0, 50)}"] if thinks and rng.random() < 0.5 else []
        words += ["unknown_usage=made_up_tokens"] if rng.random() < 0.05 else []
        words += ["tool=read"] if asked.tool and rng.random() < 0.5 else []
    fate = rng.random()
    words += ["no_usage"] if fate < 0.03 else ["status=529"] if fate < 0.06 else []
    return " ".join(words), tier or ""


@dataclass(slots=True)
class Outcome:
    """What one call came to on both sides, in nano-USD.

    Attributes:
        billed: What the provider bills; of a cut answer what the client received of it.
        exact: Whether the settled cost must be that, and not only at least that.
    """

    kind: Kind
    call: str
    billed: int
    reserved: int
    exact: bool
    story: str


@dataclass(slots=True)
class Walk:
    """Calls on one installation."""

    house: House
    rng: random.Random
    outcomes: list[Outcome] = field(default_factory=list)
    clients: dict[str, Any] = field(default_factory=dict)

    async def call(self, serial: int) -> None:
        """Make one call and see it answered, whole or in part."""
        rng = self.rng
        kind = rng.choice(KINDS)
        asked = ask(rng, kind)
        client = self.clients.get(kind.host) or self.house.connected(kind.host)
        self.clients[kind.host] = client
        fields = [
            ("Host", kind.host),
            ("Authorization", "Bearer sk-agent"),
            ("Content-Type", kind.content_type),
        ]
        flow = self.house.flow(
            client=client, host=kind.host, path=kind.path(asked), body=kind.body(asked),
            fields=fields,
        )  # fmt: skip
        await self.house.judge(flow)
        assert flow.response is None, f"{kind.name} {asked}: {flow.response.get_text()}"
        admission = self.house.enforcer.passages[flow].admission
        assert admission is not None
        words, tier = order(rng, kind, asked, admission.decision)
        received = Received(
            "POST", flow.request.path, b"", tuple(fields), flow.request.content, time.time_ns()
        )
        simulated = simulate(received, kind.host, words, serial)
        failed = simulated.answer.status != 200
        assert failed == ("status=529" in words), (kind.name, simulated.answer)
        billed, whole = await self.answer(flow, kind, asked, simulated, tier)
        exact = whole and "no_usage" not in words
        story = f"call {serial}: {kind.name} {asked} [{words}]"
        reserved = admission.decision.reserve_nano_usd
        self.outcomes.append(Outcome(kind, admission.id, billed, reserved, exact, story))

    async def answer(
        self, flow: http.HTTPFlow, kind: Kind, asked: Asked, simulated: Simulated, tier: str
    ) -> tuple[int, bool]:
        """Let the answer pass; what was billed for what passed, and whether it was whole."""
        usage, frames = simulated.usage, simulated.answer.frames
        content = b"".join(frame.data for frame in frames)
        headers = dict(simulated.answer.headers)
        response = http.Response.make(simulated.answer.status, content, headers)
        if not simulated.answer.streamed:
            await self.house.give(flow, response)
            return (bill(usage, asked.model, tier, kind.percent) if usage else 0), True
        assert usage is not None
        cut = self.rng.randrange(len(content)) if self.rng.random() < 0.4 else None
        flow.response = response
        flow.server_conn.timestamp_tls_setup = time.time()
        enforcer = self.house.enforcer
        enforcer.responseheaders(flow)
        assert flow.response is not None
        passes = flow.response.stream
        assert callable(passes)
        for piece in pieces(self.rng, content[:cut]):
            passes(piece)
        if cut is None:
            passes(b"")
            await self.house.end(flow)
            return bill(usage, asked.model, tier, kind.percent), True
        await enforcer.error(flow)
        received = delivered(frames, cut)
        seen = replace(
            usage,
            output_tokens=received,
            reasoning_output_tokens=min(usage.reasoning_output_tokens, received),
            image_output_tokens=min(usage.image_output_tokens, received),
        )
        return (bill(seen, asked.model, tier, kind.percent) if cut else 0), False


def pieces(rng: random.Random, data: bytes) -> Iterable[bytes]:
    """The same bytes, cut anywhere."""
    at = 0
    while at < len(data):
        size = rng.choice((1, 7, 60, 700, 20_000))
        yield data[at : at + size]
        at += size


def delivered(frames: tuple[Frame, ...], cut: int) -> int:
    """Output tokens of the frames that had passed whole."""
    tokens = 0
    for frame in frames:
        cut -= len(frame.data)
        if cut < 0:
            break
        tokens += frame.output_tokens
    return tokens


def walk(folder: Path, calls: int, seed: int) -> list[Outcome]:
    """Make calls on a new installation and hold both sides' figures together.

    Raises:
        AssertionError: They differ; the message tells the call.
    """
    house = House(folder)
    house.govern_by({"providers": OWN})
    walked = Walk(house, random.Random(seed))

    async def all_calls() -> None:
        for serial in range(calls):
            await walked.call(serial)

    asyncio.run(all_calls())
    settled = {row["id"]: row for row in house.calls()}
    assert len(settled) == calls
    for outcome in walked.outcomes:
        agree(outcome, settled[outcome.call])
    assert reserved_nano_usd(house) == 0
    house.close()
    return walked.outcomes


def agree(outcome: Outcome, row: dict[str, Any]) -> None:
    """Hold one call's row in the books against its bill."""
    cost, plan = row["cost_nano_usd"], outcome.kind.plan
    said = f"{outcome} settled {cost} {row['basis']} notional {row['notional_nano_usd']}"
    assert row["state"] == "settled", said
    assert row["billing"] == (plan or "metered"), said
    assert cost <= outcome.reserved, said
    if plan == "flat":
        assert (cost, outcome.reserved) == (0, 0), said
    worth = row["notional_nano_usd"] if plan else cost
    assert outcome.billed <= worth, said
    assert worth == outcome.billed or not outcome.exact, said
    assert plan != "flat_counted" or cost == worth, said


def reserved_nano_usd(house: House) -> int:
    """What is still reserved on any account of the books."""
    ledger = house.ledger()
    [row] = ledger.rows("select coalesce(sum(reserved_nano_usd), 0) as still from balances")
    ledger.close()
    return int(row["still"])


def main() -> None:
    """Print how many calls of each kind agreed, and the sums of both sides."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"{calls} calls, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = walk(Path(folder), calls, seed)
    counted = Counter((one.kind.name, "whole" if one.exact else "cut") for one in outcomes)
    for (kind, how), count in sorted(counted.items()):
        print(f"{kind:>20} {how:>6} {count:>6}")
    exact = sum(one.billed for one in outcomes if one.exact)
    print(f"whole answers: settled = billed = {Decimal(exact).scaleb(-9)} USD; reserved now: 0")


if __name__ == "__main__":
    main()
