"""What must hold whoever runs in whatever order: never over a limit, every reservation resolved once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ledger.conftest import Opener
from ledger.scripted import (
    ATLAS,
    NOT_SENT,
    OPERATOR_KEY,
    PRINCIPAL,
    SECOND,
    T0,
    TEAM_TODAY,
    ScriptedCase,
    measured,
    sealed,
    with_atlas,
)
from tollkeeper.domain import Basis, Effect, Outcome, Settlement
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

RACER = Path(__file__).with_name("racer.py")


# ------------------------------------------------------------------------------ interleavings


@dataclass
class Process:
    """A process as the machine sees it: a connection of its own and what it has open."""

    ledger: SqliteLedger
    calls: set[str] = field(default_factory=set)


class Interleavings(RuleBasedStateMachine):
    """Two processes that admit, settle, leave, crash and recover in any order."""

    LIMIT = 1000
    folder: Path
    files = 0

    running = Bundle("running")
    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        Interleavings.files += 1
        self.path = self.folder / f"{Interleavings.files}.db"
        self.births = 0
        self.now_ns = T0
        self.processes = [self.start(), self.start()]
        with_atlas(self.processes[0].ledger)

    def start(self) -> Process:
        self.births += 1
        owner = f"process-{self.births}"
        return Process(SqliteLedger(self.path, owner=owner, operator_key=OPERATOR_KEY))

    def tick(self) -> int:
        self.now_ns += SECOND
        return self.now_ns

    def case(self, reserve: int, *, hold: bool = False) -> ScriptedCase:
        limits = {ATLAS: self.LIMIT, TEAM_TODAY: self.LIMIT + 300}
        return ScriptedCase(reserve=reserve, budgets=limits, hold=hold, now_ns=self.now_ns)

    @rule(target=running, which=st.integers(0, 1), reserve=st.integers(0, 600))
    def admit(self, which: int, reserve: int) -> Any:
        process = self.processes[which]
        admission = process.ledger.admit(self.case(reserve), PRINCIPAL, self.tick())
        if admission.effect is Effect.ALLOW:
            process.calls.add(admission.id)
        return (which, admission.id, reserve)

    @rule(target=held, which=st.integers(0, 1), reserve=st.integers(0, 600))
    def hold(self, which: int, reserve: int) -> Any:
        process = self.processes[which]
        admission = process.ledger.admit(self.case(reserve, hold=True), PRINCIPAL, self.tick())
        if admission.effect is not Effect.DENY:
            process.calls.add(admission.id)
        return (which, admission.id, reserve)

    @rule(call=held, answer=st.sampled_from(["approved", "rejected"]))
    def answer(self, call: Any, answer: str) -> None:
        ledger = self.processes[0].ledger
        for approval in ledger.approvals()[:1]:
            ledger.give_verdict(sealed(ledger, approval.id, answer, self.tick()))

    @rule(target=running, call=consumes(held))
    def ask_again(self, call: Any) -> Any:
        which, call_id, reserve = call
        process = self.processes[which]
        if call_id in process.calls and self.state(call_id) == "held":
            again = self.case(reserve, hold=True)
            admission = process.ledger.admit(again, PRINCIPAL, self.tick(), again=call_id)
            if admission.effect is Effect.DENY:
                process.calls.discard(call_id)
        return call

    @rule(call=consumes(running), cost=st.integers(0, 600), twice=st.booleans())
    def settle(self, call: Any, cost: int, twice: bool) -> None:
        which, call_id, reserve = call
        ledger = self.processes[which].ledger
        ends = [
            NOT_SENT,
            measured(min(cost, reserve)),
            Settlement(Outcome.CUT, Basis.RESERVED, reserve),
        ]
        was_open = self.state(call_id) in ("held", "forwarded")
        assert ledger.settle(call_id, ends[cost % 3], self.tick()) is was_open
        if twice:
            assert not ledger.settle(call_id, ends[(cost + 1) % 3], self.tick())
        self.processes[which].calls.discard(call_id)

    @rule(call=consumes(held))
    def leave(self, call: Any) -> None:
        which, call_id, _ = call
        self.processes[which].ledger.leave(call_id, self.tick())

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """The process is gone with all it knew; another one takes its place and recovers."""
        left = self.processes[which]
        left.ledger.close()
        dead = left.ledger.owner
        self.processes[which] = self.start()
        self.processes[which].ledger.recover(lambda owner: owner != dead, self.tick())
        assert not any(self.state(call) in ("held", "forwarded") for call in left.calls)

    @rule()
    def tidy(self) -> None:
        self.processes[1].ledger.tidy(self.tick())

    def state(self, call: str) -> str:
        [row] = self.processes[0].ledger.rows("SELECT state FROM calls WHERE id = ?", (call,))
        return str(row["state"])

    @invariant()
    def no_account_is_over_its_limit_and_the_books_add_up(self) -> None:
        if not hasattr(self, "processes"):
            return
        ledger = self.processes[0].ledger
        for account, limit in ((ATLAS, self.LIMIT), (TEAM_TODAY, self.LIMIT + 300)):
            balance = ledger.balance(account)
            assert 0 <= balance.spent_nano_usd + balance.reserved_nano_usd <= limit
        assert verify(ledger) == []

    def teardown(self) -> None:
        for process in getattr(self, "processes", ()):
            process.ledger.recover(lambda owner: False, self.tick())
        for process in getattr(self, "processes", ()):
            own = [row["id"] for row in process.ledger.rows(
                "SELECT id FROM calls WHERE state IN ('held', 'forwarded') AND owner = ?",
                (process.ledger.owner,),
            )]  # fmt: skip
            for call in own:
                process.ledger.settle(call, NOT_SENT, self.tick())
        for process in getattr(self, "processes", ()):
            assert process.ledger.balance(ATLAS).reserved_nano_usd == 0
            assert verify(process.ledger) == []
            process.ledger.close()


def test_any_interleaving_stays_within_the_limits_and_resolves_every_reservation_once(
    tmp_path: Path,
) -> None:
    Interleavings.folder = tmp_path
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# ---------------------------------------------------------------------------------- processes


def race(path: Path, admissions: list[int], limit: str) -> list[subprocess.Popen[str]]:
    """Start as many processes as there are numbers, and let them go together."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    racers = [
        subprocess.Popen(
            [sys.executable, str(RACER), str(path), f"racer-{number}", str(count), limit],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number, count in enumerate(admissions)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    return racers


@pytest.mark.parametrize("admissions", [[13, 13, 12, 12], [125] * 4], ids=["50", "500"])
@pytest.mark.parametrize("limit", ["budget", "rpm", "quota"])
def test_of_many_admissions_in_four_processes_exactly_five_pass(
    ledger: SqliteLedger, tmp_path: Path, admissions: list[int], limit: str
) -> None:
    racers = race(tmp_path / "tollkeeper.db", admissions, limit)
    passed = [int(racer.communicate(timeout=120)[0]) for racer in racers]

    assert sum(passed) == 5
    balance = ledger.balance(ATLAS)
    assert balance.spent_nano_usd + balance.reserved_nano_usd == 500
    assert balance.calls == 5
    [calls] = ledger.rows("SELECT count(*) AS n, sum(state = 'refused') AS refused FROM calls")
    assert calls == {"n": sum(admissions), "refused": sum(admissions) - 5}
    assert verify(ledger) == []


def test_nothing_that_stood_is_lost_when_processes_are_killed(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    racers = race(tmp_path / "tollkeeper.db", [10**6] * 4, "forever")
    stood: list[str] = []
    for racer in racers:
        assert racer.stdout is not None
        stood += [racer.stdout.readline().strip() for _ in range(10)]
    for racer in racers:
        racer.send_signal(signal.SIGKILL)
    for racer in racers:
        stood += racer.communicate(timeout=60)[0].split("\n")[:-1]

    last_ns = max(row["at_ns"] for row in ledger.rows("SELECT at_ns FROM calls"))
    open_before = list(ledger.rows("SELECT id FROM calls WHERE state = 'forwarded'"))
    recovered = ledger.recover(lambda owner: False, last_ns + SECOND)

    known = {row["id"] for row in ledger.rows("SELECT id FROM calls")}
    assert set(stood) <= known
    assert recovered == len(open_before) > 0
    balance = ledger.balance(ATLAS)
    assert balance.reserved_nano_usd == 0
    assert balance.spent_nano_usd == 100 * len(known)
    assert verify(ledger) == []
    assert ledger.admit(ScriptedCase(now_ns=T0), PRINCIPAL, T0).effect is Effect.ALLOW


# ------------------------------------------------------------------------------------ threads


def test_owner_is_made_up_when_it_is_not_named(opener: Opener) -> None:
    assert len({opener().owner for _ in range(3)}) == 3
