"""Checks of what only several places of a policy together can get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.core.tiers import base_name, model_names
from tollkeeper.domain import Code
from tollkeeper.facts.tables import read_table
from tollkeeper.policy.conditions import impossible, texts
from tollkeeper.policy.model import LimitsEntry, RuleEntry
from tollkeeper.policy.problems import Steps, suggestion
from tollkeeper.policy.sources import Checked
from tollkeeper.policy.values import is_glob

_OF_FRAMES: Final = frozenset({"realtime"})
"""Operations of calls that are no requests, but frames on a WebSocket."""


def check_sense(checked: Checked) -> None:
    """Everything of this module."""
    _dated_prices(checked)
    _aliases(checked)
    _tiers(checked)
    _teams(checked)
    _refusals(checked)
    _rules(checked)


def _dated_prices(checked: Checked) -> None:
    for name, provider in checked.entry.providers.items():
        for glob, dated in (provider.prices or {}).items():
            begun: set[int] = set()
            for number, one in enumerate(dated if isinstance(dated, list) else ()):
                since = one.since or 0
                if since in begun:
                    message = "two prices of one model begin on the same day"
                    checked.error(message, "providers", name, "prices", glob, number)
                begun.add(since)


def _aliases(checked: Checked) -> None:
    spelled: dict[str, str] = {}
    for name, alias in checked.entry.models.items():
        way: Steps = ("models", name)
        if (first := spelled.setdefault(name.lower(), name)) != name:
            checked.error(f"'{name}' and '{first}' differ in letter case only", *way, key=True)
        if is_glob(name):
            checked.error("an alias is a name, not a pattern", *way, key=True)
        if name in checked.providers:
            checked.error(f"'{name}' is a provider's name already", *way, key=True)
        if alias.provider not in checked.providers:
            checked.error(
                f"unknown provider '{alias.provider}'{suggestion(alias.provider, checked.providers)}",
                *way,
                "provider",
            )
        if is_glob(alias.model):
            checked.error("an alias stands for one model, not for a pattern", *way, "model")
        if alias.model in checked.names("models") - {name}:
            checked.warn(
                f"'{alias.model}' is an alias too; it is not followed, but sent as it stands",
                *way,
                "model",
            )


def _tiers(checked: Checked) -> None:
    names: dict[str, int] = {}
    models: dict[str, tuple[int, int]] = {}
    for number, tier in enumerate(checked.entry.tiers):
        if names.setdefault(tier.name, number) != number:
            checked.error(f"duplicate tier '{tier.name}'", "tiers", number, "name")
        for index, model in enumerate(tier.models):
            key = model.lower() if is_glob(model) else base_name(model.lower())
            first = models.setdefault(key, (number, index))
            if first[0] != number:
                other = checked.entry.tiers[first[0]].name
                checked.error(
                    f"model '{model}' is in tier '{other}' already "
                    f"({checked.line('tiers', first[0], 'models', first[1])})",
                    "tiers",
                    number,
                    "models",
                    index,
                )
    _crossing_globs(checked, models)


def _crossing_globs(checked: Checked, models: Mapping[str, tuple[int, int]]) -> None:
    """Globs of two tiers that both take a model which is really there."""
    globs = {glob: at for glob, at in models.items() if is_glob(glob)}
    if len({tier for tier, _ in globs.values()}) < 2:
        return
    reported: set[str] = set()
    for model in known_models():
        names = model_names(model)
        if any(name in models for name in names):
            continue
        fits = [
            (glob, at) for glob, at in globs.items() if any(fnmatchcase(one, glob) for one in names)
        ]
        for glob, (tier, index) in fits:
            if tier != fits[0][1][0] and glob not in reported:
                reported.add(glob)
                other = checked.entry.tiers[fits[0][1][0]].name
                checked.error(
                    f"model '{model}' fits '{glob}' and also '{fits[0][0]}' of tier '{other}'",
                    "tiers",
                    tier,
                    "models",
                    index,
                )


@cache
def known_models() -> tuple[str, ...]:
    """The models that the price catalogue knows at the built-in providers."""
    from genai_prices.data import providers  # takes as long as all the rest of a load

    wanted = {one.catalogue for one in facts.providers().values()}
    return tuple(
        dict.fromkeys(model.id for one in providers if one.id in wanted for model in one.models)
    )


def _teams(checked: Checked) -> None:
    teams = checked.names("teams")
    for name, agent in checked.entry.agents.items():
        if agent.team is None:
            continue
        if name == "default":
            checked.error(
                "agents that are not named are in no team; name the members of a team one by one",
                "agents",
                name,
                "team",
                key=True,
            )
        elif agent.team not in teams:
            close = suggestion(agent.team, teams) or "; there are no teams"
            checked.error(f"unknown team '{agent.team}'{close}", "agents", name, "team")


def _refusals(checked: Checked) -> None:
    codes = [str(code) for code in Code]
    families = [str(one["family"]) for one in read_table("clients")["clients"]]
    for code, by_family in checked.entry.refusals.items():
        if code not in codes:
            checked.error(
                f"unknown code '{code}'{suggestion(code, codes)}", "refusals", code, key=True
            )
        for family in by_family:
            if family not in families:
                checked.error(
                    f"unknown client family '{family}'{suggestion(family, families)}",
                    "refusals",
                    code,
                    family,
                    key=True,
                )


def _rules(checked: Checked) -> None:
    seen: dict[str, int] = {}
    known = _known_names(checked)
    callable_models = _model_lists(checked)
    for number, rule in enumerate(checked.entry.rules):
        first = seen.setdefault(rule.name, number)
        if first != number:
            checked.error(
                f"duplicate rule '{rule.name}'; it stands in {checked.line('rules', first)} already",
                "rules",
                number,
                "name",
            )
        _effects(checked, number, rule)
        for name, why in impossible(rule.call):
            checked.warn(f"this rule can never match: {why}", "rules", number, "call", name)
        for name, names in known.items():
            _names(checked, number, name, getattr(rule.call, name), names)
        _self_said(checked, number, rule)
        _allowed_model(checked, number, rule, callable_models)


SELF_SAID: Final = ("step", "step_type", "project", "priority")
"""What an agent may say of itself; of the last two the starter of a run says it first."""


def _self_said(checked: Checked, number: int, rule: RuleEntry) -> None:
    """A condition that an agent leaves by saying a word is no limit."""
    if checked.root.at("rules", number, "allow"):
        return
    for name in SELF_SAID:
        condition = getattr(rule.call, name)
        if getattr(condition, "not_", None) is not None:
            checked.warn(
                f"agents say {name} of themselves: one that says what stands under 'not', or nothing,"
                " is not met by this rule; name what is to be met instead",
                "rules",
                number,
                "call",
                name,
            )


def _effects(checked: Checked, number: int, rule: RuleEntry) -> None:
    written = [one for one in ("allow", "deny", "hold") if checked.root.at("rules", number, one)]
    if not written:
        checked.error(
            f"rule '{rule.name}' has no effect; give it allow, deny or hold", "rules", number
        )
    elif len(written) > 1:
        checked.error(
            f"rule '{rule.name}' has {len(written)} effects, {' and '.join(written)}; expected one",
            "rules",
            number,
            written[1],
            key=True,
        )


def _known_names(checked: Checked) -> dict[str, frozenset[str]]:
    """What a field can be; fields that anybody may fill are not here."""
    return {
        "agent": checked.names("agents") - {"default"},
        "team": checked.names("teams"),
        "provider": checked.providers,
        "tier": frozenset(tier.name for tier in checked.entry.tiers),
        "operation": _operations(),
    }


@cache
def _operations() -> frozenset[str]:
    told = {fact.operation for api in facts.families() for fact in facts.endpoints(api)}
    return frozenset(told | _OF_FRAMES)


def _names(checked: Checked, number: int, name: str, condition: Any, names: frozenset[str]) -> None:
    for way, text in texts(condition):
        if text in names or (is_glob(text) and any(fnmatchcase(one, text) for one in names)):
            continue
        if name == "agent" and any(text.startswith(f"{one}.") for one in names):
            continue  # children that the agent makes itself
        close = suggestion(text, names)
        if name != "agent":
            message = f"this policy knows no {name} '{text}', so this never matches{close}"
        elif close.startswith("; did you mean"):
            message = f"this policy names no agent '{text}'{close}"
        else:  # `agent create` makes agents that no policy names
            continue
        checked.warn(message, "rules", number, "call", name, *way)


def _allowed_model(
    checked: Checked, number: int, rule: RuleEntry, lists: list[list[str] | None]
) -> None:
    for way, text in texts(rule.call.model):
        alias = checked.entry.models.get(text)
        if alias is not None:
            checked.warn(
                f"'{text}' is an alias; rules see the model that it stands for, '{alias.model}'",
                "rules",
                number,
                "call",
                "model",
                *way,
            )
        elif not any(_overlap(text, allowed) for allowed in lists):
            checked.warn(
                f"no agent may call model '{text}', so this never matches",
                "rules",
                number,
                "call",
                "model",
                *way,
            )


def _model_lists(checked: Checked) -> list[list[str] | None]:
    """What each agent may call, aliases resolved: one list each, None where it is everything."""
    agents: dict[str, LimitsEntry] = dict(checked.entry.agents)
    agents.setdefault("default", LimitsEntry())
    ceilings = _resolved(checked, checked.entry.ceilings.models)
    lists: list[list[str] | None] = []
    for entry in agents.values():
        own = _resolved(checked, entry.models)
        if own is None or ceilings is None:
            lists.append(ceilings if own is None else own)
        else:
            lists.append([one for one in own if _overlap(one, ceilings)])
    return lists


def _resolved(checked: Checked, models: list[str] | None) -> list[str] | None:
    if models is None:
        return None
    aliases = checked.entry.models
    return models + [aliases[name].model for name in aliases if _overlap(name, models)]


def _overlap(text: str, allowed: list[str] | None) -> bool:
    """Whether a model may fit both; two patterns are taken to overlap."""
    if allowed is None:
        return True
    names = (text.lower(),) if is_glob(text) else model_names(text)
    return any(
        name == one
        or fnmatchcase(name, one)
        or fnmatchcase(one, name)
        or fnmatchcase(base_name(one), name)
        or (is_glob(one) and is_glob(name))
        for one in (written.lower() for written in allowed)
        for name in names
    )
