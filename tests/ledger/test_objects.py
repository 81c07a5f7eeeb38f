"""What providers keep, in the books."""

from __future__ import annotations

from dataclasses import replace

from tollkeeper.core.snapshot import AgentRecord
from tollkeeper.domain import Call, Dialect, Kept, Principal
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.objects import AWAITED_NS, ENDED_NS, KEPT_NS, MOST_KEPT
from tollkeeper.ledger.sqlite import SqliteLedger

from .scripted import T0, ScriptedCase, measured, with_atlas

ATLAS = Principal("atlas", "token-atlas", "day")
ASKED = Call(
    "openai",
    Dialect.OPENAI_RESPONSES,
    "responses",
    metered=True,
    model="gpt-4o",
    service_tier="flex",
    features=frozenset({"background", "memory_64g"}),
)


def owned(ledger: SqliteLedger, *ids: str, agent: str = "atlas") -> frozenset[str]:
    case = ScriptedCase(named=ids)
    ledger.admit(case, Principal(agent, f"token-{agent}", "day"), T0)
    assert case.saw is not None
    return case.saw.own_objects


def awaiting(ledger: SqliteLedger) -> str:
    call = ledger.admit(ScriptedCase(), ATLAS, T0).id
    ledger.await_answer(call, "resp_1", ASKED, T0)
    return call


def test_object_belongs_to_the_agent_whose_call_made_it_and_to_those_above(
    ledger: SqliteLedger,
) -> None:
    ledger.create_agent(AgentRecord("child", "active", "atlas"), by="tester")
    ledger.create_agent(AgentRecord("grandchild", "active", "child"), by="tester")
    ledger.create_agent(AgentRecord("other", "active"), by="tester")
    ledger.remember("grandchild", "openai", ["resp_1"], T0)
    ledger.remember("other", "openai", ["resp_1", "resp_2"], T0)
    ledger.remember("grandchild", "elsewhere", ["resp_3"], T0)

    asked = ("resp_1", "resp_2", "resp_3", "resp_4")
    found = {agent: owned(ledger, *asked, agent=agent) for agent in ("atlas", "child", "other")}

    assert found == {"atlas": {"resp_1"}, "child": {"resp_1"}, "other": {"resp_2"}}


def test_cache_is_known_until_it_has_long_ended_and_its_booked_time_never_shrinks(
    ledger: SqliteLedger,
) -> None:
    kept = Kept("cachedContents/a", "gemini-2.5-flash", 4000, T0 + 100)
    ledger.remember_cache("google", kept)
    ledger.remember_cache("google", replace(kept, until_ns=T0 + 50))

    assert ledger.cache("google", kept.id) == kept
    assert ledger.cache("elsewhere", kept.id) is None
    ledger.remember_cache("google", replace(kept, until_ns=T0 + 200))
    ledger.tidy(T0 + 199)
    assert ledger.cache("google", kept.id) == replace(kept, until_ns=T0 + 200)
    ledger.tidy(T0 + 200 + ENDED_NS)
    assert ledger.cache("google", kept.id) is None


def test_of_too_many_caches_those_are_forgotten_that_end_first(ledger: SqliteLedger) -> None:
    with ledger.transaction() as connection:
        connection.executemany(
            "INSERT INTO caches VALUES ('google', ?, 'm', 1, ?)",
            [(f"c{n}", T0 + n) for n in range(MOST_KEPT + 1)],
        )

    ledger.tidy(T0)

    assert ledger.cache("google", "c0") is None
    assert ledger.cache("google", "c1") is not None


def test_objects_are_forgotten_when_they_are_old_or_too_many(ledger: SqliteLedger) -> None:
    ledger.remember("atlas", "openai", [f"resp_{n:06}" for n in range(MOST_KEPT)], T0)
    ledger.remember("atlas", "openai", ["newest"], T0 + 1)
    ledger.tidy(T0 + 2)
    kept = owned(ledger, "newest", "resp_000000", f"resp_{MOST_KEPT - 1:06}")
    ledger.tidy(T0 + 1 + KEPT_NS)

    assert kept == {"newest", "resp_000000"}
    assert owned(ledger, "newest") == frozenset()


def test_awaited_call_outlives_the_process_that_forwarded_it(opener) -> None:
    first = opener(owner="first")
    with_atlas(first)
    call = awaiting(first)
    second = opener(owner="second")

    assert second.recover(lambda owner: False, T0 + AWAITED_NS // 2) == 0
    found = second.awaited("openai", "resp_1")
    assert found is not None
    assert (found.call, found.admitted_ns) == (call, T0)
    assert (found.asked.model, found.asked.service_tier) == ("gpt-4o", "flex")
    assert found.asked.features == {"background", "memory_64g"}
    assert second.awaited("openai", "resp_2") is None


def test_call_that_was_settled_is_awaited_no_more(ledger: SqliteLedger) -> None:
    call = awaiting(ledger)

    assert ledger.settle(call, measured(100), T0 + 1)

    assert ledger.awaited("openai", "resp_1") is None
    assert ledger.give_up_awaited(T0 + AWAITED_NS) == 0


def test_call_that_nobody_asks_for_is_booked_whole_a_day_after_it_was_last_asked_for(
    ledger: SqliteLedger,
) -> None:
    call = awaiting(ledger)
    ledger.await_answer(call, "resp_1", ASKED, T0 + 5)

    assert ledger.give_up_awaited(T0 + 5 + AWAITED_NS - 1) == 0
    assert ledger.give_up_awaited(T0 + 5 + AWAITED_NS) == 1
    assert ledger.give_up_awaited(T0 + 5 + AWAITED_NS) == 0
    [row] = ledger.rows("select * from calls")
    assert (row["state"], row["basis"]) == ("settled", "reserved")
    assert row["cost_nano_usd"] == row["worst_nano_usd"]
    assert verify(ledger) == []
