"""Limits as text and back."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tollkeeper.domain import Limits, Window
from tollkeeper.ledger.records import limits_from_json, limits_to_json

FULL = Limits(
    budget_nano_usd={Window.TOTAL: 5, Window.RUN: 1},
    requests={Window.HOUR: 2},
    rpm=1,
    tpm=2,
    concurrent=3,
    models=("a", "b*"),
    tools=("read_file",),
    streaming=False,
    vision=True,
    reasoning=False,
    max_input_tokens=4,
    max_output_tokens=5,
    strict=True,
    clamp=False,
    on_overrun="cut",
    key="own",
    scope="read-only",
    server_tools_nano_usd=0,
    unsized_input_tokens=6,
)


@pytest.mark.parametrize("limits", [Limits(), FULL, Limits(tools=()), Limits(rpm=0)])
def test_limits_survive_the_way_through_text(limits: Limits) -> None:
    assert limits_from_json(limits_to_json(limits)) == limits


def test_every_limit_there_is_takes_part_in_the_test_above() -> None:
    untouched = Limits()

    assert [
        f.name for f in fields(Limits) if getattr(FULL, f.name) == getattr(untouched, f.name)
    ] == []


def test_what_does_not_limit_is_not_written() -> None:
    assert limits_to_json(Limits()) == "{}"
