"""Every parser keeps its promises for its samples and for a few hundred hostile variants of them."""

from __future__ import annotations

import random

import pytest

from fuzz.mutations import mutated
from fuzz.targets import TARGETS

VARIANTS = 200


@pytest.mark.parametrize("name", list(TARGETS))
def test_promises_of_a_parser_hold_for_hostile_variants_of_what_it_reads(name: str) -> None:
    target, dice = TARGETS[name], random.Random(name)
    for seed in target.seeds:
        target.check(seed)
    variants = VARIANTS if name != "policy" else VARIANTS // 10

    for _ in range(variants):
        data = mutated(target.seeds, dice)
        try:
            target.check(data)
        except Exception as error:
            raise AssertionError(f"{data!r}") from error


def test_every_dialect_is_among_the_targets() -> None:
    named = " ".join(TARGETS)

    for part in ("/v1/chat/completions", "/v1/responses", "/v1/messages", ":generateContent"):
        assert f"{part}" in named
