"""The row of each call: what it was admitted as, and what has become of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tollkeeper.domain import Billing, Decision, Effect, Principal, Settlement
from tollkeeper.ledger.chain import canonical
from tollkeeper.ledger.file import Connection
from tollkeeper.ledger.port import Case

STATES = {Effect.ALLOW: "forwarded", Effect.CHANGE: "forwarded", Effect.HOLD: "held",
          Effect.DENY: "refused"}  # fmt: skip
"""The state that an admission of each effect puts a call into."""

_ADMITTED = (
    "id, at_ns, booked_ns, agent, team, run, provider, model, operation, stream, state, effect,"
    " codes, subjects, worst_nano_usd, expected_nano_usd, bound_input_tokens, bound_output_tokens,"
    " settled_ns, price_source, approval, consumed, model_key, prefix, owner, rated, reservation,"
    " billing, notional_nano_usd"
)
_COLUMNS = _ADMITTED.split(", ")
_INSERT = f"INSERT INTO calls ({_ADMITTED}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_UPSERT = f"{_INSERT} ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS if name not in ("id", "at_ns")
)

_OPEN = (
    "id, state, agent, booked_ns, subjects, reservation, worst_nano_usd, bound_input_tokens, bound_output_tokens,"
    " expected_nano_usd, price_source, approval, model_key, prefix, owner, rated, billing, notional_nano_usd"
)


class OpenCall(NamedTuple):
    """What later steps need of a call that was admitted."""

    id: str
    state: str
    agent: str
    booked_ns: int
    subjects: int
    reservation: int | None
    worst_nano_usd: int
    bound_input_tokens: int
    bound_output_tokens: int
    expected_nano_usd: int | None
    price_source: str | None
    approval: str | None
    model_key: str
    prefix: str | None
    owner: str
    rated: int
    billing: str
    notional_nano_usd: int | None

    @property
    def whole_nano_usd(self) -> int | None:
        """What it is booked at when nothing better is known; None when its worst case is not known either."""
        known = self.price_source is not None and self.expected_nano_usd is not None
        return self.worst_nano_usd if known or self.worst_nano_usd else None

    @property
    def reserved(self) -> range:
        """The ids of its pending transfers, one for each subject."""
        first = self.reservation or 0
        return range(first, first + self.subjects)


def counted_on(decision: Decision) -> tuple[Sequence[str], int]:
    """On whom an admission counts, those first on whose rates it does, and how many these are."""
    subjects = decision.subjects
    if decision.effect is Effect.DENY:
        return (), 0
    if decision.effect is Effect.HOLD:
        return subjects, 0
    rated = decision.rated
    if rated is None:
        return subjects, len(subjects)
    return (*rated, *(one for one in subjects if one not in rated)), len(rated)


def find(connection: Connection, call: str) -> OpenCall | None:
    """The call in whatever state, or None."""
    known: OpenCall | None = connection.known.pop(call, None)  # once: its state is to change now
    if known is not None:
        return known
    row = connection.execute(f"SELECT {_OPEN} FROM calls WHERE id = ?", (call,)).fetchone()
    return OpenCall(*row) if row else None


def open_calls(connection: Connection) -> Iterator[OpenCall]:
    """All that are held or forwarded."""
    rows = connection.execute(f"SELECT {_OPEN} FROM calls WHERE state IN ('held', 'forwarded')")
    return iter([OpenCall(*row) for row in rows.fetchall()])


def write_admitted(
    connection: Connection,
    call: str,
    case: Case,
    principal: Principal,
    decision: Decision,
    subjects: int,
    rated: int,
    reservation: int | None,
    facts: Mapping[str, Any],
    approval: str | None,
    owner: str,
    now_ns: int,
    *,
    again: bool,
) -> None:
    """Write what was decided; a call admitted again keeps its id and its first time.

    Args:
        reservation: The first of its pending transfers, one for each of the subjects.
    """
    state = STATES[decision.effect]
    prefix = next(iter(case.prefixes), None)
    metered = decision.billing is Billing.METERED or state == "refused"
    notional = None if metered else decision.worst_nano_usd
    connection.execute(
        _UPSERT if again else _INSERT,
        (
            call, now_ns, now_ns, principal.agent, facts.get("team"), principal.run,
            facts.get("provider"), facts.get("model"), facts.get("operation"),
            int(bool(facts.get("stream"))), state, decision.effect.name.lower(),
            canonical([reason.code for reason in decision.reasons]) if decision.reasons else "[]",
            subjects, decision.reserve_nano_usd,
            decision.expected_nano_usd, decision.bound_input_tokens, decision.bound_output_tokens,
            now_ns if state == "refused" else None, decision.price_source, approval,
            decision.consumes, case.model_key, prefix, owner, rated, reservation,
            decision.billing.value, notional,
        ),
    )  # fmt: skip
    if state != "refused":
        opened = OpenCall(
            call, state, principal.agent, now_ns, subjects, reservation,
            decision.reserve_nano_usd, decision.bound_input_tokens, decision.bound_output_tokens,
            decision.expected_nano_usd, decision.price_source, approval, case.model_key, prefix, owner, rated,
            decision.billing.value, notional,
        )  # fmt: skip
        connection.keep(call, opened)


def write_settled(
    connection: Connection,
    call: str,
    settlement: Settlement,
    cost_nano_usd: int | None,
    now_ns: int,
    *,
    billing: str,
    notional_nano_usd: int | None,
) -> None:
    """Write what the call came to, and who pays for it."""
    usage = settlement.usage
    connection.execute(
        "UPDATE calls SET state = 'settled', cost_nano_usd = ?, basis = ?, outcome = ?, status = ?,"
        " input_tokens = ?, output_tokens = ?, cache_read_input_tokens = ?,"
        " cache_write_input_tokens = ?, reasoning_output_tokens = ?, settled_ns = ?,"
        " billing = ?, notional_nano_usd = ? WHERE id = ?",
        (
            cost_nano_usd, settlement.basis.value, settlement.outcome.value, settlement.status,
            usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens,
            usage.cache_write_input_tokens, usage.reasoning_output_tokens, now_ns,
            billing, notional_nano_usd, call,
        ),
    )  # fmt: skip


def write_left(connection: Connection, call: str, now_ns: int) -> None:
    """Write that a held call ended without an answer."""
    connection.execute(
        "UPDATE calls SET state = 'left', settled_ns = ? WHERE id = ?", (now_ns, call)
    )
