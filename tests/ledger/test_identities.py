"""Agents, tokens, runs, and what stands of them at an admission."""

from __future__ import annotations

import pytest

from ledger.conftest import Opener
from ledger.scripted import PRINCIPAL, T0, ScriptedCase
from tollkeeper.core.identity import token_sha256
from tollkeeper.core.snapshot import AgentRecord, RunRecord, Standing, TokenRecord
from tollkeeper.domain import Limits, Principal, Window
from tollkeeper.errors import UsageError
from tollkeeper.ledger.sqlite import SqliteLedger

LIMITS = Limits(
    budget_nano_usd={Window.DAY: 10**9},
    requests={Window.MONTH: 7},
    rpm=3,
    models=("gpt-4o",),
    tools=(),
    strict=False,
)


def test_standing_is_the_lineage_from_the_caller_to_the_root(ledger: SqliteLedger) -> None:
    ledger.create_agent(AgentRecord("scout", "active", "atlas", LIMITS, T0), by="tester")
    ledger.create_agent(AgentRecord("ant", "active", "scout", created_ns=T0), by="tester")

    standing = ledger.standing(Principal("ant", "none", "r"))

    assert [agent.name for agent in standing.agents] == ["ant", "scout", "atlas"]
    assert standing.agents[1] == AgentRecord("scout", "active", "atlas", LIMITS, T0)
    assert standing.token is None


def test_decision_sees_the_token_and_the_minted_run(ledger: SqliteLedger) -> None:
    run = RunRecord("7f3k", "atlas", limits=LIMITS, about={"goal": "mend"}, created_ns=T0)
    ledger.add_run(run, by="tester")
    case = ScriptedCase()

    ledger.admit(case, Principal("atlas", "token-atlas", "7f3k", run_is_minted=True), T0)

    assert case.saw is not None
    assert case.saw.standing.run == run
    assert case.saw.standing.token == TokenRecord("token-atlas", "atlas", T0)


def test_label_run_has_no_record_even_when_it_is_called_like_one(ledger: SqliteLedger) -> None:
    ledger.add_run(RunRecord("7f3k", "atlas", created_ns=T0), by="tester")

    assert ledger.standing(Principal("atlas", "token-atlas", "7f3k")).run is None


def test_unknown_agent_stands_nowhere(ledger: SqliteLedger) -> None:
    assert ledger.standing(Principal("nobody", "none", "r")).agents == ()


def seen(ledger: SqliteLedger, now_ns: int) -> Standing:
    """The standing that a decision gets."""
    case = ScriptedCase()
    ledger.admit(case, PRINCIPAL, now_ns)
    assert case.saw is not None
    return case.saw.standing


def test_admission_sees_at_once_what_this_process_changed(ledger: SqliteLedger) -> None:
    assert seen(ledger, T0).agents[0].state == "active"

    ledger.set_agent_state("atlas", "paused", T0 + 1, "ada")
    ledger.revoke_tokens("atlas", T0 + 2, by="tester")

    standing = seen(ledger, T0 + 3)
    assert standing.agents[0].state == "paused"
    assert standing.token is not None
    assert standing.token.revoked_ns == T0 + 2


def test_admission_sees_at_once_what_another_process_changed(
    ledger: SqliteLedger, opener: Opener
) -> None:
    other = opener()
    assert seen(ledger, T0).agents[0].state == "active"

    other.set_agent_state("atlas", "paused", T0 + 1, "ada")
    assert seen(ledger, T0 + 2).agents[0].state == "paused"
    other.set_agent_limits("atlas", LIMITS, T0 + 3, "ada")

    assert seen(ledger, T0 + 4).agents[0].limits == LIMITS


def test_token_is_known_by_its_hash_and_agent_alone(ledger: SqliteLedger) -> None:
    sha256 = token_sha256("tk_secret")

    assert ledger.identify("atlas", sha256) == TokenRecord("token-atlas", "atlas", T0)
    assert ledger.identify("hermes", sha256) is None
    assert ledger.identify("atlas", token_sha256("tk_guess")) is None


def test_token_of_another_agent_stands_for_nobody(ledger: SqliteLedger) -> None:
    ledger.create_agent(AgentRecord("hermes", "active", created_ns=T0), by="tester")

    assert ledger.standing(Principal("hermes", "token-atlas", "r")).token is None


def test_revoked_token_stays_known_as_revoked(ledger: SqliteLedger) -> None:
    ledger.add_token(TokenRecord("second", "atlas", T0 + 1), token_sha256("tk_two"), by="tester")

    assert ledger.revoke_tokens("atlas", T0 + 2, keep="second", by="tester") == 1
    assert ledger.revoke_tokens("atlas", T0 + 3, keep="second", by="tester") == 0

    first, second = ledger.tokens("atlas")
    assert (first.revoked_ns, second.revoked_ns) == (T0 + 2, None)
    assert ledger.revoke_tokens("atlas", T0 + 4, by="tester") == 1


