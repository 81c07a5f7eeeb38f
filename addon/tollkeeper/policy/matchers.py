"""What may stand under ``call:`` in a rule: the fields of a call and their conditions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from tollkeeper.policy.values import Number, Pattern, TimeOfDay, advice, glob

type Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class Strict(BaseModel):
    """What every mapping of the language is: no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


def shape(value: Any) -> str:
    """Which form of a matcher a value has, so that only that form's mistakes are reported."""
    if isinstance(value, (dict, BaseModel)):
        return "map"
    if isinstance(value, list):
        return "list"
    return "none" if value is None else "one"


type Scalar = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(glob)]


class Condition(Strict):
    """Conditions on one field; all of them must hold, and there is at least one."""

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not self.model_fields_set:
            raise advice("expected at least one condition, found none")
        return self


class TextCondition(Condition):
    """Conditions on text; all of them must hold."""

    matches: Pattern | None = None
    """An RE2 regular expression, found anywhere in the text."""
    not_: TextMatch | None = Field(default=None, alias="not")
    """Holds when this does not."""


class NumberCondition(Condition):
    """Conditions on a number; all of them must hold."""

    over: Number | None = None
    under: Number | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    not_: NumberMatch | None = Field(default=None, alias="not")
    """Holds when this does not."""


class TimeCondition(Condition):
    """Conditions on a time of day like 22:30; all of them must hold."""

    over: TimeOfDay | None = None
    under: TimeOfDay | None = None
    at_least: TimeOfDay | None = None
    at_most: TimeOfDay | None = None
    not_: TimeMatch | None = Field(default=None, alias="not")
    """Holds when this does not; ``not: {at_least: 06:00, under: 22:00}`` is the night."""


class WeekdayCondition(Condition):
    """A condition on a day of the week."""

    not_: WeekdayMatch | None = Field(default=None, alias="not")
    """Holds when this does not."""


class FlagCondition(Strict):
    """A condition on a yes or no."""

    not_: bool = Field(alias="not")
    """Holds when this does not."""


type TextMatch = Annotated[
    Annotated[Scalar, Tag("one")]
    | Annotated[list[Scalar], Field(min_length=1, max_length=1000), Tag("list")]
    | Annotated[TextCondition, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "text, a list of texts, or {matches, not}"},
    ),
]
type NumberMatch = Annotated[
    Annotated[Number, Tag("one")]
    | Annotated[list[Number], Field(min_length=1, max_length=1000), Tag("list")]
    | Annotated[NumberCondition, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "a number or {over, under, at_least, at_most, not}"},
    ),
]
type TimeMatch = Annotated[
    Annotated[TimeOfDay, Tag("one")]
    | Annotated[list[TimeOfDay], Field(min_length=1, max_length=1000), Tag("list")]
    | Annotated[TimeCondition, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "a time like 22:30 or {over, under, at_least, at_most, not}"},
    ),
]
type WeekdayMatch = Annotated[
    Annotated[Weekday, Tag("one")]
    | Annotated[list[Weekday], Field(min_length=1, max_length=7), Tag("list")]
    | Annotated[WeekdayCondition, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "a day like monday, a list of days, or {not}"},
    ),
]
type FlagMatch = Annotated[
    Annotated[bool, Tag("one")] | Annotated[FlagCondition, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "true or false"},
    ),
]


class CallMatch(Strict):
    """Conditions on a call; all of them must hold, and none at all is every call.

    A scalar is equal to the field or a glob of it (``*``, ``?``, ``[…]``); a list is any of. A field
    whose value is unknown for a call (no team, no price) matches nothing, not even under ``not``.
    """

    agent: TextMatch | None = None
    """The agent's name."""
    team: TextMatch | None = None
    """The agent's team."""
    run: TextMatch | None = None
    """The run that the call belongs to."""
    project: TextMatch | None = None
    """What the starter of the run said it is for."""
    step: TextMatch | None = None
    """What the agent says it is doing."""
    step_type: TextMatch | None = None
    """The kind of step that the agent says it is at."""
    priority: TextMatch | None = None
    """The priority that the starter or the agent gave."""
    provider: TextMatch | None = None
    """Whose model is called, as named under ``providers``."""
    model: TextMatch | None = None
    """The model; a dated or vendor-prefixed name also counts as its base name."""
    tier: TextMatch | None = None
    """The tier that the model belongs to."""
    operation: TextMatch | None = None
    """The endpoint: chat, responses, messages, generate, stream_generate …"""
    stream: FlagMatch | None = None
    """Whether the answer is streamed."""
    vision: FlagMatch | None = None
    """Whether images go in."""
    tools_offered: TextMatch | None = None
    """Names of the tools offered to the model; one that matches is enough."""
    input_tokens: NumberMatch | None = None
    """The most input tokens that may be billed."""
    max_output_tokens: NumberMatch | None = None
    """The output limit that the call names."""
    expected_cost_usd: NumberMatch | None = None
    """Predicted from this agent's history; what rules usually want."""
    worst_cost_usd: NumberMatch | None = None
    """What is reserved."""
    budget_left_percent: NumberMatch | None = None
    """The least of all budgets that the call counts on, before it."""
    prompt: TextMatch | None = None
    """The text of the call, its first 64 KiB."""
    time: TimeMatch | None = None
    """The time of day in the policy's timezone, 00:00 to 23:59."""
    weekday: WeekdayMatch | None = None
    """The day of the week in the policy's timezone."""
