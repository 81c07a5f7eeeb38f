"""What an agent may say of the child that it asks for, read as strictly as a policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tollkeeper.core.delegation import LONGEST_TTL_NS, SHORTEST_TTL_NS, USUAL_NAME, Wish
from tollkeeper.domain import NS_PER_SECOND, Limits
from tollkeeper.errors import PolicyError, WireError
from tollkeeper.policy.document import harmless
from tollkeeper.policy.matchers import Strict
from tollkeeper.policy.model import OwnBudgetEntry, OwnQuotaEntry
from tollkeeper.policy.problems import tree_of, valid
from tollkeeper.policy.tree import Place
from tollkeeper.policy.values import AtLeastOne, Glob, Text, duration_ns, expected

MOST_MODELS: Final = 100

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,24}", re.ASCII)
_LABEL: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_NOWHERE: Final = Place(0, 0, 0, "body")


def _name(value: str) -> str:
    """No dot, which parts generations, so that two agents cannot make the same name."""
    if not _NAME.fullmatch(value):
        raise expected("1 to 24 letters, digits, '_' or '-'")
    return value


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise expected("1 to 128 characters without control characters")
    return value


def _ttl_ns(value: Any) -> int:
    ns = duration_ns(value)
    if not SHORTEST_TTL_NS <= ns <= LONGEST_TTL_NS:
        hours = LONGEST_TTL_NS // (3600 * NS_PER_SECOND)
        raise expected(f"a duration from {SHORTEST_TTL_NS // NS_PER_SECOND}s to {hours}h")
    return ns


def _windows(value: Any) -> Any:
    """A number alone is the total."""
    return value if isinstance(value, dict) else {"total": value}


class WishEntry(Strict):
    """A child as an agent asks for it; what would loosen anything cannot be said.

    Amounts are not by run, which a child shares with its parent.
    """

    name: Annotated[str, AfterValidator(_name)] | None = None
    label: Annotated[str, AfterValidator(_label)] | None = None
    ttl: Annotated[int, BeforeValidator(_ttl_ns)] | None = None
    budget_usd: Annotated[OwnBudgetEntry, BeforeValidator(_windows)] | None = None
    requests: Annotated[OwnQuotaEntry, BeforeValidator(_windows)] | None = None
    rpm: AtLeastOne | None = None
    tpm: AtLeastOne | None = None
    concurrent: AtLeastOne | None = None
    models: Annotated[list[Glob], Field(max_length=MOST_MODELS)] | None = None
    tools: Annotated[list[Text], Field(max_length=MOST_MODELS)] | None = None
    streaming: bool | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    max_input_tokens: AtLeastOne | None = None
    max_output_tokens: AtLeastOne | None = None
    strict: bool | None = None
    scope: Literal["full", "read-only"] | None = None


_AS_WRITTEN: Final = (
    "rpm", "tpm", "concurrent", "streaming", "vision", "reasoning", "max_input_tokens",
    "max_output_tokens", "strict", "scope",
)  # fmt: skip


def wish_of(said: Mapping[str, Any]) -> Wish:
    """The wish in a JSON object.

    Raises:
        WireError: It is none; every problem in one text, each naming its key.
    """
    root = tree_of(said, _NOWHERE)
    if any(node.value is None for node in root.scalars()):
        raise WireError("A key has the value null: give it one, or leave the key out.")
    try:
        entry = valid(WishEntry, root)
    except PolicyError as e:
        raise WireError(harmless("; ".join(one.message for one in e.problems[:5]))) from e
    limits = Limits(
        budget_nano_usd=entry.budget_usd.by_window if entry.budget_usd else {},
        requests=entry.requests.by_window if entry.requests else {},
        models=None if entry.models is None else tuple(entry.models),
        tools=None if entry.tools is None else tuple(entry.tools),
        **{name: getattr(entry, name) for name in _AS_WRITTEN},
    )
    return Wish(entry.name or USUAL_NAME, limits, entry.ttl, entry.label)