def test_ending_a_run_revokes_the_tokens_bound_to_it_and_no_other(ledger: SqliteLedger) -> None:
    ledger.add_run(RunRecord("7f3k", "atlas", created_ns=T0), by="tester")
    ledger.add_token(
        TokenRecord("bound", "atlas", T0 + 1, run="7f3k"), token_sha256("tk_two"), by="tester"
    )

    ledger.end_run("7f3k", T0 + 2, by="tester")
    ledger.end_run("7f3k", T0 + 3, by="tester")

    assert [token.revoked_ns for token in ledger.tokens("atlas")] == [None, T0 + 2]
    principal = Principal("atlas", "bound", "7f3k", run_is_minted=True)
    run = ledger.standing(principal).run
    assert run is not None
    assert run.ended_ns == T0 + 2
    assert [row["kind"] for row in ledger.audit()].count("run_ended") == 1


def test_run_can_be_paused_and_stopped(ledger: SqliteLedger) -> None:
    ledger.add_run(RunRecord("7f3k", "atlas", created_ns=T0), by="tester")

    ledger.set_run_state("7f3k", "paused", T0 + 1, "ada")

    run = ledger.standing(Principal("atlas", "token-atlas", "7f3k", run_is_minted=True)).run
    assert run is not None
    assert run.state == "paused"


def test_deleting_an_agent_takes_its_descendants_and_all_their_tokens_along(
    ledger: SqliteLedger,
) -> None:
    ledger.create_agent(AgentRecord("scout", "active", "atlas", created_ns=T0), by="tester")
    ledger.create_agent(AgentRecord("hermes", "active", created_ns=T0), by="tester")
    ledger.add_token(TokenRecord("t2", "scout", T0), token_sha256("tk_two"), by="tester")

    ledger.set_agent_state("atlas", "deleted", T0 + 1, "ada")

    states = {agent.name: agent.state for agent in ledger.agents()}
    assert states == {"atlas": "deleted", "scout": "deleted", "hermes": "active"}
    assert ledger.tokens("scout")[0].revoked_ns == T0 + 1


def test_pausing_an_agent_leaves_its_tokens(ledger: SqliteLedger) -> None:
    ledger.set_agent_state("atlas", "paused", T0 + 1, "ada")

    assert ledger.standing(PRINCIPAL).agents[0].state == "paused"
    assert ledger.tokens("atlas")[0].revoked_ns is None


def test_name_of_a_deleted_agent_may_be_used_again_without_its_tokens(
    ledger: SqliteLedger,
) -> None:
    ledger.set_agent_state("atlas", "deleted", T0 + 1, "ada")

    ledger.create_agent(
        AgentRecord("atlas", "active", limits=LIMITS, created_ns=T0 + 2), by="tester"
    )

    standing = ledger.standing(PRINCIPAL)
    assert standing.agents[0] == AgentRecord("atlas", "active", None, LIMITS, T0 + 2)
    assert standing.token is not None
    assert standing.token.revoked_ns == T0 + 1


def test_limits_can_be_changed(ledger: SqliteLedger) -> None:
    ledger.set_agent_limits("atlas", LIMITS, T0 + 1, "ada")

    assert ledger.agents()[0].limits == LIMITS
    assert ledger.audit()[-1]["data"]["limits"]["budget_nano_usd"] == {"day": 10**9}


def test_mistakes_are_told_in_one_sentence(ledger: SqliteLedger) -> None:
    ledger.add_run(RunRecord("7f3k", "atlas", created_ns=T0), by="tester")
    mistakes = [
        lambda: ledger.create_agent(AgentRecord("atlas", "active"), by="tester"),
        lambda: ledger.create_agent(AgentRecord("scout", "active", "nobody"), by="tester"),
        lambda: ledger.set_agent_state("nobody", "paused", T0, "ada"),
        lambda: ledger.set_agent_state("atlas", "asleep", T0, "ada"),
        lambda: ledger.set_agent_limits("nobody", LIMITS, T0, "ada"),
        lambda: ledger.add_token(TokenRecord("t", "nobody", T0), "00", by="tester"),
        lambda: ledger.add_token(TokenRecord("token-atlas", "atlas", T0), "00", by="tester"),
        lambda: ledger.add_token(TokenRecord("t", "atlas", T0, run="none"), "00", by="tester"),
        lambda: ledger.add_run(RunRecord("7f3k", "atlas"), by="tester"),
        lambda: ledger.add_run(RunRecord("r", "nobody"), by="tester"),
        lambda: ledger.set_run_state("none", "paused", T0, "ada"),
        lambda: ledger.set_run_state("7f3k", "asleep", T0, "ada"),
        lambda: ledger.end_run("none", T0, by="tester"),
    ]
    records = len(ledger.audit())

    for mistake in mistakes:
        with pytest.raises(UsageError):
            mistake()

    assert len(ledger.audit()) == records


def test_deleted_agent_cannot_become_the_child_of_its_own_descendant(
    ledger: SqliteLedger,
) -> None:
    ledger.create_agent(AgentRecord("scout", "active", "atlas", created_ns=T0), by="tester")
    ledger.set_agent_state("atlas", "deleted", T0 + 1, "ada")
    ledger.set_agent_state("scout", "active", T0 + 2, "ada")

    with pytest.raises(UsageError, match="descends"):
        ledger.create_agent(AgentRecord("atlas", "active", "scout", created_ns=T0 + 3), by="tester")
