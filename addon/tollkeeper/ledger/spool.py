"""Records that could not reach the ledger: kept in a file, taken in when the ledger is back.

One file of JSON lines, each flushed to the disk before ``append`` returns, each with an id by which
it is taken in once however often that is tried:

    {"id": …, "at_ns": …, "record": {"kind": …, "actor": …, "data": {…}}}
    {"id": …, "at_ns": …, "record": {"kind": "settlement", "call": …, "settlement": {…}}}
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from tollkeeper.domain import Basis, Billing, Outcome, Settlement, Usage
from tollkeeper.errors import LedgerError, LedgerRefusal
from tollkeeper.ledger.chain import canonical
from tollkeeper.ledger.port import Ledger

FILE_NAME = "records.jsonl"

MAX_BYTES = 64 * 1024 * 1024
"""What the file may grow to; a ledger that is away for so long is not coming back by itself."""

WHOLE = Settlement(Outcome.CUT, Basis.RESERVED, None)
"""What is booked of a call whose own settlement nobody could book: all that was reserved."""

_ACTOR = "spool"


def append(folder: Path, record: Mapping[str, Any], now_ns: int) -> None:
    """Keep one record until the ledger is back; it is on the disk when this returns.

    Args:
        record: Plain JSON values, without tokens, keys or bodies.

    Raises:
        LedgerError: When it cannot be written, or the file is full.
    """
    line = canonical({"id": os.urandom(16).hex(), "at_ns": now_ns, "record": dict(record)})
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder / FILE_NAME) as handle:
            size = os.fstat(handle).st_size
            if size > MAX_BYTES:
                raise LedgerError(f"The spool in {folder} is full.")
            # A line that a crash cut short stays a line of its own.
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            data = b"\n" * torn + line.encode() + b"\n"
            if os.pwrite(handle, data, size) != len(data):
                raise LedgerError(f"The spool in {folder} has no space left.")
            os.fsync(handle)
    except OSError as e:
        raise LedgerError(f"The spool in {folder} cannot be written: {e.strerror or e}.") from e


def take_in(ledger: Ledger, folder: Path) -> int:
    """Write what was kept into the ledger and empty the file. How many lines were new.

    Nothing is lost when it breaks off: the next time goes over the same lines. That needs each line's
    own commit, so it may not run within ``group``. A line that cannot be read, or that the ledger
    will not have, is recorded by its SHA-256 and length.

    Raises:
        LedgerBusy: When another process holds the write lock.
        LedgerError: When the folder cannot be read, or the ledger not be written.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return 0
    try:
        with _locked(path) as handle:
            size = os.fstat(handle).st_size
            lines = os.pread(handle, size, 0).splitlines() if size else []
            taken = sum(_take(ledger, line) for line in lines if line.strip())
            if size:
                os.ftruncate(handle, 0)
                os.fsync(handle)
            return taken
    except OSError as e:
        raise LedgerError(f"The spool in {folder} cannot be read: {e.strerror or e}.") from e


def waiting(folder: Path) -> int:
    """How many records wait there."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            return sum(1 for line in file if line.strip())
    except FileNotFoundError:
        return 0


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, made for its owner alone, while no other process appends or empties it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _take(ledger: Ledger, line: bytes) -> bool:
    try:
        entry = json.loads(line)
        line_id, at_ns, record = str(entry["id"]), int(entry["at_ns"]), entry["record"]
        kind = str(record["kind"])
        settlement = _settlement(record["settlement"]) if kind == "settlement" else None
        call = str(record["call"]) if settlement else ""
        actor, data = str(record.get("actor", _ACTOR)), dict(record.get("data", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _give_up(ledger, line, "unreadable", 0)
    if settlement is None:
        return ledger.record_once(line_id, kind, actor, data, at_ns)
    try:
        return ledger.settle(call, settlement, at_ns)
    except LedgerRefusal as e:
        with suppress(LedgerRefusal):  # of a call that there is not
            ledger.settle(call, WHOLE, at_ns)
        return _give_up(ledger, line, str(e), at_ns)


def _give_up(ledger: Ledger, line: bytes, why: str, at_ns: int) -> bool:
    digest = hashlib.sha256(line).hexdigest()
    data = {"why": why, "sha256": digest, "bytes": len(line)}
    return ledger.record_once(digest, "spool_refused", _ACTOR, data, at_ns)


def _settlement(plain: Mapping[str, Any]) -> Settlement:
    known = {field.name for field in fields(Usage)}
    usage = {name: value for name, value in (plain.get("usage") or {}).items() if name in known}
    usage["unknown"] = tuple(usage.get("unknown", ()))
    usage["server_tools"] = tuple((name, uses) for name, uses in usage.get("server_tools", ()))
    return Settlement(
        Outcome(plain["outcome"]),
        Basis(plain["basis"]),
        plain["cost_nano_usd"],
        Usage(**usage),
        plain.get("status"),
        plain.get("note", ""),
        plain.get("notional_nano_usd"),
        Billing(plain["billing"]) if plain.get("billing") else None,
    )
