"""Rates over any rolling 60 seconds, and calls in flight.

An admission counts from its nanosecond until 60 s later, that instant excluded. What a client is
told to wait is enough and minimal: at exactly that moment the same call passes if nothing else came
between, and one nanosecond earlier it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tollkeeper.core.layers import Over
from tollkeeper.core.snapshot import RateLog
from tollkeeper.core.wording import tokens
from tollkeeper.domain import NS_PER_SECOND, Code, Effect, Reason

WINDOW_NS: Final = 60 * NS_PER_SECOND
SLOT_RETRY_NS: Final = NS_PER_SECOND
"""Nobody knows when a slot gets free; a second is short for a model call and no hammering."""


def rate_reasons(
    layers: Iterable[Over], rates: RateLog, bound_tokens: int, now_ns: int
) -> Iterator[Reason]:
    """Every rate of some layer that this call does not fit now; in no order."""
    for over in layers:
        limits = over.limits
        if limits.rpm is not None:
            yield from _rpm(over, limits.rpm, rates, now_ns)
        if limits.tpm is not None:
            yield from _tpm(over, limits.tpm, rates, bound_tokens, now_ns)
        if limits.concurrent is not None:
            yield from _concurrent(over, limits.concurrent, rates)


def _rpm(over: Over, limit: int, rates: RateLog, now_ns: int) -> Iterator[Reason]:
    if limit <= 0:
        yield over.denies("rpm", f"No calls are allowed ({over.name('rpm')} is 0).")
        return
    nth_ns = rates.nth_newest_ns(over.layer.subject, limit)
    if nth_ns is not None and nth_ns > now_ns - WINDOW_NS:
        calls = "1 call" if limit == 1 else f"{limit} calls"
        yield _limited(
            over, "rpm", f"No more than {calls} in any 60 seconds", nth_ns + WINDOW_NS - now_ns
        )


def _tpm(
    over: Over, limit: int, rates: RateLog, bound_tokens: int, now_ns: int
) -> Iterator[Reason]:
    if bound_tokens > limit:
        yield over.denies(
            "tpm",
            f"This call may use up to {tokens(bound_tokens)}, more than {over.name('tpm')} ever "
            f"allows ({limit}); shorten it or lower max_output_tokens.",
        )
        return
    subject, after_ns = over.layer.subject, now_ns - WINDOW_NS
    if rates.most_tokens_since(subject, after_ns) + bound_tokens <= limit:
        return
    used = rates.tokens_since(subject, after_ns)
    if used + bound_tokens <= limit:
        return
    for at_ns, event_tokens in rates.events_since(subject, after_ns):
        used -= event_tokens
        if used + bound_tokens <= limit:
            said = f"No more than {tokens(limit)} in any 60 seconds"
            yield _limited(over, "tpm", said, at_ns + WINDOW_NS - now_ns)
            return
    yield _limited(over, "tpm", f"No more than {tokens(limit)} in any 60 seconds", WINDOW_NS)


def _concurrent(over: Over, limit: int, rates: RateLog) -> Iterator[Reason]:
    if limit <= 0:
        yield over.denies("concurrent", f"No calls are allowed ({over.name('concurrent')} is 0).")
        return
    if rates.in_flight(over.layer.subject) >= limit:
        calls = "1 call" if limit == 1 else f"{limit} calls"
        yield _limited(over, "concurrent", f"No more than {calls} at a time", SLOT_RETRY_NS)


def _limited(over: Over, key: str, what: str, retry_after_ns: int) -> Reason:
    seconds = -(-retry_after_ns // NS_PER_SECOND)
    return Reason(
        Effect.DENY,
        Code.RATE_LIMITED,
        over.source(key),
        f"{what} ({over.name(key)}); try again in {seconds} s.",
        retry_after_ns=retry_after_ns,
    )
