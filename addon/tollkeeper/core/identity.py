"""Names, tokens, ids and seals: pure functions over bytes and text.

Randomness and time are arguments where an id is made of them, except in ``new_token``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from tollkeeper.domain import NS_PER_SECOND

TOKEN_PREFIX: Final = "tk_"  # noqa: S105 - the prefix that lets scanners find leaked tokens
RESERVED: Final = frozenset({"default", "anonymous"})
MAX_NAME: Final = 64
MAX_LABEL: Final = 64

CODE_STEP_NS: Final = 60 * NS_PER_SECOND
"""An operator's code is good in the minute that it was made in, and in the next."""

_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME}}}", re.ASCII)
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_TWO_DIGITS = [high + low for high in _DIGITS for low in _DIGITS]
_SHIFTS = range(120, -1, -10)  # the library's base32 takes ten times as long
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_token() -> str:
    """A fresh token: ``tk_`` and 256 random bits as 43 characters of URL-safe base64."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_sha256(token: str) -> str:
    """What is stored of a token: the hex SHA-256 of its text.

    A token has 256 random bits, so a plain fast hash cannot be searched backwards.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def valid_name(name: str) -> bool:
    """Whether ``name`` may name an agent, team or run.

    1 to 64 of ``[A-Za-z0-9._-]``, so never ``~`` or ``:``, which separate the parts of proxy
    credentials; ``default`` and ``anonymous`` mean something to the policy.
    """
    return _NAME.fullmatch(name) is not None and name not in RESERVED


def split_user(user: str) -> tuple[str, str | None]:
    """Take ``AGENT~LABEL`` apart; the label is None when there is none.

    What is no name character in a label becomes ``-`` and the rest beyond 64 is cut, because a
    label only groups and must never be a reason to refuse. The agent part is returned as it came.
    """
    agent, tilde, label = user.partition("~")
    clean = re.sub(r"[^A-Za-z0-9._-]", "-", label)[:MAX_LABEL]
    return agent, clean if tilde and clean else None


def new_call_id(now_ns: int, random16: bytes) -> str:
    """An id for a call: ``call_`` and 26 base32 characters that sort by time (ULID's layout).

    Args:
        random16: At least 10 random bytes; the first 10 are used.
    """
    number = (now_ns // 1_000_000 << 80 | int.from_bytes(random16[:10])) << 2
    return "call_" + "".join([_TWO_DIGITS[number >> shift & 1023] for shift in _SHIFTS])


def new_approval_id(random: bytes) -> str:
    """An id for an approval: 10 lower-case base32 characters of 50 random bits.

    Random from its first character on, so that a person can name it by a short prefix.

    Args:
        random: At least 7 random bytes.
    """
    return base64.b32encode(random[:7]).decode("ascii")[:10].lower()


def seal(
    operator_key: bytes,
    approval_id: str,
    digest: str,
    answer: str,
    by: str,
    note: str,
    at_ns: int,
    origin: str = "cli",
) -> str:
    """Bind a verdict to everything it says and to the call that the person saw.

    Returns:
        Hex HMAC-SHA256. Every part is preceded by its length, so no two verdicts read alike.
    """
    mac = hmac.new(operator_key, b"tollkeeper verdict 1", hashlib.sha256)
    for part in (approval_id, digest, answer, by, note, str(at_ns), origin):
        data = part.encode("utf-8", "surrogatepass")
        mac.update(len(data).to_bytes(8, "big") + data)
    return mac.hexdigest()


def new_operator_code(operator_key: bytes, random: bytes, now_ns: int) -> str:
    """A code that proves its bearer to be the operator, for a minute or two: ``k7qf-2m9x-h3aa``.

    It is made of the operator's key and the time alone, so that whoever may read the key can make one
    and whoever has the key can check it, without a word between the two.

    Args:
        random: At least 3 random bytes, so that two codes of one minute differ.
    """
    nonce = base64.b32encode(random[:3].ljust(5, b"\0")).decode("ascii")[:4].lower()
    code = nonce + _code_proof(operator_key, nonce, now_ns // CODE_STEP_NS)
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))


def operator_code(operator_key: bytes, typed: str, now_ns: int) -> str | None:
    """The code in its one spelling if it is genuine and of this minute or the last, else None.

    Case, hyphens and spaces do not matter, as people type it.
    """
    code = re.sub(r"[\s-]", "", typed).lower()
    this = now_ns // CODE_STEP_NS
    given = code[4:].encode("utf-8", "surrogatepass")
    genuine = [
        hmac.compare_digest(_code_proof(operator_key, code[:4], step).encode(), given)
        for step in (this, this - 1)
    ]
    return code if any(genuine) else None


def _code_proof(operator_key: bytes, nonce: str, step: int) -> str:
    said = f"tollkeeper operator code 1 {step} ".encode() + nonce.encode("utf-8", "surrogatepass")
    mac = hmac.new(operator_key, said, hashlib.sha256).digest()
    return base64.b32encode(mac[:5]).decode("ascii").lower()


def day_run(agent: str, now_ns: int, timezone: str) -> str:
    """The run of calls that name none: one per agent and calendar day, ``atlas:2026-11-21``."""
    instant = _EPOCH + timedelta(seconds=now_ns // NS_PER_SECOND)
    return f"{agent}:{instant.astimezone(ZoneInfo(timezone)):%Y-%m-%d}"


def label_run(agent: str, label: str) -> str:
    """The run that a label groups under: ``atlas~nightly``; never the id of a minted run."""
    return f"{agent}~{label}"
