"""What other models write down of the audio on a WebSocket: reserved ahead, a stretch at a time.

A stretch is one call. It covers the audio that was sent and not yet committed when it began, and so
much more; audio beyond it opens the next one before it leaves. What is committed meanwhile belongs to
it, and when all of that has been written down and a later stretch has begun, it is settled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tollkeeper.core.units import is_measured
from tollkeeper.domain import NS_PER_SECOND, Basis, Code, Effect, Outcome, Reason, Settlement, Usage
from tollkeeper.proxy import settling
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.socket_turns import Socket, Turns
from tollkeeper.wire.talk import Sound, Told, Written

STRETCH_MICROSECONDS = 60_000_000
"""Long enough to ask the ledger rarely, short enough that little is reserved."""

MOST_STRETCHES = 4
"""That are not settled: a provider writes a turn down in seconds. What it does not, because the client
has deleted it, is booked whole when the next one begins."""

_AGAIN_NS = NS_PER_SECOND
"""Audio comes fifty times a second; the ledger is asked again after so long."""


@dataclass(slots=True)
class Stretch:
    """One call for what is written down.

    Attributes:
        turn: Its passage.
        left: Microseconds of audio that it still covers.
        open: Ids of what was committed and is not written down.
        known: Whether the provider has said what each piece is billed.
        usage: What has been written down.
    """

    turn: Passage
    left: int
    open: set[str] = field(default_factory=set)
    known: bool = True
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, output_tokens=0))


@dataclass(slots=True)
class Ears:
    """What is written down on one connection.

    Attributes:
        stretches: That are not settled, the newest last.
        buffered: Microseconds of audio that were sent and not committed.
        committing: Commits of the client's, less those that the provider has told.
        asked_ns: When the ledger refused last.
        reason: Why.
    """

    stretches: list[Stretch] = field(default_factory=list)
    buffered: int = 0
    committing: int = 0
    asked_ns: int = 0
    reason: Reason | None = None


class Hearing:
    """Reserves what is written down, and settles it."""

    def __init__(self, turns: Turns) -> None:
        """Keep the room it works with."""
        self.turns = turns
        self.books = turns.books

    async def covers(self, socket: Socket, ears: Ears, sound: Sound) -> Reason | None:
        """Why audio may not leave; None where it is covered."""
        lasts = sound.microseconds
        now = ears.stretches[-1] if ears.stretches else None
        if now is None or now.left < lasts:
            refused = await self.reach(socket, ears, sound)
            if refused is not None:
                return refused
            now = ears.stretches[-1]
        now.left -= lasts
        ears.buffered += lasts
        return None

    async def reach(self, socket: Socket, ears: Ears, sound: Sound) -> Reason | None:
        """Reserve the next stretch."""
        enforcer = self.turns.enforcer
        now_ns = enforcer.station.now_ns()
        if ears.reason is not None and now_ns - ears.asked_ns < _AGAIN_NS:
            return ears.reason
        if len(ears.stretches) >= MOST_STRETCHES:
            await self.settle(ears.stretches.pop(0))
        most = sound.microseconds + STRETCH_MICROSECONDS
        inbound, call = sound.written_down(ears.buffered + most)
        upgrade = socket.upgrade
        turn = Passage(upgrade.caller, said=upgrade.said, family=upgrade.family)
        turn.call, turn.inbound = call, inbound
        socket.asking = turn  # a fault gives it back
        admission = await enforcer.admit(turn, inbound)
        ears.reason, ears.asked_ns = None, now_ns
        if admission.effect is Effect.ALLOW:
            unfit = self.turns.unfit(socket, turn, admission.decision.changes)
            if unfit is not None:
                self.books.settle(admission.id, settling.NOT_SENT)
                ears.reason = Reason(Effect.DENY, Code.POLICY_DENIED, *unfit)
        elif admission.effect is Effect.HOLD:
            await self.books.let_go(admission.id)
            message = "Transcripts cannot wait for a person: the rule must let them pass."
            ears.reason = Reason(Effect.DENY, Code.APPROVAL_PENDING, "transcription", message)
        else:
            ears.reason = admission.decision.reasons[0]
        socket.asking = None
        if ears.reason is None:
            ears.stretches.append(Stretch(turn, most))
        return ears.reason

    async def told(self, ears: Ears, told: Told) -> None:
        """What a provider's frame says of transcripts."""
        if told.committed is not None and ears.stretches:
            ears.stretches[-1].open.add(told.committed)
            ears.committing = max(ears.committing - 1, 0)
        if told.buffered is not None:
            ears.buffered = min(ears.buffered, told.buffered)
        if told.written is not None:
            for stretch in ears.stretches:
                if told.written.item in stretch.open:
                    note(stretch, told.written)
                    break
        for stretch in [one for one in ears.stretches[:-1] if not one.open]:
            ears.stretches.remove(stretch)
            await self.settle(stretch)

    async def close(self, ears: Ears) -> None:
        """Settle what is open when the connection has ended: what was committed last may be written down."""
        if ears.stretches and ears.committing and ears.buffered:
            ears.stretches[-1].known = False
        while ears.stretches:
            await self.settle(ears.stretches.pop())

    def give_up(self, ears: Ears) -> None:
        """Book whole what is open; nothing is awaited."""
        for stretch in ears.stretches:
            self.turns.give_up(stretch.turn, heard=True)
        ears.stretches.clear()

    async def settle(self, stretch: Stretch) -> None:
        """Resolve one stretch: by what was written down, whole where that is not all known."""
        turn = stretch.turn
        assert turn.call is not None
        assert turn.admission is not None
        decision, sheet = turn.admission.decision, turn.sheet
        whole = stretch.known and not stretch.open
        if whole and (stretch.usage.input_tokens == 0 == stretch.usage.audio_milliseconds):
            made = Settlement(Outcome.COMPLETE, Basis.MEASURED, 0)
        elif whole and is_measured(sheet, stretch.usage):
            made = settling.priced(stretch.usage, turn.call, decision, sheet)
        else:
            made = settling.reserved(decision, turn.bounding, None, turn.call, stretch.usage)
        self.books.settle(turn.admission.id, turn.by_payer(replace(made, status=101)))
        turn.settled = True


def note(stretch: Stretch, written: Written) -> None:
    """Add what one piece is billed."""
    stretch.open.discard(written.item)
    said, before = written.usage, stretch.usage
    if said is None:
        stretch.known = False
        return
    stretch.usage = replace(
        before,
        input_tokens=(before.input_tokens or 0) + (said.input_tokens or 0),
        output_tokens=(before.output_tokens or 0) + (said.output_tokens or 0),
        audio_input_tokens=before.audio_input_tokens + said.audio_input_tokens,
        audio_milliseconds=before.audio_milliseconds + said.audio_milliseconds,
        unknown=tuple(dict.fromkeys((*before.unknown, *said.unknown))),
    )
