"""The layers of limits that stand over one call, and whose accounts they count on.

Every layer must be satisfied, so the stricter wins without ever being computed:

    ceilings           on each agent
    agents.NAME        from the policy; ``agents.default`` when it names nobody of the lineage
    agent NAME         given by ``agent create``
    teams.NAME         on the team
    run ID             minted with the run
    models.NAME        of an alias; counts on nothing, so it has no budgets

A child is under the layers of all its ancestors too, on the ancestors' own accounts. One that the
policy does not name is under the entries of those ancestors that it names: what ``default`` gives to
strangers is neither taken from it nor added to what its parent may do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tollkeeper.core.budget import account_for, window_bounds
from tollkeeper.core.identity import day_run
from tollkeeper.core.keys import strictest
from tollkeeper.core.snapshot import RunRecord, Standing
from tollkeeper.domain import (
    Account,
    Call,
    Code,
    Effect,
    Layer,
    Limits,
    ModelAlias,
    Policy,
    Principal,
    Reason,
    Rule,
    Window,
)

LATE_FACTS: Final = frozenset(
    {
        "budget_left_percent",
        "expected_cost_usd",
        "input_tokens",
        "priority",
        "project",
        "worst_cost_usd",
    }
)
"""Facts that only the ledger's snapshot completes; rules that read none are matched before it."""

KIN_FACTS: Final = frozenset({"agent", "team"})
"""Facts that name the caller; a rule over an ancestor is a rule over its children."""


_NO_LIMITS: Final = Limits()
_MOST_KNOWN: Final = 4096
_MOST_VIEWS: Final = 8
_CAPABILITIES: Final = (
    "scope", "models", "tools", "streaming", "vision", "reasoning", "strict", "max_output_tokens",
)  # fmt: skip
_RATES: Final = ("rpm", "tpm", "concurrent")
_BY_MINUTE: Final = ("rpm", "tpm")


@dataclass(frozen=True, slots=True)
class Over:
    """One layer over this call.

    Attributes:
        run: The run subject on which its limits on runs count.
        own: False when it belongs to an ancestor, which a client must not be told the name of.
    """

    layer: Layer
    limits: Limits
    run: str
    own: bool = True

    def source(self, key: str) -> str:
        """Where the limit is written, for the record."""
        written = self.layer.source
        return f"{written} {key}" if " " in written else f"{written}.{key}"

    def name(self, key: str) -> str:
        """What a client may be told of it."""
        return self.source(key) if self.own else f"{key} of a parent agent"

    def denies(self, key: str, message: str) -> Reason:
        """A refusal by this layer's limit ``key``."""
        return Reason(Effect.DENY, Code.POLICY_DENIED, self.source(key), message)


class Line(NamedTuple):
    """A budget (nano-USD) or quota (calls) of one layer over one window."""

    over: Over
    key: str
    account: Account
    limit: int


@dataclass(frozen=True, slots=True)
class Stack:
    """All layers over a call, sorted by what they limit.

    Attributes:
        subjects: On whom the call counts.
        capable: Layers that limit what may be asked for.
        rated: Layers with a rate.
        charged: The subjects of those that count calls or tokens by the minute.
        sized: Layers with a limit on the input.
        output_cap: The least of all output limits.
        clamp: Whether some layer lets the output limit shrink to what budgets hold and none forbids.
        server_tools_nano_usd: Set aside for server-side tools; None when no layer names an amount.
        unsized_input_tokens: The most that a layer counts for a part of unknown size; None when no
            layer names a number.
        key: Whose provider key goes along, as the strictest layer has it: ``injected``, ``own``,
            ``either``.
        cuts: The first limit that has a stream cut which outgrows its reservation, or None.
        accounts: Of all budgets and quotas, each once.
        since_ns: From when to when (exclusive) the accounts are these.
    """

    subjects: tuple[str, ...]
    capable: tuple[Over, ...]
    rated: tuple[Over, ...]
    charged: tuple[str, ...]
    sized: tuple[Over, ...]
    output_cap: int | None
    clamp: bool
    server_tools_nano_usd: int | None
    unsized_input_tokens: int | None
    key: str
    cuts: str | None
    budgets: tuple[Line, ...]
    quotas: tuple[Line, ...]
    accounts: tuple[Account, ...]
    since_ns: int
    until_ns: int
    given: tuple[Limits, ...]


