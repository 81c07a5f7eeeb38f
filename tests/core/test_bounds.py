from __future__ import annotations

import hashlib
import random
from dataclasses import replace

from core.judging import flat_sheet, make_call
from tollkeeper.core.bounds import PREFIX_SLACK_TOKENS, Bounds, bounds_of, input_bound
from tollkeeper.domain import Turn

TURNS = (Turn("a", 100), Turn("b", 200), Turn("c", 400))
CALL = make_call(head_bound_tokens=1000, turns=TURNS, max_output_tokens=None)


def test_input_is_bound_by_its_bytes_when_nothing_of_it_was_billed() -> None:
    assert input_bound(CALL, None, None) == 1700
    assert input_bound(CALL, None, ("somebody else's", 5)) == 1700


def test_a_billed_beginning_counts_as_billed_and_only_later_turns_by_bytes() -> None:
    assert input_bound(CALL, None, ("a", 300)) == 300 + 200 + 400 + PREFIX_SLACK_TOKENS
    assert input_bound(CALL, None, ("c", 500)) == 500 + PREFIX_SLACK_TOKENS


def test_plain_bound_stands_where_it_is_lower() -> None:
    assert input_bound(CALL, None, ("a", 5000)) == 1700


def test_input_that_is_not_in_the_bytes_is_bound_by_the_context_window() -> None:
    call = replace(CALL, opaque_input="previous_response_id")

    assert input_bound(call, replace(flat_sheet(), context_window=128_000), None) == 128_000
    assert input_bound(call, replace(flat_sheet(), context_window=1_000), None) == 1700
    assert input_bound(call, flat_sheet(), None) is None
    assert input_bound(call, None, ("c", 5)) is None


def test_a_part_of_unknown_size_counts_what_the_policy_says_and_never_more_than_the_window() -> (
    None
):
    call = replace(CALL, opaque_input="document", unsized_parts=2)
    sheet = replace(flat_sheet(), context_window=128_000)

    assert input_bound(call, sheet, None, 5_000) == 1700 + 2 * 5_000
    assert input_bound(call, flat_sheet(), None, 5_000) == 1700 + 2 * 5_000
    assert input_bound(call, sheet, None, 100_000) == 128_000
    assert input_bound(call, sheet, None, None) == 128_000
    assert input_bound(replace(call, unsized_parts=0), sheet, None, 5_000) == 128_000


def test_free_calls_have_no_tokens() -> None:
    assert bounds_of(replace(CALL, metered=False), None, 10, None) == Bounds(0, 0)


def outcome(
    named: int | None, cap: int | None, documented: int | None, window: int | None = None
) -> tuple[int | None, int | None]:
    sheet = replace(flat_sheet(), max_output_tokens=documented, context_window=window)
    bounds = bounds_of(replace(CALL, max_output_tokens=named), sheet, cap, None)
    return bounds.output_tokens, bounds.put_in


def test_output_limit_is_put_in_clamped_or_left_alone() -> None:
    assert outcome(500, None, None) == (500, None)
    assert outcome(500, 600, None) == (500, None)
    assert outcome(500, 400, None) == (400, 400)
    assert outcome(None, 400, None) == (400, 400)
    assert outcome(None, 400, 300) == (300, 300)
    assert outcome(None, None, 300, 9000) == (300, None)
    assert outcome(None, None, None, 9000) == (9000, None)
    assert outcome(None, None, None) == (None, None)


def test_total_counts_every_choice_and_the_extra() -> None:
    call = replace(CALL, choices=3, extra_output_tokens=7)

    assert Bounds(100, 10).total_tokens(call) == 137


def test_twenty_turns_of_a_coding_agent_are_bound_within_one_and_a_half_times_the_bill() -> None:
    """About four bytes a token, 12,000 tokens of system prompt and tools, files read and edited."""
    dice = random.Random(20261121)
    head_tokens, head_bytes = 12_000, 12_000 * 4
    turns: list[Turn] = []
    tokens_so_far, billed, reserved = head_tokens, 0, 0
    known: tuple[str, int] | None = None
    digest = ""
    for _ in range(20):
        for size in (dice.randint(80, 600), dice.randint(100, 2500)):  # answer, tool result
            ratio = dice.uniform(3.2, 4.6)
            digest = hashlib.sha256(f"{digest}{size}".encode()).hexdigest()
            turns.append(Turn(digest, int(size * ratio) + 16))
            tokens_so_far += size + 6
        call = make_call(head_bound_tokens=head_bytes, turns=tuple(turns))

        bound = input_bound(call, None, known)

        assert bound is not None
        assert bound >= tokens_so_far
        reserved += bound
        billed += tokens_so_far
        known = (digest, tokens_so_far)
    assert reserved <= 1.5 * billed
