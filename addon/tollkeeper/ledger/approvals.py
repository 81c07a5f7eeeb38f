"""Questions put to a person, and the sealed answers to them.

What counts is the seal of a verdict, checked here each time with the operator's key. A row in the
database alone, whoever wrote it, approves nothing: it is ignored, and recorded once.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tollkeeper.core.identity import seal
from tollkeeper.domain import NS_PER_SECOND, Approval, Verdict
from tollkeeper.errors import ApprovalError
from tollkeeper.ledger.chain import canonical
from tollkeeper.ledger.file import Connection, marks
from tollkeeper.ledger.journal import Journal, append

FETCH_NS = 3600 * NS_PER_SECOND
"""How long an approved call may take to be sent again before its approval lapses."""

REJECTED_NS = 600 * NS_PER_SECOND
"""How long a rejection holds for the same call, so that a loop cannot wear a person out."""

_ASKED_AT_ONCE = 500  # below SQLite's oldest limit of 999 variables in a statement

_SELECT = """
    SELECT a.id, a.digest, a.agent, a.run, a.rule, a.state, a.summary, a.created_ns, a.lapses_ns,
           (SELECT count(*) FROM calls WHERE calls.approval = a.id AND calls.state = 'held'),
           v.answer, v.given_by, v.note, v.at_ns, v.seal, v.origin, v.forged
    FROM approvals AS a LEFT JOIN verdicts AS v ON v.approval = a.id
"""

_MAY_BE_DECIDED = "(v.answer IS NOT NULL OR a.state IN ('used', 'lapsed'))"
"""Of a thousand who wait few are decided at a time; the others need not be read to know that."""

_NEWEST = """
    SELECT (SELECT id FROM approvals WHERE agent = ?1 AND digest = ?2 AND state != 'used'
            ORDER BY created_ns DESC LIMIT 1),
           (SELECT coalesce(sum(max(digest != ?2, (SELECT count(*) FROM calls
                WHERE calls.approval = approvals.id AND calls.state = 'held'))), 0)
            FROM approvals WHERE {whose} AND state = 'open')
