"""Judges one model call. Pure: what it may know is its arguments and the ledger's snapshot.

What rules may read of a call stands in ``call_facts.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tollkeeper.core.billing import billing_of
from tollkeeper.core.bounds import Bounds, bounds_of, input_limit_reasons, unbounded_reasons
from tollkeeper.core.call_facts import known_facts, late_facts
from tollkeeper.core.capabilities import capability_reasons
from tollkeeper.core.holds import (
    asks_about_free_calls,
    deny_reasons,
    hold_reasons,
    terms_of,
    verdict_on,
)
from tollkeeper.core.keys import host_reasons, stored_reasons
from tollkeeper.core.layers import Stack, resolve, view_of
from tollkeeper.core.purses import (
    Price,
    Purse,
    budget_reasons,
    clamped,
    overdrawn,
    price_of,
    price_reasons,
    purses_of,
    quota_reasons,
)
from tollkeeper.core.rates import rate_reasons
from tollkeeper.core.sheet import PriceSheet
from tollkeeper.core.snapshot import Snapshot, Standing
from tollkeeper.core.standing import standing_reason
from tollkeeper.core.unchangeable import unchangeable_reasons
from tollkeeper.domain import (
    Account,
    Billing,
    Call,
    Changes,
    Decision,
    Effect,
    HoldTerms,
    Mode,
    Policy,
    Principal,
    Reason,
    Rule,
)

__all__ = ["CallCase", "resolve"]

MOST_PREFIXES: Final = 16
"""How many of a conversation's newest beginnings are looked up; calls add one to three turns."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A call against one snapshot: what stands over it and what it may cost.

    Attributes:
        purses: Every budget over it, as it stands before the call.
        matched: Every rule that matches it, in the policy's order.
    """

    stack: Stack
    purses: Sequence[Purse]
    bounds: Bounds
    price: Price
    matched: Sequence[Rule]
    billing: Billing = Billing.METERED

    def rules(self, effect: Effect) -> list[Rule]:
        """Those of the matching rules that want this."""
        return [rule for rule in self.matched if rule.effect is effect]


class CallCase:
    """One call before the judge; implements ``ledger.port.Case``. Made anew for each admission."""

    def __init__(
        self,
        call: Call,
        principal: Principal,
        policy: Policy,
        sheet: PriceSheet | None,
        now_ns: int,
        said: Mapping[str, str] | None = None,
        *,
        place: str = "",
    ) -> None:
        """Match every rule that needs no ledger, before the transaction begins.

        Args:
            sheet: Of the provider and model that ``resolve`` names; None when no price is known.
            said: What the agent says of itself: ``step``, ``step_type``, ``project``, ``priority``.
            place: Where the call goes, with everything of it that an approval is bound to.
        """
        self.call = call
        self.principal = principal
        self.policy = policy
        self.sheet = sheet
        self.now_ns = now_ns
        self._said = said or {}
        self._place = place
        self._view = view_of(policy)
        self._weighed: Weighed | None = None
        self._known_stack: tuple[Standing, Stack] | None = None
        self.provider, self.model = resolve(policy, call)
        self.objects = (self.provider, call.stored_ids)
        self.facts = known_facts(
            call,
            principal,
            self._said,
            policy,
            self._view.reads,
            (self.provider, self.model),
            now_ns,
        )
        self._early = self._view.early_rules.matching(self.facts)

    # ------------------------------------------------------------------- what the ledger asks

    @property
    def approval_digest(self) -> str:
        """Who asks for what, where it goes, and every byte of it that a resend keeps."""
        parts = (self.principal.agent, self.provider, self.model or "", self.call.operation)
        plan = ("by plan",) if self.call.by_plan else ()
        bound_to = "\0".join((*parts, self.call.approval_digest, *plan, self._place))
        return hashlib.sha256(bound_to.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def prefixes(self) -> Sequence[str]:
        """Digests of the conversation's beginnings, the whole first."""
        return [turn.digest for turn in reversed(self.call.turns[-MOST_PREFIXES:])]

    @property
    def model_key(self) -> str:
        """``provider/model`` as resolved; empty for free calls."""
        return f"{self.provider}/{self.model}" if self.call.metered else ""

    def accounts(self, standing: Standing) -> Sequence[Account]:
        """The accounts that some layer has a budget or quota on; none for free calls."""
        if not self.call.metered:
            return ()
        return self._stack(standing).accounts

    def decide(self, snapshot: Snapshot) -> Decision:
        """Judge: deny > hold > allow, and every reason is reported, strictest first.

        Who may not call is refused in observe mode too; everything else is then only observed.
        """
        outcast = standing_reason(snapshot.standing, self.now_ns)
        if outcast is not None:
            return Decision(Effect.DENY, (outcast,))
        call = self.call
        weighed = self._weighed = self._weigh(snapshot)
        stack, bounds, price, purses = weighed.stack, weighed.bounds, weighed.price, weighed.purses
        reasons = [
            *capability_reasons(call, self.model, stack.capable),
            *input_limit_reasons(bounds, stack.sized),
            *price_reasons(call, f"{self.provider}/{self.model}", self.sheet, bounds, stack),
            *budget_reasons(price, purses),
            *host_reasons(call, self.policy, stack.key, self.provider),
            *stored_reasons(call, self.policy, stack.key, self.provider, snapshot.own_objects),
            *deny_reasons(weighed.rules(Effect.DENY)),
        ]
        if call.metered:
            reasons += quota_reasons(stack, snapshot.balances)
        reasons += unchangeable_reasons(call, self._changes(bounds), self.policy, stack.key)
        holding = weighed.rules(Effect.HOLD)
        if holding:
            reasons += hold_reasons(holding, snapshot.approval, self.now_ns, snapshot.open_holds)
        if call.metered and (not reasons or self.policy.mode is Mode.OBSERVE):
            reasons += self._rate_reasons(weighed, snapshot)
        if self.policy.mode is Mode.OBSERVE:
            seen = [replace(reason, observed=True) for reason in reasons]
            return self._decision(snapshot, weighed, Effect.ALLOW, seen)
        effect = max((reason.effect for reason in reasons), default=Effect.ALLOW)
        return self._decision(snapshot, weighed, effect, reasons, holding)

    def record(self) -> Mapping[str, Any]:
        """The facts of the call for the record; the money of the newest decision among them."""
        call = self.call
        record: dict[str, Any] = {
            "agent": self.principal.agent,
            "run": self.principal.run,
            "team": self.facts["team"],
            "provider": self.provider,
            "model": self.model,
            "asked_model": call.deployment or (call.model if call.model != self.model else None),
            "operation": call.operation,
            "metered": call.metered,
            "stream": call.stream,
            "features": sorted(call.features),
            "service_tier": call.service_tier,
            "tools_offered": list(call.tools_offered),
            "server_tools": list(call.server_tools),
            "turns": len(call.turns),
            "max_output_tokens": call.max_output_tokens,
            "said": dict(self._said),
            "price_source": self.sheet.source if self.sheet is not None else None,
        }
        if self._weighed is not None:
            price = self._weighed.price
            record |= {
                "rules": [rule.name for rule in self._weighed.matched],
                "bound_input_tokens": self._weighed.bounds.input_tokens,
                "bound_output_tokens": self._weighed.bounds.output_tokens,
                "expected_nano_usd": price.expected_nano_usd,
                "worst_nano_usd": price.worst_nano_usd,
            }
            if self._weighed.billing is not Billing.METERED:
                record["billing"] = self._weighed.billing
        return {key: value for key, value in record.items() if value not in (None, [], {})}

    # ------------------------------------------------------------------------------ the parts

    def _weigh(self, snapshot: Snapshot) -> Weighed:
        """What the call may cost and which rules it meets, clamped where the policy says so."""
        call, sheet = self.call, self.sheet
        stack = self._stack(snapshot.standing)
        billing = billing_of(call, self.policy, stack.key, self.provider)
        if billing is Billing.FLAT:
            stack = replace(stack, budgets=())
        enforcing = self.policy.mode is Mode.ENFORCE
        cap = stack.output_cap if enforcing else None
        bounds = bounds_of(call, sheet, cap, snapshot.billed_prefix, stack.unsized_input_tokens)
        price = price_of(call, bounds, sheet, stack, snapshot.history)
        purses = purses_of(stack, snapshot.balances) if call.metered else []
        if sheet is not None and enforcing and stack.clamp and overdrawn(price, purses):
            smaller = clamped(call, bounds, price, sheet, purses)
            if smaller is not None:
                bounds = smaller
                price = price_of(call, bounds, sheet, stack, snapshot.history)
        late: list[Rule] = []
        if self._view.late_rules:
            reads = self._view.reads
            self.facts |= late_facts(call, snapshot, self._said, bounds, price, purses, reads)
            late = self._view.late_rules.matching(self.facts)
        for ancestor in snapshot.standing.agents[1:]:
            who = {"agent": ancestor.name, "team": self.policy.members.get(ancestor.name)}
            late += self._view.kin_rules.matching(self.facts | who)
        matched = self._in_order(late)
        if not call.metered:
            matched = [rule for rule in matched if asks_about_free_calls(rule)]
        return Weighed(stack, purses, bounds, price, matched, billing)

    def _in_order(self, late: Sequence[Rule]) -> Sequence[Rule]:
        """The rules that matched early and late, as the policy has them."""
        if not late:
            return self._early
        met = {id(rule) for rule in (*self._early, *late)}
        return [rule for rule in self.policy.rules if id(rule) in met]

    def _rate_reasons(self, weighed: Weighed, snapshot: Snapshot) -> list[Reason]:
        """Rates that do not hold this call, those that never will first, then the longest wait."""
        bounds = weighed.bounds
        reasons = [
            reason
            for over in weighed.stack.rated
            if over.limits.tpm is not None
            for reason in unbounded_reasons(self.call, bounds, over, "tpm")
        ]
        total = bounds.total_tokens(self.call)
        reasons += rate_reasons(weighed.stack.rated, snapshot.rates, total, self.now_ns)
        return sorted(reasons, key=lambda r: -(r.retry_after_ns or 1 << 63))

    def _decision(
        self,
        snapshot: Snapshot,
        weighed: Weighed,
        effect: Effect,
        reasons: list[Reason],
        holding: Sequence[Rule] = (),
    ) -> Decision:
        call, bounds, price = self.call, weighed.bounds, weighed.price
        reasons.sort(key=lambda reason: -reason.effect)
        worst = 0 if weighed.billing is Billing.FLAT else price.worst_nano_usd or 0
        least = min((purse.left_nano_usd for purse in weighed.purses), default=None)
        hold: HoldTerms | None = None
        consumes: str | None = None
        if effect is Effect.HOLD:
            hold = terms_of(holding)
        elif effect is Effect.ALLOW and holding and snapshot.approval is not None:
            approved = verdict_on(snapshot.approval, self.now_ns) == "approved"
            consumes = snapshot.approval.id if approved else None
        stands = effect is not Effect.DENY and call.metered
        return Decision(
            effect=effect,
            reasons=tuple(reasons),
            changes=self._changes(bounds),
            subjects=weighed.stack.subjects if stands else (),
            rated=weighed.stack.charged if stands else (),
            reserve_nano_usd=worst if stands else 0,
            bound_input_tokens=bounds.input_tokens or 0,
            bound_output_tokens=bounds.total_output_tokens(call) if call.metered else 0,
            expected_nano_usd=price.expected_nano_usd,
            price_source=self.sheet.source if self.sheet is not None else None,
            hold=hold,
            consumes=consumes,
            left_nano_usd=least if least is None or not stands else least - worst,
            key=weighed.stack.key,
            billing=weighed.billing,
            worst_nano_usd=price.worst_nano_usd,
            cuts=weighed.stack.cuts if self.policy.mode is Mode.ENFORCE else None,
        )

    def _changes(self, bounds: Bounds) -> Changes:
        return Changes(
            max_output_tokens=bounds.put_in,
            model=self.model if self.model != self.call.model else None,
            provider=self.provider if self.provider != self.call.provider else None,
        )

    def _stack(self, standing: Standing) -> Stack:
        known = self._known_stack
        if known is None or known[0] is not standing:
            stack = self._view.stack(standing, self.principal, self.call.model, self.now_ns)
            known = self._known_stack = (standing, stack)
        return known[1]
