from __future__ import annotations

from dataclasses import replace

import pytest

from core.judging import (
    NOW,
    codes,
    first,
    judge,
    make_policy,
    make_standing,
)
from tollkeeper.core.snapshot import AgentRecord, RunRecord, Standing, TokenRecord
from tollkeeper.domain import (
    Code,
    Effect,
    Mode,
)


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        (Standing((), None), Code.UNKNOWN_AGENT),
        (replace(make_standing(), token=None), Code.UNKNOWN_AGENT),
        (
            replace(make_standing(), token=TokenRecord("t", "atlas", 0, revoked_ns=1)),
            Code.UNKNOWN_AGENT,
        ),
        (
            replace(make_standing(), token=TokenRecord("t", "atlas", 0, expires_ns=NOW)),
            Code.UNKNOWN_AGENT,
        ),
        (
            replace(make_standing(), agents=(AgentRecord("atlas", "paused"),)),
            Code.AGENT_PAUSED,
        ),
        (
            replace(make_standing(), agents=(AgentRecord("atlas", "deleted"),)),
            Code.UNKNOWN_AGENT,
        ),
        (
            replace(
                make_standing(),
                agents=(AgentRecord("atlas", "active"), AgentRecord("boss", "paused")),
            ),
            Code.AGENT_PAUSED,
        ),
        (
            replace(make_standing(), run=RunRecord("r", "atlas", "stopped")),
            Code.AGENT_PAUSED,
        ),
        (
            replace(make_standing(), run=RunRecord("r", "atlas", "paused")),
            Code.AGENT_PAUSED,
        ),
    ],
)
@pytest.mark.parametrize("mode", Mode)
def test_who_may_not_call_is_refused_in_every_mode(
    standing: Standing, code: Code, mode: Mode
) -> None:
    decision = judge(policy=make_policy(mode=mode), standing=standing)

    assert decision.effect is Effect.DENY
    assert codes(decision) == [code]
    assert "boss" not in first(decision)
    assert decision.subjects == ()


def test_token_expires_at_its_nanosecond_and_not_before() -> None:
    standing = replace(make_standing(), token=TokenRecord("t", "atlas", 0, expires_ns=NOW + 1))

    assert judge(standing=standing).effect is Effect.ALLOW
