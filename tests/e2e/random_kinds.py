"""How random calls look in each dialect, and what its provider's price list makes of their usages."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from tollkeeper.domain import Usage

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
    "gpt-5.4": {"": ("2.50", "0.25", "2.50", "2.50", "15.00")},
    "amazon.nova-lite-v1:0": {"": ("0.06", "0.015", "0.06", "0.06", "0.24")},
    "us.anthropic.claude-haiku-4-5-20251001-v1:0": {"": ("1.10", "0.11", "1.375", "2.20", "5.50")},
    "global.anthropic.claude-sonnet-4-5-20250929-v1:0": {
        "": ("3.00", "0.30", "3.75", "6.00", "15.00")
    },
    "amazon.titan-text-express-v1": {"": ("0.20", "0.20", "0.20", "0.20", "0.60")},
    "meta.llama3-8b-instruct-v1:0": {"": ("0.30", "0.30", "0.30", "0.30", "0.60")},
    "mistral.mistral-7b-instruct-v0:2": {"": ("0.15", "0.15", "0.15", "0.15", "0.20")},
    "openai.gpt-oss-20b-1:0": {"": ("0.07", "0.07", "0.07", "0.07", "0.30")},
    "claude-haiku-4-5@20251001": {"": ("1.00", "0.10", "1.25", "2.00", "5.00")},
    "claude-opus-4-6": {"": ("5.00", "0.50", "6.25", "10.00", "25.00")},
    "command-r7b-12-2024": {"": ("0.0375", "0.0375", "0.0375", "0.0375", "0.15")},
    "command-a-03-2025": {"": ("2.50", "2.50", "2.50", "2.50", "10.00")},
    "llama3": {"": ("1", "1", "1", "1", "2")},
    "gpt-3.5-turbo-instruct": {"": ("1.50", "1.50", "1.50", "1.50", "2.00")},
    "text-embedding-3-small": {"": ("0.02", "0.02", "0.02", "0.02", "0")},
    "gemini-embedding-001": {"": ("0.15", "0.15", "0.15", "0.15", "0")},
}
"""USD per million tokens by tier: input, cache read, write of 5 minutes, write of an hour, output.

Source: https://platform.openai.com/docs/pricing, https://openai.com/api-priority-processing/,
https://platform.claude.com/docs/en/about-claude/pricing, https://groq.com/pricing,
https://ai.google.dev/gemini-api/docs/pricing, https://aws.amazon.com/bedrock/pricing/,
https://cloud.google.com/vertex-ai/generative-ai/pricing (global endpoint), https://cohere.com/pricing
(2026-11-21); ``llama3`` has the price that the policy here gives it.
"""

UNITS: Mapping[str, Mapping[str, Decimal]] = {
    "gpt-image-1-mini": {
        "input_tokens": Decimal(2000),
        "image_input_tokens": Decimal(500),
        "image_output_tokens": Decimal(8000),
    },
    "gpt-4o-transcribe": {"input_tokens": Decimal(2500), "output_tokens": Decimal(10_000)},
    "tts-1": {"characters": Decimal(15_000)},
    "whisper-1": {"audio_milliseconds": Decimal(100)},
    "mistral-ocr-2512": {"pages": Decimal(2_000_000)},
    "rerank-v3.5": {"search_units": Decimal(2_000_000)},
}
"""Nano-USD for each of what other models bill; images and sound cost so much more than text.

Source: https://platform.openai.com/docs/pricing (text $2, image $2.50, made $8; input $2.50,
output $10 per million; $15 per million characters; $0.006 a minute), https://cohere.com/pricing ($2 per
thousand searches), https://mistral.ai/news/mistral-ocr-3 ($2 per thousand pages) (2026-11-21)
"""


TOOL = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def bill(usage: Usage, model: str, tier: str, percent: int = 100) -> int:
    """What the provider's price list makes of a usage, rounded up to the nano-dollar.

    Args:
        percent: What tokens cost in this place of the price in the list.
    """
    if model in UNITS:
        units = sum(
            (getattr(usage, unit) * nano for unit, nano in UNITS[model].items()), Decimal(0)
        )
        return int(units.to_integral_value(ROUND_CEILING))
    tiers = PRICES[model]
    per = [Decimal(usd) for usd in tiers[tier if tier in tiers else next(iter(tiers))]]
    read, long = usage.cache_read_input_tokens, usage.cache_write_1h_input_tokens
    short = usage.cache_write_input_tokens - long
    plain = (usage.input_tokens or 0) - read - short - long
    parts = zip((plain, read, short, long, usage.output_tokens or 0), per, strict=True)
    nano_usd = sum((count * usd * 10 * percent for count, usd in parts), Decimal(0))
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
        pictures: Whether it may bring an image.
        may_think: Whether it may ask for thinking.
        content_type: Of the body.
        streams: Whether an answer may come in pieces.
        task: Whether the simulator answers it one way only, without directives.
        plan: How the books name its billing, where no money pays each call.
        provider: Its name in the policy.
        percent: What tokens cost there of the price in the list.
    """

    name: str
    host: str
    models: tuple[str, ...]
    path: Callable[[Asked], str]
    body: Callable[[Asked], Body | bytes]
    asked_tiers: tuple[str | None, ...] = (None,)
    most_choices: int = 1
    cache_marks: bool = False
    pictures: bool = False
    may_think: bool = False
    content_type: str = "application/json"
    streams: bool = True
    task: bool = False
    plan: str | None = None
    provider: str = "openai"
    percent: int = 100


def chat(asked: Asked) -> Body:
    """OpenAI chat completions."""
    parts: list[Body] = [{"type": "text", "text": asked.text}]
    if asked.picture:
        url = f"data:image/png;base64,{image()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    tools = [{"type": "function", "function": {"name": "read", "parameters": TOOL}}]
    return {
        "model": asked.model,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": parts},
        ],
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


DIALECTS: tuple[Kind, ...] = (
    Kind(
        "chat", "api.openai.com", ("gpt-4o-mini", "gpt-5-mini", "gpt-4.1"),
        lambda _: "/v1/chat/completions", chat, (None, "default", "priority", "auto"), 4,
        pictures=True,
    ),
    Kind(
        "responses", "api.openai.com", ("gpt-5-mini", "gpt-4.1"), lambda _: "/v1/responses",
        responses, (None, "default", "flex", "priority", "auto"),
    ),
    Kind(
        "messages", "api.anthropic.com", ("claude-sonnet-4-5", "claude-haiku-4-5"),
        lambda _: "/v1/messages", messages, cache_marks=True, pictures=True, may_think=True,
        provider="anthropic",
    ),
    Kind(
        "gemini", "generativelanguage.googleapis.com", ("gemini-2.5-flash", "gemini-2.5-pro"),
        gemini_path, contents, most_choices=3, pictures=True, provider="google",
    ),
    Kind(
        "groq", "api.groq.com", ("llama-3.1-8b-instant",), lambda _: "/openai/v1/chat/completions",
        chat, provider="groq",
    ),
)  # fmt: skip
