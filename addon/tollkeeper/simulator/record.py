"""What the simulated providers received, sent and billed."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tollkeeper.domain import Dialect, Usage
from tollkeeper.simulator.http1 import Received

_MOST_CALLS = 20_000
_MOST_SENDS = 10_000
_MOST_BODY_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Billed:
    """What one call has been billed so far; grows while a stream is generated.

    Attributes:
        whole: What the complete answer would bill.
        output_tokens: Generated so far.
    """

    whole: Usage
    output_tokens: int = 0

    @property
    def usage(self) -> Usage:
        """As of now; reasoning comes first, so that a cut answer has had all of it."""
        reasoning = min(self.whole.reasoning_output_tokens, self.output_tokens)
        return replace(
            self.whole, output_tokens=self.output_tokens, reasoning_output_tokens=reasoning
        )


@dataclass(slots=True)
class CallRecord:
    """One request and what became of it.

    Attributes:
        host: From the ``Host`` header, lower-cased, without port.
        server_name: From the TLS hello.
        connection: A number for the TCP connection that it came on.
        sends: ``(ns, bytes)`` of each write of the answer's body, in order.
        outcome: ``open``, ``complete``, ``client_gone`` or ``cut``.
    """

    serial: int
    host: str
    server_name: str | None
    connection: int
    received: Received
    dialect: Dialect | None = None
    billed: Billed | None = None
    status: int | None = None
    sends: list[tuple[int, int]] = field(default_factory=list)
    bytes_sent: int = 0
    outcome: str = "open"

    def sent(self, at_ns: int, size: int) -> None:
        """Notes one write."""
        self.bytes_sent += size
        if len(self.sends) < _MOST_SENDS:
            self.sends.append((at_ns, size))

    def as_json(self) -> dict[str, Any]:
        """As ``GET /calls`` shows it."""
        body = self.received.body
        return {
            "serial": self.serial,
            "host": self.host,
            "server_name": self.server_name,
            "connection": self.connection,
            "method": self.received.method,
            "target": self.received.target,
            "path": self.received.path,
            "head_base64": base64.b64encode(self.received.head).decode(),
            "headers": [list(header) for header in self.received.headers],
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "body_base64": base64.b64encode(body).decode(),
            "received_ns": self.received.received_ns,
            "dialect": self.dialect,
            "status": self.status,
            "outcome": self.outcome,
            "bytes_sent": self.bytes_sent,
            "sends": [list(send) for send in self.sends],
            "billed": asdict(self.billed.usage) if self.billed else None,
        }


class Records:
    """Every call, oldest first; the oldest go when there are too many or they are too big."""

    def __init__(self) -> None:
        self._calls: deque[CallRecord] = deque(maxlen=_MOST_CALLS)
        self._body_bytes = 0
        self._open_models = 0
        self.peak = 0
        self.total = 0

    def __iter__(self) -> Iterator[CallRecord]:
        return iter(list(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: CallRecord) -> None:
        """Takes a call in."""
        self.total += 1
        self._calls.append(call)
        self._body_bytes += len(call.received.body)
        while self._body_bytes > _MOST_BODY_BYTES and len(self._calls) > 1:
            self._body_bytes -= len(self._calls.popleft().received.body)

    def began(self, call: CallRecord) -> None:
        """Counts a model call that is now being answered."""
        self._open_models += call.dialect is not None
        self.peak = max(self.peak, self._open_models)

    def ended(self, call: CallRecord) -> None:
        """Counts it out again."""
        self._open_models -= call.dialect is not None

    def clear(self) -> None:
        """Forgets everything but what is open now."""
        self._calls.clear()
        self._body_bytes = self.total = 0
        self.peak = self._open_models

    def bill(self) -> dict[str, Any]:
        """Totals of what was billed, all calls and by model, cut streams included."""
        totals: Counter[str] = Counter()
        models: dict[str, Counter[str]] = {}
        for call in self._calls:
            if call.billed is None:
                continue
            usage = call.billed.usage
            counts = Counter(
                {name: value for name, value in asdict(usage).items() if isinstance(value, int)}
            )
            counts["calls"] = 1
            totals.update(counts)
            models.setdefault(usage.model or "", Counter()).update(counts)
        return {
            "received": self.total,
            "calls": totals.pop("calls", 0),
            "peak_concurrent": self.peak,
            "usage": dict(totals),
            "models": {name: dict(counts) for name, counts in models.items()},
        }
