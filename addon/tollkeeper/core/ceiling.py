"""What was reserved for an answer, as a stream is held against it while it passes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tollkeeper.core.sheet import PriceSheet
from tollkeeper.domain import Call, Decision, Usage

_NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The reservation of one call.

    Attributes:
        sheet: None when no price is known; then only the output limit counts.
    """

    call: Call
    decision: Decision
    sheet: PriceSheet | None

    def outgrown(self, usage: Usage | None, least_output_tokens: int) -> bool:
        """Whether what was seen is surely more than what was reserved.

        Args:
            usage: What the provider has reported so far.
            least_output_tokens: Less than the text seen so far can be billed.
        """
        seen = usage or _NOTHING
        output = max(seen.output_tokens or 0, least_output_tokens)
        limit = self.decision.bound_output_tokens
        if limit and output > limit:
            return True
        reserved = self.decision.reserve_nano_usd
        if self.sheet is None or (not reserved and self.decision.worst_nano_usd != 0):
            return False  # nothing bounds it, or a plan pays it that counts on nothing
        spent = self.sheet.cost_nano_usd(replace(seen, output_tokens=output), self.call)
        return spent > reserved
