"""What settled calls teach the next admission."""

from __future__ import annotations

from dataclasses import replace

from ledger.scripted import DAY, PRINCIPAL, T0, ScriptedCase, measured
from tollkeeper.core.snapshot import History, Snapshot
from tollkeeper.domain import Basis, Outcome, Principal, Settlement, Usage
from tollkeeper.ledger.sqlite import SqliteLedger


def seen(
    ledger: SqliteLedger, *prefixes: str, principal: Principal = PRINCIPAL, **script: str
) -> Snapshot:
    """What the next call of this conversation would be judged by."""
    case = ScriptedCase(prefixes=prefixes, **script)
    ledger.admit(case, principal, T0)
    assert case.saw is not None
    return case.saw


def bill(ledger: SqliteLedger, settlement: Settlement, *prefixes: str) -> None:
    admission = ledger.admit(ScriptedCase(prefixes=prefixes), PRINCIPAL, T0)
    ledger.settle(admission.id, settlement, T0)


def test_longest_billed_prefix_bounds_the_next_turn(ledger: SqliteLedger) -> None:
    bill(ledger, measured(1, input_tokens=100), "turn1")
    bill(ledger, measured(1, input_tokens=250), "turn2", "turn1")

    assert seen(ledger, "turn4", "turn3", "turn2", "turn1").billed_prefix == ("turn2", 250)
    assert seen(ledger, "other", "turn1").billed_prefix == ("turn1", 100)
    assert seen(ledger, "other").billed_prefix is None


def test_prefix_is_known_only_for_the_model_and_the_agent_that_were_billed(
    ledger: SqliteLedger,
) -> None:
    bill(ledger, measured(1, input_tokens=100), "turn1")
    stranger = Principal("hermes", "none", "r")

    assert seen(ledger, "turn1", model_key="anthropic/claude").billed_prefix is None
    assert seen(ledger, "turn1", principal=stranger).billed_prefix is None


def test_of_several_bills_for_the_same_bytes_the_largest_bounds(ledger: SqliteLedger) -> None:
    bill(ledger, measured(1, input_tokens=100), "turn1")
    bill(ledger, measured(1, input_tokens=90), "turn1")

    assert seen(ledger, "turn1").billed_prefix == ("turn1", 100)


def test_nothing_is_learnt_from_what_was_not_measured(ledger: SqliteLedger) -> None:
    usage = Usage(input_tokens=100, output_tokens=50)
    for settlement in (
        Settlement(Outcome.CUT, Basis.ESTIMATED, 1, usage),
        Settlement(Outcome.CUT, Basis.RESERVED, 1, usage),
        Settlement(Outcome.PROVIDER_ERROR, Basis.MEASURED, 0, usage),
        Settlement(Outcome.COMPLETE, Basis.MEASURED, 1, replace(usage, input_tokens=None)),
    ):
        bill(ledger, settlement, "turn1")

    snapshot = seen(ledger, "turn1")
    assert snapshot.billed_prefix is None
    assert snapshot.history is None


def test_history_moves_by_an_eighth(ledger: SqliteLedger) -> None:
    bill(ledger, measured(1, input_tokens=400, output_tokens=80))
    assert seen(ledger).history == History(1, 80, 500_000)

    bill(ledger, measured(1, input_tokens=800, output_tokens=160))

    assert seen(ledger).history == History(2, 90, 562_500)


def test_prefix_that_rested_for_a_week_is_forgotten(ledger: SqliteLedger) -> None:
    bill(ledger, measured(1, input_tokens=100), "turn1")

    ledger.tidy(T0 + 7 * DAY)
    assert seen(ledger, "turn1").billed_prefix == ("turn1", 100)
    ledger.tidy(T0 + 8 * DAY)

    assert seen(ledger, "turn1").billed_prefix is None
