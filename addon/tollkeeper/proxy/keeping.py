"""What an answer leaves with its provider: remembered for its agent, and background calls awaited."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from tollkeeper.core.keys import goes_with_own_key
from tollkeeper.core.pricing import PriceBook
from tollkeeper.domain import Basis, Call, Decision, Effect, Kept, Outcome, Settlement, Usage
from tollkeeper.errors import LedgerError
from tollkeeper.ledger.objects import Awaited
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.settling import Books, as_told, by_payer, priced
from tollkeeper.proxy.station import Station
from tollkeeper.wire.gemini_caches import named_by, with_known
from tollkeeper.wire.made import Made
from tollkeeper.wire.route import STORED

log = logging.getLogger(__name__)


class Keeping:
    """Writes down the objects of answers, and settles background calls by what is asked of them."""

    def __init__(self, station: Station, books: Books) -> None:
        """Keep the rooms it works with."""
        self.station = station
        self.books = books
        self.writing: set[asyncio.Task[None]] = set()

    @staticmethod
    def concerns(passage: Passage) -> bool:
        """Whether there is something to take in of an answer, which its end waits for."""
        call, answer = passage.call, passage.answer
        if call is None or answer is None:
            return False
        made = answer.meter.made
        kept = bool(made.ids) or made.kept is not None
        return kept or call.operation == STORED or "background" in call.features

    async def goes_on(self, passage: Passage, status: int | None) -> bool:
        """Take in what an answer says that its provider keeps.

        Returns:
            Whether its call goes on behind it, so that the reservation stays open.
        """
        call, admission, answer = passage.call, passage.admission, passage.answer
        principal = passage.caller.principal
        if call is None or admission is None or answer is None or principal is None:
            return False
        if admission.effect is not Effect.ALLOW or status is None or status >= 400:
            return False
        made, ledger, now_ns = answer.meter.made, self.station.ledger, self.station.now_ns()
        await self.remember(passage)
        if made.kept is not None:
            await self.remember_cache(call.provider, made.kept)
        if call.operation == STORED:
            await self.asked_for(call.provider, made, answer.usage)
            return False
        response = made.response
        if "background" not in call.features or not made.goes_on or response is None:
            return False
        asked = passage.caller.provider
        if "background_unasked" in call.features or asked is None or asked.name != call.provider:
            return False  # only observed: nobody can ask for it, so it is booked as reserved now
        try:
            await self.station.write(
                lambda: ledger.await_answer(admission.id, response, call, now_ns)
            )
        except LedgerError as error:
            log.warning("A background call is booked as reserved: %s", error)
            return False
        return True

    def watch(self, passage: Passage) -> None:
        """Remember a stream's objects when they are known: its client may name them before its end."""
        answer = passage.answer
        assert answer is not None

        def known() -> None:
            task = asyncio.get_running_loop().create_task(self.remember(passage))
            self.writing.add(task)
            task.add_done_callback(self.writing.discard)

        if not self.with_own_key(passage):
            answer.when_known = known

    async def remember(self, passage: Passage) -> None:
        """Write down what this answer's provider keeps; what cannot be written may not be named."""
        call, answer, principal = passage.call, passage.answer, passage.caller.principal
        if call is None or answer is None or principal is None or self.with_own_key(passage):
            return
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        ids, provider = tuple(answer.meter.made.ids), call.provider
        if not ids:
            return
        try:
            await self.station.write(
                lambda: ledger.remember(principal.agent, provider, ids, now_ns)
            )
        except LedgerError as error:
            log.warning("Objects of an answer could not be remembered: %s", error)

    async def remember_cache(self, provider: str, kept: Kept) -> None:
        """Write down what a cache holds; one that cannot be written stays unbounded."""
        ledger = self.station.ledger
        try:
            await self.station.write(lambda: ledger.remember_cache(provider, kept))
        except LedgerError as error:
            log.warning("A cache could not be remembered: %s", error)

    def known(self, call: Call) -> Call:
        """The call, with what is known of the cache that it names.

        Raises:
            WireError: For more time for a cache that nothing is known of.
        """
        name = named_by(call)
        if name is None:
            return call
        return with_known(call, self.station.ledger.cache(call.provider, name))

    @staticmethod
    def with_own_key(passage: Passage) -> bool:
        """Whether the agent's own key went along: then its account says what it may name."""
        call, asked, policy = passage.call, passage.caller.provider, passage.policy
        if call is None or asked is None or policy is None or passage.admission is None:
            return True
        wanted = passage.admission.decision.key
        return goes_with_own_key(policy, wanted, asked.name, call.provider)

    async def asked_for(self, provider: str, made: Made, usage: Usage | None) -> None:
        """Settle the background call whose response this is, once it has ended."""
        if made.response is None or made.status is None:
            return
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        found, response = ledger.awaited(provider, made.response), made.response
        if found is None:
            return
        if made.goes_on:
            await self.station.write(
                lambda: ledger.await_answer(found.call, response, found.asked, now_ns)
            )
            return
        settled = ended(found, usage, self.station.policy_file.prices)
        note = f"Its answer was {made.status}. {settled.note}".rstrip()
        self.books.settle(found.call, replace(settled, note=note))


def ended(found: Awaited, usage: Usage | None, prices: PriceBook) -> Settlement:
    """What a background call came to, by the usage of its answer and by who pays for it."""
    asked, at_ns = found.asked, found.admitted_ns
    sheet = prices.sheet(asked.provider, asked.model or "", at_ns, asked.service_tier)
    decided = Decision(
        Effect.ALLOW,
        reserve_nano_usd=found.reserve_nano_usd,
        billing=found.billing,
        worst_nano_usd=found.worst_nano_usd,
    )
    if usage is None or usage.output_tokens is None:
        made = Settlement(Outcome.CUT, Basis.RESERVED, None)
    else:
        made = as_told(priced(usage, asked, decided, sheet), asked, prices, at_ns)
    return by_payer(replace(made, status=200), decided, asked.provider, {})
