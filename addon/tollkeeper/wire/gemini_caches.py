"""Gemini's caches of one's own: made once, kept by the hour, named by later calls.

Making one is billed as reading its tokens, and for keeping them as long as was asked for; deleting it
early may cost less at the provider, and gives nothing back here. What a cache holds is said by its
provider's answer, so that later keeping and every call that names it is bounded by that.

Source: https://ai.google.dev/api/caching, https://ai.google.dev/gemini-api/docs/caching,
https://cloud.google.com/vertex-ai/generative-ai/docs/context-cache/context-cache-overview (billing),
https://protobuf.dev/programming-guides/json (durations, times)
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tollkeeper.domain import NS_PER_SECOND, Call, Dialect, Kept, Usage
from tollkeeper.errors import WireError
from tollkeeper.wire import bound, fields, gemini
from tollkeeper.wire import usage as figures
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read
from tollkeeper.wire.meter import JsonMeter
from tollkeeper.wire.metering import Meter
from tollkeeper.wire.reading import WholeReading

CREATE: Final = "cache_create"
EXTEND: Final = "cache_extend"
OPERATIONS: Final = frozenset({CREATE, EXTEND})

DEFAULT_SECONDS: Final = 3600
MOST_SECONDS: Final = 366 * 24 * 3600
"""A year; nobody means more, and the price of it is bounded."""

_OF_THE_CACHE: Final = fields.words("ttl displayName name")
_TTL: Final = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})?s", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def name_of(in_path: str | None) -> str | None:
    """A cache as calls name it, by what stands in a path."""
    return None if in_path is None else f"cachedContents/{in_path}"


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A cache that is made, or one that is to be kept longer.

    Raises:
        WireError: For what is missing or of the wrong type, and for what is not bounded.
    """
    if endpoint.operation == EXTEND:
        return _longer(inbound, endpoint)
    body = gemini.in_camel_case(read(inbound.body).values())
    model = fields.text(body, "model")
    if model is None:
        raise WireError("model is missing; name the model that the cache is for.")
    seconds = _seconds(body, DEFAULT_SECONDS)
    asked = {key: value for key, value in body.items() if key not in _OF_THE_CACHE}
    whole = {"contents": [], **asked}
    named = replace(endpoint, model=model.removeprefix("models/"))
    call = gemini.parse(replace(inbound, body=json.dumps(whole).encode()), named)
    if call.server_tools:
        raise WireError(
            f"{call.server_tools[0]} in a cache would run unseen in every call that names it; send "
            "it with the calls."
        )
    tokens = _bound_tokens(call)
    known = call.opaque_input is None
    return replace(
        call,
        max_output_tokens=0,
        choices=1,
        most=Usage(kept_token_seconds=tokens * seconds) if known else None,
        tokens_unbounded="what is kept",
        approval_digest=_digest(inbound, call.approval_digest, seconds),
    )


def _longer(inbound: Inbound, endpoint: Endpoint) -> Call:
    """More time for a cache; what it holds, and of which model, ``with_known`` puts in."""
    body = gemini.in_camel_case(read(inbound.body).values())
    seconds = _seconds(body, None)
    if body.keys() - {"ttl", "name"}:
        raise WireError("Of a cache only the ttl can be changed; send nothing else.")
    name = endpoint.object or ""
    if body.get("name", name) != name:
        raise WireError("The path names one cache, the body another one; name it in the path.")
    return Call(
        provider=inbound.provider.name,
        dialect=Dialect.GEMINI,
        operation=EXTEND,
        metered=True,
        max_output_tokens=0,
        stored="The path",
        stored_ids=(name,),
        approval_digest=_digest(inbound, name, seconds),
        most=Usage(kept_token_seconds=seconds),
        tokens_unbounded="what is kept",
        cache=name,
    )


def _seconds(body: dict[str, Any], default: int | None) -> int:
    """For how long it is to be kept, in whole seconds, rounded up."""
    if body.get("expireTime") is not None:
        raise WireError("expireTime is not read; say how long the cache is kept as ttl ('3600s').")
    ttl = body.get("ttl")
    if ttl is None and default is not None:
        return default
    found = _TTL.fullmatch(ttl) if isinstance(ttl, str) else None
    if found is None:
        raise WireError("ttl must be seconds, as '3600s'.")
    seconds = int(found[1]) + (found[2] is not None)
    if not 0 < seconds <= MOST_SECONDS:
        raise WireError(f"ttl must be more than nothing and at most {MOST_SECONDS}s.")
    return seconds