"""
_NEWEST_ALONE = _NEWEST.format(whose="agent = ?1")
# From those who ask up to their roots: a root has many children that ended, few that ask.
_NEWEST_OF_FAMILY = _NEWEST.format(
    whose="""agent IN (
        SELECT asking.agent FROM
            (SELECT DISTINCT agent FROM approvals WHERE state = 'open') AS asking
        WHERE ?3 IN (
            WITH RECURSIVE lineage(name) AS (
                VALUES (asking.agent) UNION
                SELECT parent FROM agents JOIN lineage USING (name) WHERE parent IS NOT NULL
            )
            SELECT name FROM lineage))"""
)


class Approvals(Journal):
    """The part of the ledger that holds are kept in."""

    _operator_key: bytes | None

    def verdicts(self, approvals: Sequence[str]) -> Mapping[str, Approval]:
        """Those of the given approvals that are no longer open."""
        answered: dict[str, Approval] = {}
        for start in range(0, len(approvals), _ASKED_AT_ONCE):
            some = approvals[start : start + _ASKED_AT_ONCE]
            among = f"a.id IN ({marks(len(some))})"
            for row in self._read(f"{_SELECT} WHERE {among} AND {_MAY_BE_DECIDED}", some):
                approval = self._shown(row)
                if approval.state != "open":
                    answered[approval.id] = approval
        return answered

    def approvals(self, *, open_only: bool = True) -> list[Approval]:
        """Oldest first."""
        where = "WHERE a.state IN ('open', 'approved', 'rejected')" if open_only else ""
        shown = [self._shown(row) for row in self._read(f"{_SELECT} {where} ORDER BY a.created_ns")]
        return [a for a in shown if a.state == "open"] if open_only else shown

    def approval(self, prefix: str) -> Approval:
        """By a unique prefix of its id; ``ApprovalError`` when none or several match."""
        rows = self._read(
            f"{_SELECT} WHERE substr(a.id, 1, ?) = ? ORDER BY length(a.id), a.id LIMIT 9",
            (len(prefix), prefix),
        )
        if not prefix or not rows:
            raise ApprovalError(
                f"There is no approval {prefix!r}: see `tollkeeper approval list --all`."
            )
        if len(rows) > 1 and rows[0][0] != prefix:
            names = ", ".join(row[0] for row in rows)
            raise ApprovalError(f"{prefix!r} is the beginning of several approvals: {names}.")
        return self._shown(rows[0])

    def approval_body(self, approval: str) -> bytes:
        """What the person is shown; ``ApprovalError`` when there is no such approval."""
        rows = self._read("SELECT body FROM approvals WHERE id = ?", (approval,))
        if not rows:
            raise ApprovalError(f"There is no approval {approval!r}.")
        return bytes(rows[0][0])

    def give_verdict(self, verdict: Verdict) -> Approval:
        """The first verdict wins; ``ApprovalError`` tells the second who was first and when."""
        if verdict.answer not in ("approved", "rejected"):
            raise ApprovalError(f"A verdict is approved or rejected, not {verdict.answer!r}.")
        with self.transaction() as connection:
            row = connection.execute(f"{_SELECT} WHERE a.id = ?", (verdict.approval,)).fetchone()
            if row is None:
                raise ApprovalError(f"There is no approval {verdict.approval!r}.")
            before = self._shown(row)
            if before.state != "open" or before.lapses_ns <= verdict.at_ns:
                raise ApprovalError(_too_late(before, verdict.at_ns))
            if self._operator_key is not None and not self._genuine(before, verdict):
                raise ApprovalError("The verdict is not sealed with this operator's key.")
            self._note_forgery(connection, row, verdict.at_ns)
            connection.execute(
                "INSERT OR REPLACE INTO verdicts (approval, answer, given_by, note, at_ns, seal, origin)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (verdict.approval, verdict.answer, verdict.by, verdict.note, verdict.at_ns,
                 verdict.seal, verdict.origin),
            )  # fmt: skip
            after = _answered(before, verdict)
            _store_state(connection, after)
            data = {"approval": after.id, "answer": verdict.answer, "note": verdict.note,
                    "agent": after.agent, "rule": after.rule,
                    "origin": verdict.origin}  # fmt: skip
            append(connection, "verdict", verdict.by, None, data, verdict.at_ns)
            return after

    def lapse(self, now_ns: int) -> int:
        """Lapse approvals whose time is over. How many."""
        due = "WHERE a.state IN ('open', 'approved') AND a.lapses_ns <= ?"
        if not self._read(f"SELECT 1 FROM approvals AS a {due} LIMIT 1", (now_ns,)):
            return 0
        with self.transaction() as connection:
            rows = connection.execute(f"{_SELECT} {due}", (now_ns,)).fetchall()
            judged = [self._judged(connection, row, now_ns) for row in rows]
            return sum(approval.state == "lapsed" for approval in judged)

    # ---- for admission

    def _newest(
        self, connection: Connection, lineage: Sequence[str], digest: str, now_ns: int
    ) -> tuple[Approval | None, int]:
        """What a new call of this digest meets, and how many others of the agent wait.

        It meets what is open, approved, or a rejection that still holds. For the number see
        ``Snapshot.open_holds``; for a child its whole family's count.
        """
        agent, root = lineage[0], lineage[-1]
        if root == agent:
            if not _was_asked(connection, agent):
                return None, 0
            row = connection.execute(_NEWEST_ALONE, (agent, digest)).fetchone()
        else:
            row = connection.execute(_NEWEST_OF_FAMILY, (agent, digest, root)).fetchone()
        found, others = row
        return self._met(connection, found, now_ns) if found and digest else None, others

    def _met(self, connection: Connection, approval: str, now_ns: int) -> Approval | None:
        row = connection.execute(f"{_SELECT} WHERE a.id = ?", (approval,)).fetchone()
        judged = self._judged(connection, row, now_ns)
        forgotten = judged.state == "rejected" and judged.lapses_ns <= now_ns
        return None if forgotten or judged.state == "lapsed" else judged

    def _by_id(self, connection: Connection, approval: str, now_ns: int) -> Approval | None:
        """What a held call meets that asks again: the answer to its own question, unless used up."""
        row = connection.execute(f"{_SELECT} WHERE a.id = ?", (approval,)).fetchone()
        if row is None:
            return None
        judged = self._judged(connection, row, now_ns)
        return None if judged.state == "used" else judged

    def _judged(self, connection: Connection, row: tuple[Any, ...], now_ns: int) -> Approval:
        """The approval by its seal and the clock; what the row said otherwise is put right."""
        approval, verdict, stored = _read_row(row)
        if stored in ("used", "lapsed"):
            return approval
        approval = replace(approval, state="open", verdict=None)
        if verdict is not None and self._genuine(approval, verdict):
            approval = _answered(approval, verdict)
        else:
            self._note_forgery(connection, row, now_ns)
        if approval.state in ("open", "approved") and approval.lapses_ns <= now_ns:
            approval = replace(approval, state="lapsed")
            data = {"approval": approval.id, "agent": approval.agent, "rule": approval.rule}
            append(connection, "lapsed", "tollkeeper", None, data, now_ns)
        if approval.state != stored:
            _store_state(connection, approval)
        return approval

    def _note_forgery(self, connection: Connection, row: tuple[Any, ...], now_ns: int) -> None:
        approval, verdict, _ = _read_row(row)
        if self._operator_key is None or verdict is None or row[-1]:
            return
        connection.execute("UPDATE verdicts SET forged = 1 WHERE approval = ?", (approval.id,))
        data = {"approval": approval.id, "answer": verdict.answer, "said_by": verdict.by}
        append(connection, "forged_verdict", "tollkeeper", None, data, now_ns)

    def _genuine(self, approval: Approval, verdict: Verdict) -> bool:
        if self._operator_key is None:
            return False
        expected = seal(
            self._operator_key, approval.id, approval.digest, verdict.answer, verdict.by,
            verdict.note, verdict.at_ns, verdict.origin,
        )  # fmt: skip
        return hmac.compare_digest(expected.encode(), verdict.seal.encode())

    def _shown(self, row: tuple[Any, ...]) -> Approval:
        """For eyes and for waking up; without the operator's key the row is taken at its word."""
        approval, verdict, stored = _read_row(row)
        if verdict is None or stored == "lapsed":
            state = stored if stored in ("used", "lapsed") else "open"
            return replace(approval, state=state, verdict=None)
        if self._operator_key is not None and not self._genuine(approval, verdict):
            return replace(approval, state="used" if stored == "used" else "open", verdict=None)
        answered = _answered(approval, verdict)
        return replace(answered, state="used") if stored == "used" else answered


