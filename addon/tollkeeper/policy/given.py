"""The mappings of a policy's examples: a situation, a call in it, and what must come of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from tollkeeper.policy.matchers import Strict, Weekday, shape
from tollkeeper.policy.values import (
    AgentEntry,
    AtLeastOne,
    Count,
    Glob,
    ProviderName,
    Text,
    TimeOfDay,
    Usd,
)


class GivenCall(Strict):
    """A call, as far as an example cares."""

    model: Glob
    prompt: Annotated[str, Field(max_length=64 * 1024)] = "hello"
    provider: ProviderName | None = None
    """Unsaid: whose price list knows the model."""
    stream: bool = False
    vision: bool = False
    reasoning: bool = False
    tools: list[Text] = Field(default_factory=list, max_length=1000)
    server_tools: list[Text] = Field(default_factory=list, max_length=100)
    """Tools that the provider runs itself."""
    input_tokens: Count | None = None
    """Unsaid: what the prompt may come to."""
    max_output_tokens: AtLeastOne | None = None
    plan: bool | None = None
    """Whether it carries a plan's credential. Unsaid: only where nothing else is taken."""
    time: TimeOfDay = "12:00"
    weekday: Weekday = "monday"


class GivenSpent(Strict):
    """USD spent already, by window."""

    total: Usd = 0
    hour: Usd = 0
    day: Usd = 0
    week: Usd = 0
    month: Usd = 0
    run: Usd = 0


type Spent = Annotated[
    Annotated[Usd, Tag("one")] | Annotated[GivenSpent, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "an amount in USD, or amounts by window"},
    ),
]


class Situation(Strict):
    """Who calls, and what went before."""

    agent: AgentEntry
    run: Text | None = None
    project: Text | None = None
    step: Text | None = None
    step_type: Text | None = None
    priority: Text | None = None
    spent_usd: Spent = 0
    """Spent already on every budget of the call, or by window."""
    requests_made: Count = 0
    """Calls made already on every quota of the call."""


class Given(Situation):
    """The situation of an example, and the call."""

    call: GivenCall


class RawRequest(Strict):
    """A request as it stands on the wire."""

    url: Text
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict, max_length=200)
    body: str | dict[str, Any] = ""
    """Text, or a mapping that is sent as JSON."""


class GivenRequest(Situation):
    """A situation, and a raw request in it."""

    http: RawRequest


type CodeName = Literal["policy_denied", "budget_exhausted", "rate_limited", "approval_pending"]


class Expect(Strict):
    """What must come of it."""

    effect: Literal["allow", "change", "hold", "deny"]
    """An ``allow`` may change the call, a ``change`` must."""
    source: Text | None = None
    """Where in the policy one of the reasons must come from: agents.atlas.models, rules.dear …"""
    code: CodeName | None = None
    """The code of one of the reasons."""


class ExampleEntry(Strict):
    """A promise of the policy, checked whenever it is loaded; in observe mode as if it enforced."""

    name: Text | None = None
    given: Given
    expect: Expect
