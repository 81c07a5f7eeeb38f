"""Whether the books can be believed: the chain of the record, and money that adds up.

Everything is read as one moment had it, while the proxy goes on writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tollkeeper.ledger.accounts import CREDIT, HOUR_NS, SUMS
from tollkeeper.ledger.chain import GENESIS, link
from tollkeeper.ledger.port import Ledger


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up.

    Attributes:
        check: ``chain``, ``head``, ``balance``, ``hour``, ``reservation``, ``amount``, ``cost`` or
            ``record``.
        message: What is wrong, in one sentence.
        where: The seq of the record, the id of the transfer, the call or the account.
    """

    check: str
    message: str
    where: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the record: whoever keeps it can later prove that nothing before it was changed."""

    seq: int
    hash: str


def head(ledger: Ledger) -> Head:
    """The newest record's number and hash; 0 and 64 zeros when there is none."""
    row = next(ledger.rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"), None)
    return Head(row["seq"], row["hash"]) if row else Head(0, GENESIS)


def verify(ledger: Ledger, expect_head: str | None = None) -> list[Finding]:
    """Everything that is wrong, in a fixed order; an empty list means that the books balance.

    Args:
        expect_head: A hash that ``head`` once told; it must still be in the chain, so that the
            record's end cannot have been cut off or the whole written anew since.
    """
    with ledger.reading():
        return [
            *_chain(ledger, expect_head),
            *_recorded(ledger),
            *_reservations(ledger),
            *_amounts(ledger),
            *_costs(ledger),
            *_balances(ledger),
            *_in_flight(ledger),
            *_hours(ledger),
        ]


def _chain(ledger: Ledger, expect_head: str | None) -> Iterator[Finding]:
    seq, previous, seen = 0, GENESIS, expect_head in (None, GENESIS)
    for row in ledger.rows(
        "SELECT seq, at_ns, kind, actor, call, data, previous, hash FROM audit ORDER BY seq"
    ):
        if row["seq"] != seq + 1:
            yield Finding("chain", f"Records {seq + 1} to {row['seq'] - 1} are gone.", str(seq + 1))
        elif row["previous"] != previous:
            yield Finding("chain", f"Record {row['seq']} does not follow {seq}.", str(row["seq"]))
        seq = row["seq"]
        written = link(
            row["previous"], seq, row["at_ns"], row["kind"], row["actor"], row["call"], row["data"]
        )
        if written != row["hash"]:
            yield Finding("chain", f"Record {seq} was changed after it was written.", str(seq))
        previous = row["hash"]
        seen = seen or previous == expect_head
    if not seen:
        yield Finding("head", f"No record has the hash {expect_head}.", str(expect_head))


def _recorded(ledger: Ledger) -> Iterator[Finding]:
    """The record tells of every call, and the same of it as its row."""
    told = (
        "SELECT call, sum(kind IN ('admitted', 'held', 'refused')) AS decided,"
        " sum(kind IN ('settled', 'recovered')) AS settled, sum(kind = 'left') AS went,"
        " max(CASE WHEN kind IN ('settled', 'recovered')"
        " THEN json_extract(data, '$.cost_nano_usd') END) AS cost,"
        " max(CASE WHEN kind IN ('settled', 'recovered')"
        " THEN json_extract(data, '$.notional_nano_usd') END) AS notional"
        " FROM audit WHERE call IS NOT NULL GROUP BY call"
    )
    for row in ledger.rows(
        f"WITH told AS ({told}) SELECT id, state, cost_nano_usd, decided, settled, went, cost,"
        " notional, notional_nano_usd"
        " FROM calls LEFT JOIN told ON told.call = calls.id"
        " WHERE decided IS NULL OR decided = 0 OR settled != (state = 'settled')"
        " OR (state = 'left' AND went = 0) OR cost IS NOT cost_nano_usd"
        " OR (state = 'settled' AND notional IS NOT notional_nano_usd)"
    ):
        if not row["decided"]:
            yield _of_call(row, "record", "was decided without a record")
        elif row["settled"] != (row["state"] == "settled"):
            wrong = f"is {row['state']} and was settled {row['settled']} times"
            yield _of_call(row, "record", wrong)
        elif row["cost"] != row["cost_nano_usd"]:
            wrong = f"cost {row['cost_nano_usd']}, and the record says {row['cost']}"
            yield _of_call(row, "record", wrong)
        elif row["notional"] != row["notional_nano_usd"]:
            told = f"and the record says {row['notional']}"
            wrong = f"has the notional cost {row['notional_nano_usd']}, {told}"
            yield _of_call(row, "record", wrong)
        else:
            yield _of_call(row, "record", "was left without a record")
    for row in ledger.rows(
        "SELECT DISTINCT audit.call AS id FROM audit LEFT JOIN calls ON calls.id = audit.call"
        " WHERE audit.call IS NOT NULL AND calls.id IS NULL"
    ):
        yield _of_call(row, "record", "is in the record and has no row")


_UNRESOLVED = (
    "kind = 'pending' AND transfers.id NOT IN"
    " (SELECT resolves FROM transfers WHERE resolves IS NOT NULL)"
)


def _reservations(ledger: Ledger) -> Iterator[Finding]:
    """Every reservation is resolved once, and unresolved only while its call is open."""
    for row in ledger.rows(
        "SELECT resolves AS id, count(*) AS n FROM transfers WHERE resolves IS NOT NULL"
        " GROUP BY resolves HAVING count(*) > 1"
    ):
        yield _of_transfer(row, "reservation", f"is resolved {row['n']} times")
    for row in ledger.rows(
        "SELECT done.id AS id FROM transfers AS done LEFT JOIN transfers AS pending"
        " ON pending.id = done.resolves WHERE done.kind IN ('post', 'void') AND ("
        " pending.kind IS NOT 'pending' OR pending.call IS NOT done.call"
        " OR pending.subject IS NOT done.subject OR pending.booked_ns IS NOT done.booked_ns"
        " OR pending.amount_nano_usd IS NOT done.released_nano_usd"
        " OR done.amount_nano_usd > pending.amount_nano_usd)"
    ):
        yield _of_transfer(row, "reservation", "does not match the reservation that it resolves")
    for row in ledger.rows(
        "SELECT id FROM transfers WHERE call IS NOT NULL AND call NOT IN (SELECT id FROM calls)"
    ):
        yield _of_transfer(row, "reservation", "is of a call that there is not")
    unresolved = f"SELECT call, count(*) AS n FROM transfers WHERE {_UNRESOLVED} GROUP BY call"
    for row in ledger.rows(
        f"WITH unresolved AS ({unresolved}) SELECT id, state, coalesce(n, 0) AS parts,"
        " CASE WHEN state IN ('held', 'forwarded') THEN subjects ELSE 0 END AS expected"
        " FROM calls LEFT JOIN unresolved ON unresolved.call = calls.id WHERE parts != expected"
    ):
        wrong = f"is {row['state']} with {row['parts']} open reservations, not {row['expected']}"
        yield _of_call(row, "reservation", wrong)


def _amounts(ledger: Ledger) -> Iterator[Finding]:
    for row in ledger.rows(
        "SELECT id FROM transfers WHERE released_nano_usd < 0"
        " OR (amount_nano_usd < 0 AND kind != 'correction')"
        " OR calls != CASE kind WHEN 'pending' THEN 1 WHEN 'void' THEN -1 ELSE 0 END"
    ):
        yield _of_transfer(row, "amount", "has an amount that its kind cannot have")
    for row in ledger.rows(
        "SELECT pending.id AS id FROM transfers AS pending JOIN calls ON calls.id = pending.call"
        " WHERE kind = 'pending' AND state IN ('held', 'forwarded', 'settled')"
        " AND amount_nano_usd != worst_nano_usd AND pending.id NOT IN"
        " (SELECT resolves FROM transfers WHERE kind = 'void')"
    ):
        yield _of_transfer(row, "amount", "is not what its call says was reserved")


def _costs(ledger: Ledger) -> Iterator[Finding]:
    """What a call cost is what was booked for it, on each of its subjects."""
    booked = (
        "SELECT call, subject, sum(amount_nano_usd) AS amount"
        " FROM transfers WHERE kind IN ('post', 'overrun') GROUP BY call, subject"
    )
    for row in ledger.rows(
        f"WITH booked AS ({booked}) SELECT calls.id, booked.subject, cost_nano_usd AS cost, amount"
        " FROM booked JOIN calls ON calls.id = booked.call"
        " WHERE state != 'settled' OR amount != coalesce(cost_nano_usd, 0)"
    ):
        wrong = f"cost {row['cost']}, and {row['amount']} is booked on {row['subject']}"
        yield _of_call(row, "cost", wrong)
    for row in ledger.rows(
        f"WITH booked AS ({booked}), counted AS (SELECT call, count(*) AS n FROM booked"
        " GROUP BY call) SELECT id, subjects, coalesce(n, 0) AS found"
        " FROM calls LEFT JOIN counted ON counted.call = calls.id"
        " WHERE state = 'settled' AND outcome != 'not_sent' AND found != subjects"
    ):
        wrong = f"counts on {row['subjects']} subjects and is booked on {row['found']}"
        yield _of_call(row, "cost", wrong)


def _balances(ledger: Ledger) -> Iterator[Finding]:
    """Every balance is the sum of its transfers; one pass over them for each span of time."""
    for span in ledger.rows("SELECT DISTINCT starts_ns, ends_ns FROM balances"):
        bounds = (span["starts_ns"], span["ends_ns"])
        sums = {
            row.pop("subject"): row
            for row in ledger.rows(
                f"SELECT subject, {SUMS} FROM transfers WHERE booked_ns >= ? AND booked_ns < ?"
                " AND credit_window IS NULL GROUP BY subject",
                bounds,
            )
        }
        for row in ledger.rows(
            "SELECT * FROM balances WHERE starts_ns = ? AND ends_ns = ?", bounds
        ):
            account = (row["subject"], row["window"], row["starts_ns"])
            credit = next(ledger.rows(CREDIT, account))
            yield from _balance(row, {**_NOTHING, **sums.get(row["subject"], {}), **credit})
    for row in ledger.rows(
        "SELECT DISTINCT subject FROM transfers WHERE credit_window IS NULL AND subject NOT IN"
        " (SELECT subject FROM balances WHERE window = 'total')"
    ):
        yield Finding("balance", f"{row['subject']} has transfers and no total.", row["subject"])


def _in_flight(ledger: Ledger) -> Iterator[Finding]:
    """Every subject has as many calls in flight as are forwarded and not resolved."""
    flying = (
        "SELECT subject, count(*) AS n FROM transfers JOIN calls ON calls.id = transfers.call"
        f" WHERE {_UNRESOLVED} AND calls.state = 'forwarded' GROUP BY subject"
    )
    for row in ledger.rows(
        f"WITH flying AS ({flying}) SELECT subject, sum(in_flight) AS said, coalesce(n, 0) AS n"
        " FROM balances LEFT JOIN flying USING (subject) GROUP BY subject HAVING said != n"
    ):
        wrong = f"{row['subject']} has {row['said']} calls in flight, and {row['n']} are forwarded."
        yield Finding("balance", wrong, row["subject"])


def _hours(ledger: Ledger) -> Iterator[Finding]:
    """Whatever was booked in an hour is found from the hour's first transfer on."""
    booked = (
        f"SELECT booked_ns / {HOUR_NS} AS hour, min(id) AS id FROM transfers"
        " WHERE credit_window IS NULL GROUP BY 1"
    )
    for row in ledger.rows(
        f"WITH booked AS ({booked}) SELECT id FROM booked LEFT JOIN transfer_hours USING (hour)"
        " WHERE first IS NULL OR first > id"
    ):
        yield _of_transfer(row, "hour", "is not found by the hour that it was booked in")


_NOTHING = {"spent": 0, "reserved": 0, "calls": 0}


def _balance(row: Mapping[str, Any], sums: Mapping[str, int]) -> Iterator[Finding]:
    place = f"{row['subject']} {row['window']} {row['starts_ns']}"
    for name, total in sums.items():
        said = row["calls" if name == "calls" else f"{name}_nano_usd"]
        if said != total:
            wrong = f"{place}: {name} is {said}, and the transfers come to {total}."
            yield Finding("balance", wrong, place)


def _of_call(row: Mapping[str, Any], check: str, wrong: str) -> Finding:
    return Finding(check, f"Call {row['id']} {wrong}.", str(row["id"]))


def _of_transfer(row: Mapping[str, Any], check: str, wrong: str) -> Finding:
    return Finding(check, f"Transfer {row['id']} {wrong}.", str(row["id"]))
