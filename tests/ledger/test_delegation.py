"""Children that agents make: written whole, bounded, and ended with what minted them."""

from __future__ import annotations

import pytest

from ledger.scripted import T0, ScriptedCase
from tollkeeper.core.delegation import (
    MINUTE_NS,
    MOST_A_MINUTE,
    MOST_CHILDREN,
    MOST_GENERATIONS,
    Birth,
    DelegationCase,
    Wish,
)
from tollkeeper.core.identity import token_sha256
from tollkeeper.core.snapshot import AgentRecord, RunRecord, TokenRecord
from tollkeeper.core.standing import standing_reason
from tollkeeper.domain import Code, Limits, Principal, Reason
from tollkeeper.errors import UsageError
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger

ATLAS = Principal("atlas", "token-atlas", "r")
SPACED_NS = MINUTE_NS // MOST_A_MINUTE + 1


class Nursery:
    """Makes children with randomness that counts up."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger, self.made = ledger, 0

    def ask(self, parent: Principal, now_ns: int, wish: Wish | None = None) -> Birth | Reason:
        self.made += 1
        random = (self.made << 8).to_bytes(4) + self.made.to_bytes(6)
        case = DelegationCase(wish or Wish(), parent, (), now_ns, random)
        return self.ledger.delegate(case, token_sha256(f"tk_{self.made}"), now_ns)

    def child(self, parent: Principal = ATLAS, now_ns: int = T0, **wish: object) -> Principal:
        born = self.ask(parent, now_ns, Wish(**wish))
        assert isinstance(born, Birth), born
        run = born.token.run
        return Principal(born.agent.name, born.token.id, run or "r", run_is_minted=run is not None)


@pytest.fixture
def nursery(ledger: SqliteLedger) -> Nursery:
    return Nursery(ledger)


def refused(ledger: SqliteLedger, who: Principal, now_ns: int) -> Code | None:
    reason = standing_reason(ledger.standing(who), now_ns)
    return reason.code if reason else None


def test_child_token_and_record_are_written_together_in_the_parents_name(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    child = nursery.child(limits=Limits(rpm=3), label="looks around")

    standing = ledger.standing(child)
    assert [one.name for one in standing.agents] == [child.agent, "atlas"]
    assert standing.agents[0].limits == Limits(rpm=3)
    assert ledger.identify(child.agent, token_sha256("tk_1")) == standing.token
    record = ledger.audit()[-1]
    assert (record["kind"], record["actor"]) == ("delegated", "atlas")
    assert record["data"]["minted_by"] == "token-atlas"
    assert record["data"]["label"] == "looks around"
    assert "tk_1" not in str(record)


def test_refused_wish_writes_nothing(ledger: SqliteLedger, nursery: Nursery) -> None:
    ledger.set_agent_state("atlas", "paused", T0, "ada")
    before = (len(ledger.audit()), ledger.agents())

    assert isinstance(nursery.ask(ATLAS, T0), Reason)

    assert (len(ledger.audit()), ledger.agents()) == before


@pytest.mark.parametrize("how", ["rotated", "run ended", "deleted", "parent ended"])
def test_what_a_token_minted_is_revoked_with_it_to_the_last_generation(
    ledger: SqliteLedger, nursery: Nursery, how: str
) -> None:
    ledger.add_run(RunRecord("7f3k", "atlas", created_ns=T0), by="tester")
    bound = TokenRecord("bound", "atlas", T0, run="7f3k")
    ledger.add_token(bound, token_sha256("tk_bound"), by="tester")
    ant = nursery.child(Principal("atlas", "bound", "7f3k", run_is_minted=True))
    bee = nursery.child(ant)
    other = nursery.child()

    match how:
        case "rotated":
            assert ledger.revoke_tokens("atlas", T0 + 2, keep="token-atlas", by="tester") == 3
        case "run ended":
            ledger.end_run("7f3k", T0 + 2, by="tester")
        case "deleted":
            ledger.set_agent_state(ant.agent, "deleted", T0 + 2, "ada")
        case "parent ended":
            assert ledger.end_child(ant.agent, ATLAS, T0 + 2) is None

    assert refused(ledger, ant, T0 + 3) is Code.UNKNOWN_AGENT
    assert refused(ledger, bee, T0 + 3) is Code.UNKNOWN_AGENT
    assert refused(ledger, other, T0 + 3) is None


def test_child_is_bound_to_the_run_of_the_token_that_minted_it(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    ledger.add_run(RunRecord("7f3k", "atlas", created_ns=T0), by="tester")
    ledger.add_token(
        TokenRecord("bound", "atlas", T0, run="7f3k"), token_sha256("tk_bound"), by="tester"
    )
    child = nursery.child(Principal("atlas", "bound", "7f3k", run_is_minted=True))
    assert child.run == "7f3k"

    ledger.set_run_state("7f3k", "stopped", T0 + 1, "ada")

    assert refused(ledger, child, T0 + 2) is Code.AGENT_PAUSED


def test_pause_of_a_parent_stops_its_descendants_and_resume_lets_them_go_on(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    bee = nursery.child(nursery.child())

    ledger.set_agent_state("atlas", "paused", T0 + 1, "ada")
    assert refused(ledger, bee, T0 + 2) is Code.AGENT_PAUSED
    ledger.set_agent_state("atlas", "active", T0 + 3, "ada")

    assert refused(ledger, bee, T0 + 4) is None


def test_agent_ends_nobody_but_children_that_it_made(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    ledger.create_agent(AgentRecord("hermes", "active", created_ns=T0), by="tester")
    ledger.create_agent(AgentRecord("scout", "active", "atlas", created_ns=T0), by="tester")
    ledger.add_token(TokenRecord("token-scout", "scout", T0), token_sha256("tk_scout"), by="tester")
    child = nursery.child()
    grandchild = nursery.child(child)

    for name in ("hermes", "atlas", "scout", "nobody", grandchild.agent):
        assert isinstance(ledger.end_child(name, ATLAS, T0 + 1), Reason), name
    assert isinstance(ledger.end_child(child.agent, grandchild, T0 + 1), Reason)

    assert refused(ledger, child, T0 + 2) is None
    assert [one.revoked_ns for one in ledger.tokens("scout")] == [None]


def test_only_living_children_count(ledger: SqliteLedger, nursery: Nursery) -> None:
    now_ns = T0
    for _ in range(MOST_CHILDREN):
        now_ns += SPACED_NS
        first = nursery.child(now_ns=now_ns)
    assert isinstance(nursery.ask(ATLAS, now_ns + SPACED_NS), Reason)

    ledger.end_child(first.agent, ATLAS, now_ns + SPACED_NS)

    assert isinstance(nursery.ask(ATLAS, now_ns + SPACED_NS), Birth)
    assert isinstance(nursery.ask(ATLAS, now_ns + 2 * SPACED_NS), Reason)
    assert isinstance(nursery.ask(ATLAS, now_ns + 2 * 3600 * 10**9), Birth)


def test_flood_is_bounded_below_a_root_whoever_asks_and_however_fast_children_are_ended(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    parents = [ATLAS, nursery.child(), nursery.child()]
    for n in range(MOST_A_MINUTE - 2):
        child = nursery.child(parents[n % 3])
        ledger.end_child(child.agent, parents[n % 3], T0)
        ledger.tidy(T0)

    for parent in parents:
        answer = nursery.ask(parent, T0 + 1)
        assert isinstance(answer, Reason)
        assert answer.code is Code.RATE_LIMITED
        assert answer.retry_after_ns == MINUTE_NS - 1
    assert isinstance(nursery.ask(parents[1], T0 + MINUTE_NS), Birth)


def test_ended_children_are_deleted_after_a_minute_and_nobody_else_is(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    ledger.create_agent(AgentRecord("scout", "active", "atlas", created_ns=T0), by="tester")
    child = nursery.child(ttl_ns=MINUTE_NS)
    living = nursery.child(ttl_ns=3 * MINUTE_NS)

    ledger.tidy(T0 + MINUTE_NS - 1)
    before = {one.name: one.state for one in ledger.agents()}
    ledger.tidy(T0 + MINUTE_NS)
    after = {one.name: one.state for one in ledger.agents()}

    assert set(before.values()) == {"active"}
    assert after == before | {child.agent: "deleted"}
    assert after[living.agent] == "active"
    assert ledger.audit()[-1]["kind"] == "children_ended"
    assert verify(ledger) == []


def test_lineage_that_an_operator_makes_goes_no_deeper_either(ledger: SqliteLedger) -> None:
    parent = "atlas"
    for n in range(MOST_GENERATIONS - 1):
        ledger.create_agent(AgentRecord(f"a{n}", "active", parent, created_ns=T0), by="tester")
        parent = f"a{n}"

    with pytest.raises(UsageError, match="generations"):
        ledger.create_agent(AgentRecord("last", "active", parent, created_ns=T0), by="tester")


def test_questions_of_a_whole_family_count_for_its_children_so_that_nobody_is_worn_out(
    ledger: SqliteLedger, nursery: Nursery
) -> None:
    ledger.create_agent(AgentRecord("hermes", "active", created_ns=T0), by="tester")
    hermes = Principal("hermes", "none", "r")
    ant, bee = nursery.child(), nursery.child()

    def waiting(who: Principal, digest: str) -> int:
        case = ScriptedCase(hold=True, digest=digest)
        ledger.admit(case, who, T0)
        assert case.saw is not None
        return case.saw.open_holds

    asked = [(ATLAS, "a"), (ant, "b"), (hermes, "c"), (nursery.child(ant), "d"), (bee, "e")]

    assert [waiting(who, digest) for who, digest in asked] == [0, 1, 0, 2, 3]
    assert waiting(ATLAS, "f") == 1
