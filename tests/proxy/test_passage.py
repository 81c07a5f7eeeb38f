"""What a call is told when the house itself is at fault."""

from __future__ import annotations

import pytest

from proxy.house import House
from tollkeeper.domain import Dialect
from tollkeeper.proxy.passage import dialect_of, fault_response


@pytest.mark.parametrize("dialect", [None, *Dialect])
def test_fault_is_a_503_with_a_body_that_says_nothing_of_the_cause(
    dialect: Dialect | None,
) -> None:
    response = fault_response(dialect)

    assert response.status_code == 503
    assert response.headers["content-length"] == str(len(response.raw_content or b""))
    assert b"could not decide" in (response.content or b"")


def test_each_fault_is_an_object_of_its_own() -> None:
    first, second = fault_response(None), fault_response(None)
    first.headers["x"] = "1"
    first.content = b""

    assert "x" not in second.headers
    assert second.content


def test_refusal_speaks_the_dialect_of_the_endpoint_and_none_elsewhere(house: House) -> None:
    flow = house.flow()
    house.enforcer.requestheaders(flow)
    passage = house.enforcer.passages[flow]
    assert dialect_of(flow, passage) is Dialect.OPENAI_CHAT

    passage.caller.provider = None

    assert dialect_of(flow, passage) is None
