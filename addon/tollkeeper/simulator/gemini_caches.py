"""Gemini's cached contents, as simulated: a cache's name says what it holds and when it first ended.

Source: https://ai.google.dev/api/caching
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from tollkeeper.domain import Usage
from tollkeeper.simulator.exchange import Answer, Frame, count_tokens, texts_in
from tollkeeper.simulator.frames import JSON, dump
from tollkeeper.simulator.http1 import Received

PATH: Final = re.compile(r"/v1(?:beta|alpha)?/(?P<name>cachedContents(?:/[A-Za-z0-9_-]+)?)")
_NAME: Final = re.compile(r"cachedContents/sim-([0-9]+)-([0-9]+)-[0-9]+")


def simulate(received: Received, serial: int) -> tuple[Answer, Usage | None] | None:
    """The answer and what it bills, or None when the path is none of these.

    Raises:
        KeyError: A required member is missing.
        ValueError: The body cannot be read.
    """
    found = PATH.fullmatch(received.path)
    if found is None:
        return None
    now_s = received.received_ns // 1_000_000_000
    if received.method == "POST":
        return _created(json.loads(received.body), now_s, serial)
    if received.method == "PATCH":
        return _extended(json.loads(received.body), found["name"], now_s)
    if received.method == "DELETE" or "/" not in found["name"]:
        return _json({}), None
    tokens, until_s = held_by(found["name"])
    return _json(_described(found["name"], tokens, until_s)), None


def held_by(name: str) -> tuple[int, int]:
    """Tokens of a cache, and when it ended as it was made.

    Raises:
        KeyError: There is no such cache.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise KeyError(name)
    return int(found[1]), int(found[2])


def _created(body: dict[str, Any], now_s: int, serial: int) -> tuple[Answer, Usage]:
    contents = body.get("contents") or []
    texts = [*texts_in(body.get("systemInstruction")), *texts_in(contents)]
    tokens, seconds = count_tokens(texts, len(contents)), _seconds(body, "3600s")
    name = f"cachedContents/sim-{tokens}-{now_s + seconds}-{serial}"
    usage = Usage(tokens, 0, kept_token_seconds=tokens * seconds)
    described = _described(name, tokens, now_s + seconds)
    return _json(described | {"model": body["model"]}), usage


def _extended(body: dict[str, Any], name: str, now_s: int) -> tuple[Answer, Usage]:
    tokens, until_s = held_by(name)
    ends_s = now_s + _seconds(body, "")
    usage = Usage(0, 0, kept_token_seconds=tokens * max(ends_s - until_s, 0))
    return _json(_described(name, tokens, ends_s)), usage


def _seconds(body: dict[str, Any], default: str) -> int:
    return int(body.get("ttl", default).removesuffix("s"))


def _described(name: str, tokens: int, until_s: int) -> dict[str, Any]:
    ends = datetime.fromtimestamp(until_s, UTC).isoformat().replace("+00:00", ".000000001Z")
    return {"name": name, "expireTime": ends, "usageMetadata": {"totalTokenCount": tokens}}


def _json(body: dict[str, Any]) -> Answer:
    return Answer(200, (("Content-Type", JSON),), (Frame(dump(body)),))
