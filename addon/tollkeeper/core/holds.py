"""What an approval of this very call means for it now.

    none, open                  a person is asked, or is being asked: the call is held
    approved                    the call passes and uses the approval up
    rejected, still in force    the call is refused with the person's note; later it is asked again
    lapsed                      the held call is refused; sent again, it is asked again

A verdict answers a hold and nothing else: it never overrides a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tollkeeper.core.eyes import escape
from tollkeeper.domain import (
    NS_PER_SECOND,
    Approval,
    Code,
    Effect,
    HoldTerms,
    Reason,
    Rule,
)

REJECTION_STICKS_NS: Final = 600 * NS_PER_SECOND
"""A rejection holds for the same call this long, so that a loop cannot wear a person out."""


MOST_OPEN_HOLDS: Final = 100
"""How many calls of one agent may wait for a person; nobody reads a longer inbox."""


def terms_of(rules: Sequence[Rule]) -> HoldTerms:
    """How to keep the hold that these rules ask for: the first one names it, the shortest ends it."""
    return HoldTerms(min(rule.lapses_after_ns for rule in rules), rules[0].name)


def verdict_on(approval: Approval | None, now_ns: int) -> str:
    """``ask``, ``approved``, ``rejected`` or ``lapsed``: how the approval stands at this moment."""
    if approval is None:
        return "ask"
    if approval.state == "rejected":
        verdict = approval.verdict
        sticks = verdict is not None and now_ns < verdict.at_ns + REJECTION_STICKS_NS
        return "rejected" if sticks else "ask"
    if approval.state == "lapsed" or approval.lapses_ns <= now_ns:
        return "lapsed"
    return "approved" if approval.state == "approved" else "ask"


def hold_reasons(
    rules: Sequence[Rule], approval: Approval | None, now_ns: int, open_holds: int = 0
) -> list[Reason]:
    """The reasons that the hold rules make: none when a person approved.

    Args:
        open_holds: How many calls of this agent wait already.
    """
    match verdict_on(approval, now_ns):
        case "approved":
            return []
        case "rejected":
            assert approval is not None
            return [_refused(rules[0], Code.APPROVAL_REJECTED, _rejection(approval))]
        case "lapsed":
            message = (
                f"Nobody answered in time (rule {rules[0].name}). Send the same call again to ask "
                "again."
            )
            return [_refused(rules[0], Code.APPROVAL_LAPSED, message)]
    if open_holds >= MOST_OPEN_HOLDS:
        message = (
            f"{MOST_OPEN_HOLDS} calls of this agent wait for a person already (rule {rules[0].name})."
            " Send this one again when some are answered."
        )
        return [_refused(rules[0], Code.POLICY_DENIED, message)]
    return [
        Reason(
            Effect.HOLD,
            Code.APPROVAL_PENDING,
            f"rules.{rule.name}",
            f"{rule.message} (rule {rule.name})"
            if rule.message
            else f"This call waits for a person (rule {rule.name}).",
        )
        for rule in rules
    ]


def _refused(rule: Rule, code: Code, message: str) -> Reason:
    return Reason(Effect.DENY, code, f"rules.{rule.name}", message)


def _rejection(approval: Approval) -> str:
    note = approval.verdict.note.strip() if approval.verdict is not None else ""
    return (
        f"A person rejected this call: {escape(note, lines=True)}"
        if note
        else "A person rejected this call."
    )


def asks_about_free_calls(rule: Rule) -> bool:
    """Whether a rule that matches a free call (a list of models, telemetry) has a say in it.

    A person is asked about such a call only by a rule that names its ``operation``: who writes
    ``call: {agent: atlas}, hold: {}`` means what costs money. A refusal needs no such word.
    """
    return rule.effect is not Effect.HOLD or "operation" in rule.fields


def deny_reasons(rules: Sequence[Rule]) -> list[Reason]:
    """One reason for each rule that denies."""
    return [
        Reason(
            Effect.DENY,
            Code.POLICY_DENIED,
            f"rules.{rule.name}",
            f"{rule.message} (rule {rule.name})"
            if rule.message
            else f"Rule {rule.name} does not allow this call.",
        )
        for rule in rules
    ]
