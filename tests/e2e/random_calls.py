"""Random calls of every dialect, priced and cut at random: ``python -m e2e.random_calls [CALLS] [SEED]``.

Each goes the real way (parse, decide, books, rewrite, meter, settle) behind one listener without its
sockets, and a simulated provider answers it: honestly, or billing the worst that its own rules allow.
What must hold, and is looked at call by call:

- a whole answer is settled at what was billed, to the nano-dollar, by a price list of its own here;
- a cut one at no less than what the client received of it;
- nothing at more than was reserved; at the end nothing is reserved, and the books verify.

A dialect joins with a ``Kind`` in ``KINDS`` and its models in ``PRICES``.
"""

from __future__ import annotations

import asyncio
import base64
import random
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

from mitmproxy import http

from proxy.house import House
from tollkeeper.domain import Decision, Usage
from tollkeeper.simulator.exchange import Frame
from tollkeeper.simulator.http1 import Received
from tollkeeper.simulator.providers import Simulated, simulate

type Body = dict[str, Any]

PRICES: Mapping[str, Mapping[str, tuple[str, str, str, str, str]]] = {
    "gpt-4o-mini": {
        "default": ("0.15", "0.075", "0.15", "0.15", "0.60"),
        "priority": ("0.25", "0.125", "0.25", "0.25", "1.00"),
    },
    "gpt-5-mini": {
        "default": ("0.25", "0.025", "0.25", "0.25", "2.00"),
        "flex": ("0.125", "0.0125", "0.125", "0.125", "1.00"),
        "priority": ("0.45", "0.045", "0.45", "0.45", "3.60"),
    },
    "gpt-4.1": {
        "default": ("2.00", "0.50", "2.00", "2.00", "8.00"),
        "priority": ("3.50", "0.875", "3.50", "3.50", "14.00"),
    },
    "claude-sonnet-4-5": {"standard": ("3.00", "0.30", "3.75", "6.00", "15.00")},
    "claude-haiku-4-5": {"standard": ("1.00", "0.10", "1.25", "2.00", "5.00")},
    "gemini-2.5-flash": {"": ("0.30", "0.03", "0.30", "0.30", "2.50")},
    "gemini-2.5-pro": {"": ("1.25", "0.125", "1.25", "1.25", "10.00")},
    "llama-3.1-8b-instant": {"default": ("0.05", "0.05", "0.05", "0.05", "0.08")},
}
"""USD per million tokens by tier: input, cache read, write of 5 minutes, write of an hour, output.

Source: https://platform.openai.com/docs/pricing, https://openai.com/api-priority-processing/,
https://platform.claude.com/docs/en/about-claude/pricing, https://groq.com/pricing,
https://ai.google.dev/gemini-api/docs/pricing (2026-11-21)
"""

THINKERS = ("gpt-5-mini", "gemini-2.5-flash", "gemini-2.5-pro")
"""Models that think unasked; others think only in calls that ask for it."""

WORDS = ("tea", "kettle", "naïve", "日本語", "🙂", "def f(x): return x", '{"a": 1}')
TOOL = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def bill(usage: Usage, tier: str) -> int:
    """What the provider's price list makes of a usage, rounded up to the nano-dollar."""
    assert usage.model is not None
    tiers = PRICES[usage.model]
    per = [Decimal(usd) for usd in tiers[tier if tier in tiers else next(iter(tiers))]]
    read, long = usage.cache_read_input_tokens, usage.cache_write_1h_input_tokens
    short = usage.cache_write_input_tokens - long
    plain = (usage.input_tokens or 0) - read - short - long
    parts = zip((plain, read, short, long, usage.output_tokens or 0), per, strict=True)
    nano_usd = sum((count * usd * 1000 for count, usd in parts), Decimal(0))
    return int(nano_usd.to_integral_value(ROUND_CEILING))


