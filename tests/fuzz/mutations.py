"""Hostile variants of bytes that a parser reads: cut, doubled, swapped, and what readers differ on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

TOKENS: tuple[bytes, ...] = (
    b"null", b"true", b"false", b"-1", b"0", b"1e999", b"1E2", b"9" * 40, b"NaN", b"Infinity", b"-0",
    b'""', b"[]", b"{}", b"\\u0000", b"\\ud800", b"\\u006d\\u006f\\u0064\\u0065\\u006c", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\x00", b"\r\n", b"\n\n", b"\r", b"data: ", b"event: ", b"[DONE]", b":", b"//", b"/*x*/",
    b"%2e", b"..", b";", b"#", b"?", b'"model":"x",', b'"stream":true,', b'"n":100,', b'"max_tokens":1,',
    b'"usage":{"prompt_tokens":1}', b"'", b"<<: *a", b"&a", b"!!python/object:os.system", b"\t",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1.5, "", "x" * 5000, [], {}, [[]], {"type": "x"}, "\ud83d\ude00", [None] * 50,
)  # fmt: skip


def mutated(seeds: Sequence[bytes], dice: random.Random) -> bytes:
    """One of the seeds, changed in one to a few places."""
    data = dice.choice(seeds)
    if dice.random() < 0.5:
        data = reshaped(data, dice)
    for _ in range(dice.choice((0, 1, 1, 2, 4, 16))):
        data = changed(data, dice, seeds)
    return data


def reshaped(data: bytes, dice: random.Random) -> bytes:
    """A JSON document with a member replaced, removed, renamed or nested; others as they are."""
    try:
        document = json.loads(data)
    except ValueError:
        return data
    for _ in range(dice.randrange(1, 4)):
        holder: Any = document
        while isinstance(holder, dict | list) and holder:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = dice.choice(keys)
            inner = holder[key]
            if not (isinstance(inner, dict | list) and inner) or dice.random() < 0.3:
                replace(holder, key, dice)
                break
            holder = inner
    return json.dumps(document, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def replace(holder: Any, key: Any, dice: random.Random) -> None:
    """Put something else in a member's place."""
    match dice.randrange(4):
        case 0:
            holder[key] = deepcopy(dice.choice(VALUES))
        case 1:
            holder[key] = [deepcopy(holder[key]) for _ in range(dice.choice((1, 2, 200)))]
        case 2:
            del holder[key]
        case _ if isinstance(holder, dict):
            holder[dice.choice((str(key).upper(), f" {key}", f"{key}s", "type", "role"))] = holder[
                key
            ]


def changed(data: bytes, dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Bytes with one place cut, doubled, overwritten, joined with another seed, or made a token."""
    at = dice.randrange(len(data) + 1)
    to = min(len(data), at + dice.choice((1, 1, 2, 8, 64, 1024)))
    match dice.randrange(7):
        case 0:
            return data[:at] + data[to:]
        case 1:
            return data[:to] + data[at:]
        case 2:
            return data[:at] + dice.choice(TOKENS) + data[at:]
        case 3:
            return data[:at] + dice.choice(TOKENS) + data[to:]
        case 4:
            return data[:at] + dice.randbytes(to - at) + data[to:]
        case 5:
            other = dice.choice(seeds)
            return data[:at] + other[dice.randrange(len(other) + 1) :]
        case _:
            return data[:at]
