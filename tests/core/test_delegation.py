"""How many children, how deep, for how long; and what a child is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.judging import NOW, SECOND, make_standing
from tollkeeper.core.delegation import (
    LONGEST_TTL_NS,
    MINUTE_NS,
    MOST_A_MINUTE,
    MOST_CHILDREN,
    MOST_DESCENDANTS,
    MOST_GENERATIONS,
    USUAL_TTL_NS,
    Birth,
    DelegationCase,
    Family,
    Wish,
    tail,
)
from tollkeeper.core.identity import valid_name
from tollkeeper.core.snapshot import AgentRecord, Standing, TokenRecord
from tollkeeper.domain import Code, Limits, Principal, Reason

RANDOM = bytes(range(16))
NAME = f"atlas.scout-{tail(RANDOM)}"


def case(wish: Wish | None = None, *names: str, agent: str = "atlas", now_ns: int = NOW):
    return DelegationCase(
        wish or Wish("scout"), Principal(agent, "tok", "r"), set(names), now_ns, RANDOM
    )


def decide(
    standing: Standing | None = None, family: Family | None = None, *, taken: bool = False, **asked
) -> Birth | Reason:
    return case(**asked).decide(standing or make_standing(), family or Family(), taken=taken)


def with_token(**changes: object) -> Standing:
    standing = make_standing()
    assert standing.token is not None
    return replace(standing, token=replace(standing.token, **changes))


def test_child_has_its_parent_its_limits_and_a_token_minted_with_the_parents() -> None:
    wish = Wish("scout", Limits(rpm=3), ttl_ns=MINUTE_NS, label="looks around")

    born = decide(with_token(run="7f3k"), wish=wish)

    assert isinstance(born, Birth)
    assert born.agent == AgentRecord(NAME, "active", "atlas", Limits(rpm=3), NOW)
    assert replace(born.token, id="") == TokenRecord(
        "", NAME, NOW, NOW + MINUTE_NS, run="7f3k", minted_by="tok"
    )
    assert born.label == "looks around"
    assert valid_name(born.agent.name)


@pytest.mark.parametrize(
    ("parent_ends", "ttl_ns", "ends"),
    [
        (None, None, USUAL_TTL_NS),
        (None, LONGEST_TTL_NS, LONGEST_TTL_NS),
        (90 * SECOND, None, 90 * SECOND),
        (90 * SECOND, 60 * SECOND, 60 * SECOND),
    ],
)
def test_child_ends_by_itself_and_never_after_its_parent(
    parent_ends: int | None, ttl_ns: int | None, ends: int
) -> None:
    expires_ns = None if parent_ends is None else NOW + parent_ends

    born = decide(with_token(expires_ns=expires_ns), wish=Wish("scout", ttl_ns=ttl_ns))

    assert isinstance(born, Birth)
    assert born.token.expires_ns == NOW + ends


@pytest.mark.parametrize(
    "standing",
    [
        Standing((), None),
        with_token(revoked_ns=1),
        with_token(expires_ns=NOW),
        replace(make_standing(), agents=(AgentRecord("atlas", "paused"),)),
        replace(
            make_standing(), agents=(AgentRecord("atlas", "active"), AgentRecord("boss", "paused"))
        ),
    ],
)
def test_who_may_not_call_may_not_delegate(standing: Standing) -> None:
    refused = decide(standing)

    assert isinstance(refused, Reason)
    assert refused.code in (Code.UNKNOWN_AGENT, Code.AGENT_PAUSED)


def generations(count: int) -> Standing:
    return make_standing(*[f"a{n}" for n in range(count)])


@pytest.mark.parametrize(
    ("most", "family"),
    [
        (MOST_CHILDREN, lambda n: Family(children=n)),
        (MOST_DESCENDANTS, lambda n: Family(descendants=n)),
        (MOST_A_MINUTE, lambda n: Family(minted_ns=(NOW - 1,) * n)),
    ],
)
def test_numbers_are_bounded(most: int, family) -> None:
    assert isinstance(decide(family=family(most - 1)), Birth)
    assert isinstance(decide(family=family(most)), Reason)


def test_depth_is_bounded() -> None:
    assert isinstance(decide(generations(MOST_GENERATIONS - 1)), Birth)
    assert isinstance(decide(generations(MOST_GENERATIONS)), Reason)


def test_flood_is_told_a_wait_that_is_enough_and_minimal() -> None:
    minted = tuple(NOW - MINUTE_NS + 10 * SECOND + n for n in range(MOST_A_MINUTE))

    refused = decide(family=Family(minted_ns=minted))

    assert isinstance(refused, Reason)
    assert refused.code is Code.RATE_LIMITED
    assert refused.retry_after_ns == 10 * SECOND
    later = tuple(at for at in minted if at > NOW + 10 * SECOND - MINUTE_NS)
    assert isinstance(decide(family=Family(minted_ns=later), now_ns=NOW + 10 * SECOND), Birth)


def test_child_takes_no_name_that_the_policy_or_an_agent_has() -> None:
    assert isinstance(case(None, NAME).decide(make_standing(), Family(), taken=False), Reason)
    assert isinstance(decide(taken=True), Reason)
    assert isinstance(
        case(None, "atlas.scout").decide(make_standing(), Family(), taken=False), Birth
    )


def test_name_that_grows_too_long_is_refused_with_what_to_do() -> None:
    refused = decide(agent="a" * 60)

    assert isinstance(refused, Reason)
    assert "shorter" in refused.message