def image() -> str:
    """A PNG in base64 that says it has 2000 by 2000 pixels: the simulator bills all images as large."""
    head = struct.pack(">IIBBBBB", 2000, 2000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 200)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for; a ``Kind`` says it in its dialect's words."""

    model: str
    text: str
    stream: bool
    limit: int
    choices: int = 1
    tier: str | None = None
    cached: str | None = None
    tool: bool = False
    picture: bool = False
    thinks: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One dialect at one provider.

    Attributes:
        models: Each has a row in ``PRICES``.
        asked_tiers: What a call may ask for; None names no tier.
        most_choices: 1 where the dialect has none.
        cache_marks: Whether a call marks what is to be cached.
    """

    name: str
    host: str
    models: tuple[str, ...]
    path: Callable[[Asked], str]
    body: Callable[[Asked], Body]
    asked_tiers: tuple[str | None, ...] = (None,)
    most_choices: int = 1
    cache_marks: bool = False


def chat(asked: Asked) -> Body:
    """OpenAI chat completions."""
    parts: list[Body] = [{"type": "text", "text": asked.text}]
    if asked.picture:
        url = f"data:image/png;base64,{image()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    tools = [{"type": "function", "function": {"name": "read", "parameters": TOOL}}]
    return {
        "model": asked.model,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}],
        "max_tokens": asked.limit,
        "n": asked.choices,
        "stream": asked.stream,
    } | ({"service_tier": asked.tier} if asked.tier else {}) | ({"tools": tools} if asked.tool else {})  # fmt: skip


def responses(asked: Asked) -> Body:
    """OpenAI Responses."""
    return {
        "model": asked.model,
        "input": [{"role": "user", "content": asked.text}],
        "max_output_tokens": asked.limit,
        "stream": asked.stream,
    } | ({"service_tier": asked.tier} if asked.tier else {})


def messages(asked: Asked) -> Body:
    """Anthropic messages."""
    block: Body = {"type": "text", "text": asked.text}
    if asked.cached:
        block["cache_control"] = {"type": "ephemeral", "ttl": asked.cached}
    content: list[Body] = [block]
    if asked.picture:
        source = {"type": "base64", "media_type": "image/png", "data": image()}
        content.append({"type": "image", "source": source})
    return {
        "model": asked.model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": asked.limit,
        "stream": asked.stream,
        "thinking": {"type": "enabled", "budget_tokens": 1024} if asked.thinks else None,
        "tools": [{"name": "read", "input_schema": TOOL}] if asked.tool else [],
    }


def contents(asked: Asked) -> Body:
    """Gemini."""
    config: Body = {"maxOutputTokens": asked.limit, "candidateCount": asked.choices}
    parts: list[Body] = [{"text": asked.text}]
    if asked.picture:
        parts.append({"inlineData": {"mimeType": "image/png", "data": image()}})
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def gemini_path(asked: Asked) -> str:
    """The model and the way to stream stand in the path."""
    verb = "streamGenerateContent?alt=sse" if asked.stream else "generateContent"
    return f"/v1beta/models/{asked.model}:{verb}"


KINDS: tuple[Kind, ...] = (
    Kind(
        "chat", "api.openai.com", ("gpt-4o-mini", "gpt-5-mini", "gpt-4.1"),
        lambda _: "/v1/chat/completions", chat, (None, "default", "priority", "auto"), 4,
    ),
    Kind(
        "responses", "api.openai.com", ("gpt-5-mini", "gpt-4.1"), lambda _: "/v1/responses",
        responses, (None, "default", "flex", "priority", "auto"),
    ),
    Kind(
        "messages", "api.anthropic.com", ("claude-sonnet-4-5", "claude-haiku-4-5"),
        lambda _: "/v1/messages", messages, cache_marks=True,
    ),
    Kind(
        "gemini", "generativelanguage.googleapis.com", ("gemini-2.5-flash", "gemini-2.5-pro"),
        gemini_path, contents, most_choices=3,
    ),
    Kind(
        "groq", "api.groq.com", ("llama-3.1-8b-instant",), lambda _: "/openai/v1/chat/completions",
        chat,
    ),
)  # fmt: skip


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
        picture=kind.name not in ("responses", "groq") and rng.random() < 0.15,
        thinks=kind.name == "messages" and rng.random() < 0.3,
    )


def answer_tier(rng: random.Random, kind: Kind, asked: Asked) -> str | None:
    """A tier that the provider may serve the call in, or None to leave it to the simulator."""
    known = PRICES[asked.model]
    if asked.tier == "auto":
        return rng.choice(sorted(known))
    return asked.tier if asked.tier in known and rng.random() < 0.7 else None


def order(rng: random.Random, kind: Kind, asked: Asked, decision: Decision) -> tuple[str, str]:
    """Directives for the answer, and the tier that it is billed by."""
    per_choice = decision.bound_output_tokens // asked.choices
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

    kind: str
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
        fields = [("Host", kind.host), ("Authorization", "Bearer sk-agent")]
        flow = self.house.flow(
            client=client, host=kind.host, path=kind.path(asked), body=kind.body(asked),
            fields=fields,
        )  # fmt: skip
        await self.house.judge(flow)
        assert flow.response is None, flow.response.get_text()
        admission = self.house.enforcer.passages[flow].admission
        assert admission is not None
        words, tier = order(rng, kind, asked, admission.decision)
        received = Received(
            "POST", flow.request.path, b"", tuple(fields), flow.request.content, time.time_ns()
        )
        simulated = simulate(received, kind.host, words, serial)
        billed, whole = await self.answer(flow, asked, simulated, tier)
        exact = whole and "no_usage" not in words
        story = f"call {serial}: {kind.name} {asked} [{words}]"
        reserved = admission.decision.reserve_nano_usd
        self.outcomes.append(Outcome(kind.name, admission.id, billed, reserved, exact, story))

    async def answer(
        self, flow: http.HTTPFlow, asked: Asked, simulated: Simulated, tier: str
    ) -> tuple[int, bool]:
        """Let the answer pass; what was billed for what passed, and whether it was whole."""
        usage, frames = simulated.usage, simulated.answer.frames
        content = b"".join(frame.data for frame in frames)
        headers = dict(simulated.answer.headers)
        response = http.Response.make(simulated.answer.status, content, headers)
        if not (asked.stream and simulated.answer.streamed):
            await self.house.give(flow, response)
            return (bill(usage, tier) if usage else 0), True
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
            await enforcer.response(flow)
            return bill(usage, tier), True
        await enforcer.error(flow)
        received = delivered(frames, cut)
        thought = min(usage.reasoning_output_tokens, received)
        seen = replace(usage, output_tokens=received, reasoning_output_tokens=thought)
        return (bill(seen, tier) if cut else 0), False


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
    walked = Walk(house, random.Random(seed))

    async def all_calls() -> None:
        for serial in range(calls):
            await walked.call(serial)

    asyncio.run(all_calls())
    settled = {row["id"]: row for row in house.calls()}
    assert len(settled) == calls
    for outcome in walked.outcomes:
        row = settled[outcome.call]
        cost, said = (
            row["cost_nano_usd"],
            f"{outcome} settled {row['cost_nano_usd']} {row['basis']}",
        )
        assert row["state"] == "settled", said
        assert outcome.billed <= cost <= max(outcome.reserved, outcome.billed), said
        assert cost == outcome.billed or not outcome.exact, said
        assert cost <= outcome.reserved, said
    assert reserved_nano_usd(house) == 0
    house.close()
    return walked.outcomes


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
    counted = Counter((one.kind, "whole" if one.exact else "cut") for one in outcomes)
    for (kind, how), count in sorted(counted.items()):
        print(f"{kind:>12} {how:>6} {count:>6}")
    exact = sum(one.billed for one in outcomes if one.exact)
    print(f"whole answers: settled = billed = {Decimal(exact).scaleb(-9)} USD; reserved now: 0")


if __name__ == "__main__":
    main()