class Rules:
    """Rules in their order, by the facts that they read.

    A rule that reads a fact nobody knows matches nothing, so that of many rules few are asked.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_fields: dict[frozenset[str], list[tuple[int, Rule]]] = {}
        for position, rule in enumerate(rules):
            self._by_fields.setdefault(rule.fields, []).append((position, rule))

    def __bool__(self) -> bool:
        return bool(self._by_fields)

    def matching(self, facts: Mapping[str, Any]) -> list[Rule]:
        """Those that match."""
        known = {name for name, value in facts.items() if value is not None}
        found = [
            one
            for fields, rules in self._by_fields.items()
            if fields <= known
            for one in rules
            if one[1].matches(facts)
        ]
        found.sort(key=_position)
        return [rule for _, rule in found]


def _position(one: tuple[int, Rule]) -> int:
    return one[0]


@dataclass(slots=True)
class View:
    """A policy, with what is worth computing once for all its calls.

    Attributes:
        kin_rules: Those that read who calls: they are asked about the ancestors of a child too.
        reads: Every fact that some rule reads.
    """

    policy: Policy
    early_rules: Rules
    late_rules: Rules
    kin_rules: Rules
    reads: frozenset[str]
    _stacks: dict[tuple[Any, ...], Stack] = field(default_factory=dict)

    def stack(
        self, standing: Standing, principal: Principal, model: str | None, now_ns: int
    ) -> Stack:
        """All layers over a call to this model; what was computed for its like is used again."""
        alias = alias_of(self.policy, model)
        names = tuple(record.name for record in standing.agents)
        key = (names, principal.run, principal.label, alias and alias.name)
        given = tuple(record.limits for record in standing.agents)
        if standing.run is not None:
            given = (*given, standing.run.limits)
        known = self._stacks.get(key)
        if known and known.since_ns <= now_ns < known.until_ns and known.given == given:
            return known
        if len(self._stacks) >= _MOST_KNOWN:
            self._stacks.clear()
        runs = runs_of(principal, now_ns, self.policy.timezone)
        run_of = {name: self._run_of(name, principal, runs[-1], now_ns) for name in names}
        layers = self._layers(standing, principal, run_of, runs[-1])
        if alias is not None and alias.limits != _NO_LIMITS:
            layer = Layer(f"models.{alias.name}", "", alias.limits)
            layers.append(Over(layer, alias.limits, runs[-1]))
        subjects = self._subjects(names, (*runs, *run_of.values()))
        found = _stacked(layers, subjects, given, now_ns, self.policy.timezone)
        self._stacks[key] = found
        return found

    def _run_of(self, name: str, principal: Principal, run: str, now_ns: int) -> str:
        """On which run an agent's limits on runs count, for a call of its own or of a descendant.

        Of a minted run, on that; else an ancestor's count on its own day, or each child would bring
        a fresh budget along.
        """
        if name == principal.agent or principal.run_is_minted:
            return run
        return f"run:{day_run(name, now_ns, self.policy.timezone)}"

    def _layers(
        self, standing: Standing, principal: Principal, run_of: Mapping[str, str], run: str
    ) -> list[Over]:
        layers: list[Over] = []
        names = list(run_of)
        for position, record in enumerate(standing.agents):
            name, own = record.name, record.name == principal.agent
            written = self._written_for(name, entry_of(self.policy, names[position:]))
            if record.limits != _NO_LIMITS:
                written.append(Layer(f"agent {name}", f"agent:{name}", record.limits))
            layers += [Over(one, one.limits, run_of[name], own) for one in written]
        minted = standing.run
        if minted is not None and minted.limits != _NO_LIMITS:
            layer = Layer(f"run {minted.id}", f"run:{minted.id}", minted.limits)
            layers.append(Over(layer, minted.limits, run))
        return layers

    def _written_for(self, agent: str, entry: str | None) -> list[Layer]:
        """The policy's layers over one agent, its team's among them."""
        policy, subject = self.policy, f"agent:{agent}"
        written = [Layer("ceilings", subject, policy.ceilings)]
        if entry is not None:
            limits = policy.agents.get(entry, _NO_LIMITS)
            written.append(Layer(f"agents.{entry}", subject, limits))
        team = policy.members.get(agent)
        if team is not None:
            limits = policy.teams.get(team, _NO_LIMITS)
            written.append(Layer(f"teams.{team}", f"team:{team}", limits))
        return [one for one in written if one.limits != _NO_LIMITS]

    def _subjects(self, names: Sequence[str], runs: Iterable[str]) -> tuple[str, ...]:
        """The agent, all ancestors, their teams, and the runs; each once."""
        subjects: dict[str, None] = {}
        for name in names:
            subjects[f"agent:{name}"] = None
            team = self.policy.members.get(name)
            if team is not None:
                subjects[f"team:{team}"] = None
        return tuple(subjects | dict.fromkeys(runs))


_views: dict[int, View] = {}


def view_of(policy: Policy) -> View:
    """The view of a policy. A few are kept: the one in force, and earlier ones still in use."""
    view = _views.get(id(policy))
    if view is None or view.policy is not policy:
        late = tuple(rule for rule in policy.rules if rule.fields & LATE_FACTS)
        early = tuple(rule for rule in policy.rules if not rule.fields & LATE_FACTS)
        kin = Rules(rule for rule in policy.rules if rule.fields & KIN_FACTS)
        reads = frozenset[str]().union(*(rule.fields for rule in policy.rules))
        view = View(policy, Rules(early), Rules(late), kin, reads)
        if len(_views) >= _MOST_VIEWS:
            _views.clear()
        _views[id(policy)] = view
    return view


def resolve(policy: Policy, call: Call) -> tuple[str, str | None]:
    """Provider and model that the call goes to: an alias leads elsewhere, other names to themselves."""
    alias = alias_of(policy, call.model)
    return (alias.provider, alias.model) if alias else (call.provider, call.model)


def alias_of(policy: Policy, model: str | None) -> ModelAlias | None:
    """The alias that a call names, in whatever letter case."""
    return policy.aliases.get(model.lower()) if model is not None else None


def entry_of(policy: Policy, lineage: Sequence[str]) -> str | None:
    """The entry under ``agents`` for the first of a lineage; None where an ancestor's stands for it."""
    if lineage[0] in policy.agents:
        return lineage[0]
    return None if any(name in policy.agents for name in lineage[1:]) else "default"


