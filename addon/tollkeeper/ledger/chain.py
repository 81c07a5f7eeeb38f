"""The proof of the record: each row's hash covers the row before, so none can be edited unseen.

    hash = SHA-256( previous hash, a newline, canonical JSON of [seq, at_ns, kind, actor, call, data] )

Hashes are lower-case hex, in ASCII. Canonical JSON has sorted keys, no spaces, and ASCII only, so
anyone can recompute it from an export with ten lines of any language.
"""

from __future__ import annotations

import hashlib
import json
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from tollkeeper.canonical import canonical_encoder

GENESIS = "0" * 64
"""What stands for the row before the first."""

canonical = canonical_encoder(ascii_only=True)
"""Canonical JSON of plain values."""


def decoded(data: str) -> dict[str, Any]:
    """A row's data; ``{"damaged": …}`` with what stands there where somebody edited it to no object."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"damaged": data}


def link(
    previous: str, seq: int, at_ns: int, kind: str, actor: str, call: str | None, data: str
) -> str:
    """The hash of one row.

    Args:
        previous: The hash of row ``seq - 1``, ``GENESIS`` for the first.
        data: Canonical JSON already; it goes into the array as it stands.
    """
    about = "null" if call is None else _quoted(call)
    row = f"[{seq},{at_ns},{_quoted(kind)},{_quoted(actor)},{about},{data}]"
    return hashlib.sha256(f"{previous}\n{row}".encode()).hexdigest()