def _digest(inbound: Inbound, *parts: object) -> str:
    named = (Dialect.GEMINI, inbound.provider.name, *(str(part) for part in parts))
    return bound.approval_digest(named, {}, frozenset(), ())


def _bound_tokens(call: Call) -> int:
    return call.head_bound_tokens + sum(turn.bound_tokens for turn in call.turns)


def named_by(call: Call) -> str | None:
    """The cache that a call names and whose size would bound it, or None."""
    hidden = call.dialect is Dialect.GEMINI and call.opaque_input == gemini.CACHE
    return call.cache if hidden or call.operation == EXTEND else None


def with_known(call: Call, kept: Kept | None) -> Call:
    """The call, bounded by what its cache holds; as it was where that is not known.

    Raises:
        WireError: For more time for a cache that nothing is known of.
    """
    if call.operation != EXTEND:
        if kept is None:
            return call
        tokens = call.head_bound_tokens + kept.tokens
        return replace(call, opaque_input=None, head_bound_tokens=tokens, kept=kept)
    if kept is None:
        raise WireError(
            "What this cache holds is not known here, so more time for it has no known price: make "
            "the cache anew through this proxy, and name its ttl."
        )
    seconds = call.most.kept_token_seconds if call.most else 0
    most = Usage(kept_token_seconds=seconds * kept.tokens)
    return replace(call, model=kept.model, most=most, kept=kept)


def meter(call: Call) -> Meter:
    """The meter for the answer to such a call."""
    return JsonMeter(CacheReading(call))


class CacheReading(WholeReading):
    """What a provider says of a cache that it has made, or keeps longer."""

    def document(self, value: Any) -> None:
        """The cache: its name, how many tokens it holds, when it ends."""
        if not isinstance(value, dict) or "error" in value:
            return
        name, said = value.get("name"), value.get("usageMetadata")
        told = said if isinstance(said, dict) else {}
        tokens = figures.number(told.get("totalTokenCount"))
        until_ns = _moment(value.get("expireTime"))
        if self._call.operation == EXTEND:
            self._usage = self._longer(until_ns)
            tokens = self._call.kept.tokens if self._call.kept else tokens
        elif tokens is not None:
            seconds = self._kept_seconds(value.get("createTime"), until_ns)
            if seconds is None:
                return
            heard = tokens if "audio_in" in self._call.features else 0  # which of them is not said
            self._usage = Usage(
                tokens, 0, audio_input_tokens=heard, kept_token_seconds=tokens * seconds
            )
        if isinstance(name, str) and name and tokens is not None and until_ns is not None:
            self.made.keep(Kept(name, self._call.model or "", tokens, until_ns))

    def _kept_seconds(self, created: object, until_ns: int | None) -> int | None:
        """For how long it is kept: as was asked; where nothing bounded that, as the answer says."""
        if self._call.most is not None:
            return self._asked_seconds(_bound_tokens(self._call))
        since_ns = _moment(created)
        if since_ns is None or until_ns is None:
            return None
        return max(-(-(until_ns - since_ns) // NS_PER_SECOND), 0)

    def _asked_seconds(self, tokens: int) -> int:
        most = self._call.most.kept_token_seconds if self._call.most else 0
        return most // tokens if tokens else 0

    def _longer(self, until_ns: int | None) -> Usage:
        """What comes on top of the time that is booked, never more than was asked for."""
        kept = self._call.kept
        tokens = kept.tokens if kept else 0
        seconds = self._asked_seconds(tokens)
        if kept is not None and until_ns is not None:
            more = -(-(until_ns - kept.until_ns) // NS_PER_SECOND)
            seconds = min(max(more, 0), seconds)
        return Usage(0, 0, kept_token_seconds=tokens * seconds)


def _moment(said: object) -> int | None:
    """A time as nanoseconds, or None when it is none."""
    if not isinstance(said, str) or len(said) > 64:
        return None
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
