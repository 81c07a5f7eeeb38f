from __future__ import annotations

import dataclasses

from tollkeeper.core.pricing import PRICE_KEYS
from tollkeeper.domain import Limits
from tollkeeper.policy.model import KeyedLimitsEntry, PriceEntry

NAMED_OTHERWISE = {"budget_nano_usd": "budget_usd", "server_tools_nano_usd": "server_tools_usd"}


def test_every_limit_of_the_domain_can_be_written() -> None:
    limits = {NAMED_OTHERWISE.get(one.name, one.name) for one in dataclasses.fields(Limits)}

    assert set(KeyedLimitsEntry.model_fields) == limits


def test_every_price_that_is_known_can_be_written() -> None:
    assert set(PriceEntry.model_fields) - {"since"} == set(PRICE_KEYS)