def runs_of(principal: Principal, now_ns: int, timezone: str) -> tuple[str, ...]:
    """The run subjects of a call; limits on runs count on the last.

    An agent can make labels up, so a label groups but carries no limit: limits on its runs then
    count on the agent's run of the day, whatever the label.
    """
    run = f"run:{principal.run}"
    if principal.run_is_minted or principal.label is None:
        return (run,)
    return (run, f"run:{day_run(principal.agent, now_ns, timezone)}")


def starters_word(run: RunRecord, said: Mapping[str, str]) -> dict[str, str | None]:
    """Project and priority: what the run's starter said outweighs what the agent says of itself."""
    return {key: run.about.get(key) or said.get(key) for key in ("project", "priority")}


def _stacked(
    layers: Sequence[Over],
    subjects: tuple[str, ...],
    given: tuple[Limits, ...],
    now_ns: int,
    timezone: str,
) -> Stack:
    def line(over: Over, kind: str, window: Window, limit: int) -> Line:
        subject = over.run if window is Window.RUN else over.layer.subject
        account = account_for(subject, window, now_ns, timezone)
        return Line(over, f"{kind}.{window}", account, limit)

    budgets = tuple(
        line(over, "budget_usd", window, limit)
        for over in layers
        for window, limit in over.limits.budget_nano_usd.items()
    )
    quotas = tuple(
        line(over, "requests", window, limit)
        for over in layers
        for window, limit in over.limits.requests.items()
    )
    since_ns, until_ns = window_bounds(Window.HOUR, now_ns, timezone)
    by_minute = {o.layer.subject for o in layers if _limits_any(o.limits, _BY_MINUTE)}
    caps = [o.limits.max_output_tokens for o in layers if o.limits.max_output_tokens is not None]
    wishes = {over.limits.clamp for over in layers}
    aside = [over.limits.server_tools_nano_usd for over in layers]
    unsized = [over.limits.unsized_input_tokens for over in layers]
    return Stack(
        subjects=subjects,
        capable=tuple(over for over in layers if _limits_any(over.limits, _CAPABILITIES)),
        rated=tuple(over for over in layers if _limits_any(over.limits, _RATES)),
        charged=tuple(one for one in subjects if one in by_minute),
        sized=tuple(over for over in layers if over.limits.max_input_tokens is not None),
        output_cap=min(caps, default=None),
        clamp=True in wishes and False not in wishes,
        cuts=next((o.name("on_overrun") for o in layers if o.limits.on_overrun == "cut"), None),
        key=strictest({over.limits.key for over in layers}),
        server_tools_nano_usd=max((one for one in aside if one is not None), default=None),
        unsized_input_tokens=max((one for one in unsized if one is not None), default=None),
        budgets=budgets,
        quotas=quotas,
        accounts=tuple(dict.fromkeys(one.account for one in (*budgets, *quotas))),
        since_ns=since_ns,
        until_ns=until_ns,
        given=given,
    )


def _limits_any(limits: Limits, names: Sequence[str]) -> bool:
    return any(getattr(limits, name) is not None for name in names)
