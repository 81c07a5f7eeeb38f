"""How many tokens a call may be billed, and the output limit it goes out with.

The input bound
    A tokenizer makes at most one token of each byte, so the bytes of a call, plus what the provider
    adds and the bytes do not show, bound its input (``wire/bound.py``). That alone would reserve
    about four times what is billed. But a conversation grows at its end: of each call all but the
    newest turns were billed before, and the ledger remembers what. If the provider billed B tokens
    for the head and turns 1 to k, then the same head and turns 1 to n are billed at most

        B + bound(turn k+1) + … + bound(turn n) + PREFIX_SLACK_TOKENS

    because chat templates render turns one after the other and put a special token between them,
    across which no tokenizer merges: the tokens of the whole are those of its parts, and B already
    holds the head, the hidden prompts and the opening of the next answer. What a provider leaves
    out later (earlier thinking, say) only lowers the bill. The digests are chained over everything
    that changes how the input is rendered, so nothing but the same beginning finds B. The slack is
    for markers that may be rendered anew. Where the plain sum is lower, it stands.

    Over a conversation only the new turns count by their bytes, once each; the 20 turns of a coding
    agent come to less than 1.5 times what is billed (``tests/core/test_bounds.py``).

What no byte bounds (state kept by the provider, documents, files by name) is taken as the whole
context window; documents and files as the tokens that the policy says, where it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tollkeeper.core.layers import Over
from tollkeeper.core.sheet import PriceSheet
from tollkeeper.core.wording import tokens
from tollkeeper.domain import Call, Reason

PREFIX_SLACK_TOKENS: Final = 64
"""Markers around a turn take 3 to 8 tokens; a few turns' worth of them."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a call may be billed at most.

    Attributes:
        input_tokens: None when nothing bounds it (opaque input, unknown context window).
        output_tokens: Of one choice; None when nothing bounds it.
        put_in: The output limit to be written into the request, None to leave it as it is.
    """

    input_tokens: int | None
    output_tokens: int | None
    put_in: int | None = None

    def total_output_tokens(self, call: Call) -> int:
        """Of all choices together; 0 when unbounded."""
        return (self.output_tokens or 0) * call.choices + call.extra_output_tokens

    def total_tokens(self, call: Call) -> int:
        """Input and output, for tpm; what is unbounded counts 0 (see ``unbounded_reasons``)."""
        return (self.input_tokens or 0) + self.total_output_tokens(call)


FREE: Final = Bounds(0, 0)


def bounds_of(
    call: Call,
    sheet: PriceSheet | None,
    cap: int | None,
    billed_prefix: tuple[str, int] | None,
    unsized_tokens: int | None = None,
) -> Bounds:
    """The bounds of a call.

    Args:
        cap: The most output tokens that the policy allows: put in where the call names no limit,
            clamped to where it names more. None leaves the request as it is.
        unsized_tokens: What the policy counts for a part of unknown size.
    """
    if not call.metered:
        return FREE
    cap = None if "no_output_limit" in call.features else cap
    return _with_output(call, sheet, cap, input_bound(call, sheet, billed_prefix, unsized_tokens))


def input_bound(
    call: Call,
    sheet: PriceSheet | None,
    billed_prefix: tuple[str, int] | None,
    unsized_tokens: int | None = None,
) -> int | None:
    """See the module's text; None when nothing bounds the input."""
    plain = call.head_bound_tokens
    later = 0
    from_prefix: int | None = None
    for turn in reversed(call.turns):
        if billed_prefix is not None and from_prefix is None and turn.digest == billed_prefix[0]:
            from_prefix = billed_prefix[1] + later + PREFIX_SLACK_TOKENS
        later += turn.bound_tokens
    plain += later
    if call.opaque_input is not None:
        window = sheet.context_window if sheet is not None else None
        if call.unsized_parts and unsized_tokens is not None:
            counted = plain + call.unsized_parts * unsized_tokens
            return counted if window is None else min(counted, max(window, plain))
        return None if window is None else max(window, plain)
    return plain if from_prefix is None else min(plain, from_prefix)


def _with_output(
    call: Call, sheet: PriceSheet | None, cap: int | None, input_tokens: int | None
) -> Bounds:
    documented = sheet.max_output_tokens if sheet is not None else None
    if call.max_output_tokens is not None:
        if cap is not None and cap < call.max_output_tokens:
            return Bounds(input_tokens, cap, cap)
        return Bounds(input_tokens, call.max_output_tokens)
    if cap is not None:
        limit = cap if documented is None else min(cap, documented)
        return Bounds(input_tokens, limit, limit)
    if documented is None and sheet is not None:
        documented = sheet.context_window
    return Bounds(input_tokens, documented)


def input_limit_reasons(bounds: Bounds, layers: Iterable[Over]) -> Iterator[Reason]:
    """Layers whose ``max_input_tokens`` the input may exceed; its upper bound is what is compared."""
    for over in layers:
        limit = over.limits.max_input_tokens
        if limit is None or (bounds.input_tokens is not None and bounds.input_tokens <= limit):
            continue
        said = (
            "an unknown number of tokens"
            if bounds.input_tokens is None
            else f"up to {tokens(bounds.input_tokens)} (counted as an upper bound from its bytes)"
        )
        yield over.denies(
            "max_input_tokens",
            f"The input of this call may be {said}; {over.name('max_input_tokens')} is {limit}.",
        )


def unbounded_reasons(call: Call, bounds: Bounds, over: Over, key: str) -> Iterator[Reason]:
    """Why ``over``'s limit ``key`` on tokens or money cannot be kept for this call."""
    if bounds.input_tokens is None:
        yield over.denies(
            key,
            f"The input of this call is not in its bytes ({call.opaque_input}) and the model's "
            f"context window is unknown, so {over.name(key)} cannot be kept.",
        )
    if bounds.output_tokens is None:
        yield over.denies(
            key,
            f"Nothing bounds the output of this call, so {over.name(key)} cannot be kept: name "
            "max_output_tokens (max_tokens) in the request.",
        )
