"""Answering held calls from mitmweb: who may, for how long, and the commands.

mitmweb's token shows and marks flows; it answers nothing. The operator proves himself with a code that
``tollkeeper approval code`` makes of the operator's key: good once, for a minute or two. It answers one
held call by a command, or opens the cockpit page for a while. The page keeps its secret for itself and
not in a cookie, which every other server on the same machine would be sent.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque

from mitmproxy import command, exceptions

from tollkeeper.core.identity import CODE_STEP_NS, operator_code, seal
from tollkeeper.domain import NS_PER_SECOND, Approval, Verdict
from tollkeeper.errors import ApprovalError, LedgerError
from tollkeeper.home import operator_name
from tollkeeper.proxy.station import Station
from tollkeeper.proxy.waiting_room import WaitingRoom

ORIGIN = "mitmweb"

SESSION_NS = 15 * 60 * NS_PER_SECOND
"""How long the cockpit stays open for the page that a code was typed into."""

MOST_SESSIONS = 8

MOST_WRONG = 5
"""Wrong codes a minute; a code has 40 bits, so that guessing one would take ten thousand years."""


class Unproven(ApprovalError):
    """Nobody has proved to be the operator; the message says what to do."""


class Answering:
    """Knows who has proved to be the operator, and gives his verdicts."""

    def __init__(self, station: Station, room: WaitingRoom) -> None:
        """Nobody has proved anything."""
        self.station = station
        self.waiting_room = room
        self.key = station.home.read_operator_key()
        self.used: dict[str, int] = {}
        self.wrong: deque[int] = deque(maxlen=MOST_WRONG)
        self.sessions: dict[str, int] = {}

    # ------------------------------------------------------------------ proving to be the operator

    def genuine(self, typed: str) -> str:
        """The code in its one spelling, which ``use`` is to be told when it has served.

        Raises:
            Unproven: When it is wrong, too old or used, or there were too many wrong ones.
        """
        now_ns = self.station.now_ns()
        if len(self.wrong) == MOST_WRONG and now_ns - self.wrong[0] < 60 * NS_PER_SECOND:
            raise Unproven("Too many wrong codes: wait a minute, or answer with the command line.")
        self.used = {code: at for code, at in self.used.items() if now_ns - at < 2 * CODE_STEP_NS}
        code = operator_code(self.key, typed, now_ns)
        if code is None or code in self.used:
            self.wrong.append(now_ns)
            what = "was used already" if code else "is wrong or too old"
            raise Unproven(f"The code {what}: make a new one with `tollkeeper approval code`.")
        return code

    def use(self, code: str) -> None:
        """A code has served and is good for nothing more."""
        self.used[code] = self.station.now_ns()

    def open_session(self, typed: str) -> tuple[str, int]:
        """A secret that answers until the given time, for whoever typed a genuine code.

        Raises:
            Unproven: As ``genuine``.
        """
        self.use(self.genuine(typed))
        secret, ends_ns = secrets.token_urlsafe(32), self.station.now_ns() + SESSION_NS
        while len(self.sessions) >= MOST_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        self.sessions[_digest(secret)] = ends_ns
        return secret, ends_ns

    def demand_session(self, secret: str) -> None:
        """Nothing, for whoever has an open session.

        Raises:
            Unproven: For everybody else.
        """
        # Looked up by its hash, so that how long it takes tells nothing about the secret.
        if self.sessions.get(_digest(secret), 0) <= self.station.now_ns():
            raise Unproven("Unlock the cockpit first, with a code of `tollkeeper approval code`.")

    def close_session(self, secret: str) -> None:
        """Lock the cockpit again."""
        self.sessions.pop(_digest(secret), None)

    # ---------------------------------------------------------------------------------- answering

    def verdict(self, found: Approval, answer: str, note: str) -> Verdict:
        """A sealed one, with its origin. The caller has proved to be the operator."""
        at_ns, by = self.station.now_ns(), operator_name()
        sealed = seal(self.key, found.id, found.digest, answer, by, note, at_ns, ORIGIN)
        return Verdict(found.id, answer, by, note, at_ns, sealed, ORIGIN)

    async def answer(self, approval: str, digest: str, answer: str, note: str) -> Approval:
        """Give a verdict on what the operator was shown, and wake who waits for it.

        Raises:
            ApprovalError: When it is unknown, another call, answered already or lapsed.
            LedgerError: When the ledger cannot be written.
        """
        ledger = self.station.ledger
        found = ledger.approval(approval)
        if found.digest != digest:
            raise ApprovalError(f"{approval} is not the call that was shown.")
        verdict = self.verdict(found, answer, note)
        given = await self.station.write(lambda: ledger.give_verdict(verdict))
        self.waiting_room.look()
        return given

    def answer_now(self, approval: str, typed: str, answer: str, note: str) -> str:
        """As a command does, which cannot wait: a busy ledger leaves the code unused."""
        ledger = self.station.ledger
        try:
            code = self.genuine(typed)
            found = ledger.approval(approval)
            given = ledger.give_verdict(self.verdict(found, answer, note))
        except (ApprovalError, LedgerError) as error:
            raise exceptions.CommandError(str(error)) from error
        self.use(code)
        self.waiting_room.look()
        return f"{given.id} {answer}: {given.agent}, {given.summary.get('model') or 'a call'}."

    def add_commands(self, commands: command.CommandManager) -> None:
        """Give them to mitmweb's command bar and API."""
        commands.add("tollkeeper.approve", self.approve)
        commands.add("tollkeeper.reject", self.reject)

    def approve(self, approval: str, code: str, *note: str) -> str:
        """Let a held call go on; make the code with: tollkeeper approval code."""
        return self.answer_now(approval, code, "approved", " ".join(note))

    def reject(self, approval: str, code: str, *note: str) -> str:
        """Refuse a held call; the note reaches the agent."""
        return self.answer_now(approval, code, "rejected", " ".join(note))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
