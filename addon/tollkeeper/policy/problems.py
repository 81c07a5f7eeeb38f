"""From what pydantic refuses to what an owner reads: position, what was expected, what was found."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final, TypeAliasType

from pydantic import BaseModel, ValidationError

from tollkeeper.errors import PolicyError, Problem
from tollkeeper.policy.document import harmless, shown
from tollkeeper.policy.tree import Node, Place
from tollkeeper.policy.values import KEY_ADVICE

type Steps = tuple[str | int, ...]

_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
}

_LIKE: Final = {
    "budget_usd": "amounts by window like {day: 5}",
    "requests": "numbers by window like {month: 10000}",
    "key": "{env: NAME} or {file: PATH}",
}
"""Mappings that people often write as a scalar."""

_LEGS: Final = "the only leg of a rule is call"
_EFFECTS: Final = "the effects of a rule are allow, deny and hold"
_CALL_CONDITIONS: Final = "it is about paths, which a call has none of"
_NOT_READ: Final = {
    "tool_call": _LEGS,
    "action": _LEGS,
    "downgrade": _EFFECTS,
    "once": _EFFECTS,
    "clamp": _EFFECTS,
    "cap": _EFFECTS,
    "change": _EFFECTS,
    "inside": _CALL_CONDITIONS,
    "outside": _CALL_CONDITIONS,
}
"""Words that people may know from elsewhere; looked at only where they are unknown keys."""


class Report:
    """Collects problems with their positions; hands them out in file order."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, Problem]] = []

    def error(self, place: Place, message: str) -> None:
        """Something that keeps the policy from loading."""
        self._found.append((place, place.problem(harmless(message))))

    def warn(self, place: Place, message: str) -> None:
        """Something that is probably not meant."""
        self._found.append((place, place.problem(harmless(message), warning=True)))

    def add(self, problems: Iterable[Problem], file: int) -> None:
        """Problems that the reader found in one file."""
        for one in problems:
            self._found.append((Place(file, one.line, one.column, one.path), one))

    def problems(self, *, warnings: bool) -> list[Problem]:
        """Either all warnings or all errors, in file order, each once."""
        chosen = [(place, one) for place, one in self._found if one.warning is warnings]
        chosen.sort(key=lambda pair: pair[0])
        return list(dict.fromkeys(one for _, one in chosen))

    def __bool__(self) -> bool:
        """Whether there is any error."""
        return any(not problem.warning for _, problem in self._found)


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` where something is close, else a short list of what is known."""
    names = [name for name in known if name]
    lower = {name.lower(): name for name in names}
    close = get_close_matches(wrong.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{lower[close[0]]}'?"
    if 0 < len(names) <= 30:
        return f"; known are {', '.join(names)}"
    return ""


def tree_of(value: Any, place: Place) -> Node:
    """A plain value as a tree without positions; numbers as JSON has them become decimals."""
    if isinstance(value, Mapping):
        children = {str(key): tree_of(one, place) for key, one in value.items()}
        return Node(children, place, dict.fromkeys(children, place))
    if isinstance(value, (list, tuple)):
        return Node([tree_of(one, place) for one in value], place)
    return Node(Decimal(str(value)) if isinstance(value, float) else value, place)


def valid[M: BaseModel](model: type[M], root: Node) -> M:
    """The entry that a tree holds.

    Raises:
        PolicyError: It is none; every problem at once.
    """
    try:
        return model.model_validate(root.plain())
    except ValidationError as e:
        report = Report()
        report_invalid(e, root, model, report)
        raise PolicyError(report.problems(warnings=False)) from e


def report_invalid(
    error: ValidationError,
    root: Node,
    model: type[BaseModel],
    to: Report,
    gone: frozenset[Steps] = frozenset(),
) -> list[Steps]:
    """Report everything that pydantic found.

    Args:
        gone: Places that were reported and taken out already.

    Returns:
        The way to each value that must go before the rest can be checked further.
    """
    ways = []
    for one in error.errors(include_url=False, include_input=False):
        loc: Steps = tuple(one["loc"])
        way = _real_way(root, loc)
        kind, context = one["type"], one.get("ctx", {})
        if kind == "extra_forbidden":
            name = str(loc[-1])
            to.error(root.where(*way, key=True), _unknown_key(name, model, loc[:-1]))
        elif kind == "missing":
            inside = f" in '{way[-1]}'" if way and isinstance(way[-1], str) else ""
            if (*way, loc[-1]) not in gone:
                to.error(root.where(*way, key=True), f"missing key '{loc[-1]}'{inside}")
        elif kind == "advice":
            to.error(root.where(*way), context["what"])
        elif loc[-1:] == ("[key]",):
            found = f"expected {_what(kind, context, one['msg'])}, found {shown(way[-1])}"
            to.error(root.where(*way, key=True), found)
        else:
            to.error(root.where(*way), _mismatch(root, way, _what(kind, context, one["msg"])))
        ways.append(way)
    return ways


def _mismatch(root: Node, way: Steps, what: str) -> str:
    node = root.at(*way)
    if (
        way[:1] == ("providers",)
        and way[-1:] == ("key",)
        and node is not None
        and isinstance(node.value, str)
    ):
        return KEY_ADVICE
    found = shown(node.value if node else None)
    what = _LIKE.get(str(way[-1]), what) if way and what == "a mapping" else what
    named = next((f"'{step}': " for step in reversed(way) if isinstance(step, str)), "")
    return f"{named}expected {what}, found {found}"


def _real_way(root: Node, loc: Steps) -> Steps:
    """The steps of a location that lead somewhere, without a validator's own marks."""
    way: list[str | int] = []
    node = root
    for step in loc:
        found = node.child(step)
        if found is not None:
            way.append(step)
            node = found
    return tuple(way)


def _what(kind: str, context: dict[str, Any], message: str) -> str:
    if kind == "expected":
        return str(context["what"])
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    match kind:
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "greater_than_equal":
            return f"a number of at least {context['ge']}"
        case "less_than_equal":
            return f"a number of at most {context['le']}"
        case "string_too_short" | "too_short":
            return "something in it" if kind == "too_short" else "text that is not empty"
        case "string_too_long" | "too_long":
            unit = "entries" if kind == "too_long" else "characters"
            return f"at most {context['max_length']} {unit}"
        case _:
            return f"something else ({message})"


def _unknown_key(name: str, model: type[BaseModel], loc: Sequence[str | int]) -> str:
    known = [key for found in _models_at(model, loc) for key in _keys(found)]
    if name in _NOT_READ:
        return f"unknown key {shown(name)}; {_NOT_READ[name]}"
    return f"unknown key {shown(name)}{suggestion(name, known)}"


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[type[BaseModel]]:
    """The models whose keys may stand at a location."""
    here: list[Any] = [model]
    for step in loc:
        below: list[Any] = []
        for one in here:
            below.extend(_step(one, step))
        here = below or here
    return [found for one in here for found in _unwrapped(one) if _is_model(found)]


def _step(annotation: Any, step: str | int) -> list[Any]:
    found: list[Any] = []
    for one in _unwrapped(annotation):
        if _is_model(one):
            for name, field in one.model_fields.items():
                if step in (name, field.alias):
                    found.append(field.annotation)
        elif typing.get_origin(one) is (list if isinstance(step, int) else dict):
            found.append(typing.get_args(one)[-1])
    return found


def _unwrapped(annotation: Any) -> list[Any]:
    """The plain alternatives behind aliases, Annotated and unions."""
    if isinstance(annotation, TypeAliasType):
        return _unwrapped(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _unwrapped(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [one for part in typing.get_args(annotation) for one in _unwrapped(part)]
    return [annotation]


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)
