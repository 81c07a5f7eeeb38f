"""Compiles the conditions of a rule to one pure callable over the facts of a call.

All conditions must hold. A fact that is unknown (None or missing) matches nothing, not even under
``not``: a rule speaks only of what is known, and what must be known to pass is a limit's affair (an
unknown price under a budget is refused there). Of a list fact (``tools_offered``) one matching
element is enough, so ``not`` means that none matches. ``model`` also counts by its base name.

Cheap conditions that tell most calls apart (whole texts, yes or no) are looked at first, regular
expressions last. Everything is linear in the text, of which globs and regular expressions look at
64 KiB at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel

from tollkeeper.core.tiers import model_names
from tollkeeper.policy.matchers import CallMatch
from tollkeeper.policy.values import compiled, glob_pattern, is_glob

type Test = Callable[[Any], Any]
"""Truthy when a known value matches."""

MAX_TEXT: Final = 64 * 1024
"""Characters of a text that a condition looks at; a call's prompt is no longer (``domain.Call``)."""

_SHORT_TEXT: Final = 512
"""Characters up to which Python's own regular expressions are faster than RE2, and up to which a
model's name is remembered: clients make names up and must not fill the memory."""

_COST: Final = {"equal": 0, "flag": 0, "number": 1, "glob": 2, "pattern": 4, "long": 8}
_LONG_FIELDS: Final = frozenset({"prompt"})
_LIST_FIELDS: Final = frozenset({"tools_offered"})
_ALIASES: Final = {"not_": "not"}


def compile_call(match: CallMatch) -> tuple[Callable[[Mapping[str, Any]], bool], frozenset[str]]:
    """The callable of a rule, and the names of the facts that it reads."""
    found: list[tuple[int, str, Test]] = []
    for name in CallMatch.model_fields:
        condition = getattr(match, name)
        if condition is not None:
            cost, test = _test(condition)
            if name in _LONG_FIELDS:
                cost += _COST["long"]
            elif name in _LIST_FIELDS:
                test = _any_element(condition)
            elif name == "model":
                test = _any_name(condition)
            found.append((cost, name, test))
    found.sort(key=lambda one: one[0])
    pairs = tuple((name, test) for _, name, test in found)
    return _conjunction(pairs), frozenset(name for name, _ in pairs)


def _conjunction(pairs: tuple[tuple[str, Test], ...]) -> Callable[[Mapping[str, Any]], bool]:
    if len(pairs) == 1:
        ((only, test),) = pairs

        def matches_one(facts: Mapping[str, Any]) -> bool:
            value = facts.get(only)
            return value is not None and bool(test(value))

        return matches_one

    def matches(facts: Mapping[str, Any]) -> bool:
        for name, test in pairs:
            value = facts.get(name)
            if value is None or not test(value):
                return False
        return True

    return matches


def _test(condition: Any) -> tuple[int, Test]:
    """How dear a condition is, and its test on one known value."""
    if isinstance(condition, BaseModel):
        return _all_of(condition)
    if isinstance(condition, bool):
        return _COST["flag"], (lambda value: value) if condition else (lambda value: not value)
    if isinstance(condition, str):
        return _any_text([condition])
    if isinstance(condition, list):
        if all(isinstance(one, str) for one in condition):
            return _any_text(condition)
        return _COST["equal"], frozenset(condition).__contains__
    return _COST["number"], lambda value: value == condition


def _any_text(choices: Iterable[str]) -> tuple[int, Test]:
    """Equal to one of the texts, or fitting one of those that are globs."""
    equal = frozenset(choices)
    globs = sorted(one for one in equal if is_glob(one))
    if not globs:
        return _COST["equal"], equal.__contains__
    short = re.compile("|".join(translate(glob) for glob in globs)).match
    long = compiled("|".join(glob_pattern(glob) for glob in globs)).search

    def fits(value: str) -> Any:
        if len(value) <= _SHORT_TEXT:
            return value in equal or short(value)
        return value in equal or long(value[:MAX_TEXT])

    return _COST["glob"], fits


def _all_of(condition: BaseModel) -> tuple[int, Test]:
    parts: list[tuple[int, Test]] = []
    for name in type(condition).model_fields:
        wanted = getattr(condition, name)
        if wanted is not None:
            parts.append(_part(_ALIASES.get(name, name), wanted))
    parts.sort(key=lambda part: part[0])
    if len(parts) == 1:
        return parts[0]
    tests = tuple(test for _, test in parts)
    return parts[-1][0], lambda value: all(test(value) for test in tests)


def _part(name: str, wanted: Any) -> tuple[int, Test]:
    cost = _COST["number"]
    match name:
        case "over":
            return cost, lambda value: value > wanted
        case "under":
            return cost, lambda value: value < wanted
        case "at_least":
            return cost, lambda value: value >= wanted
        case "at_most":
            return cost, lambda value: value <= wanted
        case "not":
            inner_cost, inner = _test(wanted)
            return inner_cost, lambda value: not inner(value)
        case _:
            search = compiled(wanted).search
            return _COST["pattern"], lambda value: search(value[:MAX_TEXT])


def _any_element(condition: Any, of: Callable[[Any], Iterable[str]] = iter) -> Test:
    """A test on a list of texts: one element is enough, and ``not`` turns the whole around."""
    if isinstance(condition, BaseModel):
        parts: list[Test] = []
        for name in type(condition).model_fields:
            wanted = getattr(condition, name)
            if wanted is None:
                continue
            if name == "not_":
                parts.append(_negated(_any_element(wanted, of)))
            else:
                parts.append(_some(_part(name, wanted)[1], of))
        return lambda value: all(part(value) for part in parts)
    return _some(_test(condition)[1], of)


def _some(test: Test, of: Callable[[Any], Iterable[str]]) -> Test:
    return lambda value: any(test(element) for element in of(value))


def _negated(test: Test) -> Test:
    return lambda value: not test(value)


def _any_name(condition: Any) -> Test:
    """A test on a model's names: letter case makes no difference, in what is written either."""
    test = _any_element(_in_small_letters(condition), model_names)
    remembered = lru_cache(maxsize=256)(test)
    return lambda value: remembered(value) if len(value) <= _SHORT_TEXT else test(value)


def _in_small_letters(condition: Any) -> Any:
    if isinstance(condition, str):
        return condition.lower()
    if isinstance(condition, list):
        return [one.lower() for one in condition]
    written = {name: getattr(condition, name) for name in condition.model_fields_set}
    if "matches" in written:
        written["matches"] = f"(?i){written['matches']}"
    if "not_" in written:
        written["not_"] = _in_small_letters(written["not_"])
    return condition.model_copy(update=written)