# ------------------------------------------------------------------ within a transaction


def ask(connection: Connection, approval: Approval, body: bytes) -> None:
    """Open a new approval."""
    connection.execute(
        "INSERT INTO approvals VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?)",
        (approval.id, approval.digest, approval.agent, approval.run, approval.rule,
         canonical(dict(approval.summary)), body, approval.created_ns, approval.lapses_ns),
    )  # fmt: skip
    connection.keep(("asked", approval.agent), True)


def _was_asked(connection: Connection, agent: str) -> bool:
    """Whether anybody was ever asked about a call of this agent."""
    known: bool | None = connection.known.get(("asked", agent))
    if known is None:
        sql = "SELECT EXISTS (SELECT 1 FROM approvals WHERE agent = ?)"
        (found,) = connection.execute(sql, (agent,)).fetchone()
        known = connection.keep(("asked", agent), bool(found))
    return known


def use_up(connection: Connection, approval: str) -> None:
    """The verdict has released its one forward."""
    connection.execute("UPDATE approvals SET state = 'used' WHERE id = ?", (approval,))


def _answered(approval: Approval, verdict: Verdict) -> Approval:
    kept_ns = FETCH_NS if verdict.answer == "approved" else REJECTED_NS
    return replace(
        approval, state=verdict.answer, verdict=verdict, lapses_ns=verdict.at_ns + kept_ns
    )


def _store_state(connection: Connection, approval: Approval) -> None:
    connection.execute(
        "UPDATE approvals SET state = ?, lapses_ns = ? WHERE id = ?",
        (approval.state, approval.lapses_ns, approval.id),
    )


def _read_row(row: tuple[Any, ...]) -> tuple[Approval, Verdict | None, str]:
    """From ``_SELECT``: the approval as stored, its verdict as stored, the stored state."""
    approval_id, digest, agent, run, rule, state, summary, created_ns, lapses_ns, waiting = row[:10]
    answer, by, note, at_ns, verdict_seal, origin, _ = row[10:]
    verdict = (
        Verdict(approval_id, answer, by, note, at_ns, verdict_seal, origin) if answer else None
    )
    approval = Approval(
        approval_id, digest, agent, run, rule, state, json.loads(summary), created_ns, lapses_ns,
        waiting, verdict,
    )  # fmt: skip
    return approval, verdict, state


def _too_late(approval: Approval, at_ns: int) -> str:
    verdict = approval.verdict
    if verdict is not None:
        seconds = max(0, at_ns - verdict.at_ns) // NS_PER_SECOND
        return (
            f"{approval.id} was {verdict.answer} by {verdict.by} {seconds} s ago: the first counts."
        )
    return f"{approval.id} has lapsed: the call must be sent again."
