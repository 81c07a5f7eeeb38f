"""The request that opens a Realtime session."""

from __future__ import annotations

import pytest

from tollkeeper import facts
from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound

OPENAI = facts.providers()["openai"]


def upgrade(query: str, **headers: str) -> Call:
    endpoint = route.recognise(OPENAI, "GET", "/v1/realtime")
    assert endpoint is not None
    return route.parse(Inbound(OPENAI, "GET", "/v1/realtime", query, headers, b""), endpoint)


def test_upgrade_names_its_model_and_costs_nothing() -> None:
    call = upgrade("model=gpt-realtime-2.1")

    assert (call.model, call.metered) == ("gpt-realtime-2.1", False)
    assert call.dialect is Dialect.OPENAI_REALTIME
    assert "fixed_model" in call.features


@pytest.mark.parametrize(
    "query",
    [
        "",
        "model=",
        "model=a&model=b",
        "intent=transcription",
        "model=a&call_id=x",
        "model",
        "Model=a",
    ],
)
def test_upgrade_that_does_not_name_one_model_is_refused(query: str) -> None:
    with pytest.raises(WireError):
        upgrade(query)


def test_upgrade_to_the_beta_is_refused() -> None:
    with pytest.raises(WireError, match="beta"):
        upgrade("model=gpt-realtime", **{"openai-beta": "realtime=v1"})
