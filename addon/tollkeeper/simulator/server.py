"""The simulated providers: one TLS port for all names, one plain port to watch and steer them.

    simulator = Simulator(folder)
    await simulator.start()        # .port, .control_port, .certificate
    …
    await simulator.stop()

For tests and the demo, ``lab.py`` runs it in a thread or a process of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tollkeeper.domain import Dialect
from tollkeeper.simulator import control, providers, realtime, sockets
from tollkeeper.simulator.background import Background
from tollkeeper.simulator.certificates import LabAuthority
from tollkeeper.simulator.exchange import Answer
from tollkeeper.simulator.http1 import ClientGone, Peer, Received
from tollkeeper.simulator.providers import Simulated
from tollkeeper.simulator.record import Billed, CallRecord, Records

_LOOPBACK = "127.0.0.1"
_BACKLOG = 2048
_MOST_ORDERS = 1000


@dataclass(slots=True)
class Order:
    """Directives for calls to come, whatever their prompts say.

    Attributes:
        words: As in ``[sim …]``.
        times: For how many calls.
        host: Only calls to this host, or None.
    """

    words: str
    times: int = 1
    host: str | None = None


class Simulator:
    """OpenAI, Anthropic, Gemini and those who speak like them, on 127.0.0.1.

    Attributes:
        port: Of the providers; chosen by the system when 0 was asked for.
        control_port: Of the watcher.
        certificate: PEM file of the CA that signs the providers' certificates.
        records: Every request received, with what it was billed.
    """

    def __init__(self, folder: Path, *, port: int = 0, control_port: int = 0) -> None:
        self.port = port
        self.control_port = control_port
        self.records = Records()
        self._authority = LabAuthority(folder)
        self.certificate = self._authority.certificate
        self._keys: dict[str, frozenset[str]] = {}
        self._background = Background()
        self._orders: deque[Order] = deque(maxlen=_MOST_ORDERS)
        self._servers: list[asyncio.Server] = []
        self._serials = itertools.count(1)
        self._connections = itertools.count(1)
        self._conversations: set[asyncio.Future[None]] = set()
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        """Listens; both ports are known afterwards."""
        server = await asyncio.start_server(
            self._serve, _LOOPBACK, self.port, ssl=self._authority.server_context(),
            backlog=_BACKLOG,
        )  # fmt: skip
        watcher = await asyncio.start_server(self._watch, _LOOPBACK, self.control_port)
        self._servers = [server, watcher]
        self.port = server.sockets[0].getsockname()[1]
        self.control_port = watcher.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and breaks open connections off."""
        for server in self._servers:
            server.close()
        for task in list(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def expect_keys(self, keys: Mapping[str, Iterable[str]]) -> None:
        """From now on only these keys are accepted, by host; other hosts accept any."""
        self._keys = {host: frozenset(values) for host, values in keys.items()}

    def order(self, words: str, *, times: int = 1, host: str | None = None) -> None:
        """Steers the next calls without touching their prompts."""
        self._orders.append(Order(words, times, host))

    def reset(self) -> None:
        """Forgets calls, orders and expected keys."""
        self.records.clear()
        self._orders.clear()
        self._keys = {}

    async def wait_for(self, received: int, ended: int, seconds: float) -> None:
        """Waits until so many calls have come in and so many of them are over, or time is up."""

        def there() -> bool:
            over = sum(call.outcome != "open" for call in self.records)
            return self.records.total >= received and over >= ended

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(there)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await self._keep(peer, self._converse(peer, next(self._connections)))

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await self._keep(peer, control.converse(peer, self))

    async def _keep(self, peer: Peer, conversation: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(conversation)
        self._conversations.add(task)
        try:
            await task
        except (ClientGone, asyncio.CancelledError):
            peer.abort()
        finally:
            self._conversations.discard(task)
            peer.close()

    async def _converse(self, peer: Peer, connection: int) -> None:
        while (received := await peer.receive()) is not None:
            host = (received.header("host") or "").lower().partition(":")[0]
            at = (host, peer.server_name, connection)
            if sockets.wants_socket(received) and received.path.endswith("/realtime"):
                if self._accepts(received, host):
                    await self._session(at, peer, received)
                    return
            elif sockets.wants_socket(received):
                await sockets.converse(peer, received, partial(self._frames, at))
                return
            call = CallRecord(next(self._serials), host, peer.server_name, connection, received)
            self.records.add(call)
            await self._notify()
            simulated = self._simulate(call)
            call.dialect = simulated.dialect
            call.billed = Billed(simulated.usage) if simulated.usage else None
            self.records.began(call)
            try:
                again = await self._answer(peer, call, simulated)
            except (ClientGone, asyncio.CancelledError):
                call.outcome = "client_gone"
                raise
            finally:
                self.records.ended(call)
                await self._notify()
            if not again:
                return

    async def _frames(
        self, at: tuple[str, str | None, int], received: Received
    ) -> AsyncIterator[bytes]:
        """The events that answer one frame of a WebSocket; the call is recorded like any other."""
        call = CallRecord(next(self._serials), *at, received)
        self.records.add(call)
        simulated = self._simulate(call)
        call.dialect = simulated.dialect
        call.billed = billed = Billed(simulated.usage) if simulated.usage else None
        call.status = simulated.answer.status
        self.records.began(call)
        call.outcome = "client_gone"
        try:
            for number, frame in enumerate(simulated.answer.frames):
                if frame.paced and number:
                    await asyncio.sleep(simulated.script.delay)
                if billed is not None:
                    billed.output_tokens += frame.output_tokens
                if simulated.answer.status >= 400:
                    yield sockets.error(simulated.answer.status, "refused", frame.data.decode())
                else:
                    yield frame.data.partition(b"data: ")[2].strip()
            call.outcome = "complete"
        finally:
            self.records.ended(call)
            await self._notify()

    async def _session(
        self, at: tuple[str, str | None, int], peer: Peer, received: Received
    ) -> None:
        """A Realtime session; each response is recorded like a call."""

        async def opens(body: bytes) -> CallRecord:
            now_ns = time.time_ns()
            head, headers = received.head, received.headers
            asked = Received("POST", received.target, head, headers, body, now_ns)
            call = CallRecord(next(self._serials), *at, asked, Dialect.OPENAI_REALTIME)
            self.records.add(call)
            self.records.began(call)
            await self._notify()
            return call

        async def closed(call: CallRecord) -> None:
            self.records.ended(call)
            await self._notify()

        socket = await sockets.opened(peer, received)
        desk = realtime.Desk(opens, closed, self._next_order)
        write = sockets.writing(peer, socket)
        session = realtime.Session(realtime.model_of(received), write, desk, peer.abort)
        await session.begin()
        try:
            await sockets.listen(peer, socket, lambda frame, _: session.take(frame))
        finally:
            await session.end()

    def _accepts(self, received: Received, host: str) -> bool:
        accepted = self._keys.get(host)
        return accepted is None or providers.key_of(received) in accepted

    def _simulate(self, call: CallRecord) -> Simulated:
        family = providers.family_of(call.received, call.host)
        if not self._accepts(call.received, call.host):
            return Simulated(providers.refused_key(family))
        kept = self._background.asked(call.received)
        if kept is not None:
            return kept
        made = providers.simulate(call.received, call.host, self._next_order(call), call.serial)
        return self._background.take(call.received, made)

    def _next_order(self, call: CallRecord) -> str:
        if call.received.method != "POST":
            return ""
        for order in self._orders:
            if order.host in (None, call.host):
                order.times -= 1
                if order.times <= 0:
                    self._orders.remove(order)
                return order.words
        return ""

    async def _answer(self, peer: Peer, call: CallRecord, simulated: Simulated) -> bool:
        answer, script, billed = simulated.answer, simulated.script, call.billed
        if billed and not answer.streamed:
            billed.output_tokens = 0 if script.hang else billed.whole.output_tokens or 0
        await peer.rest(None if script.hang else script.first_delay)
        call.status = answer.status
        await peer.start(answer.status, _headers(call, answer))
        if await self._deliver(peer, call, simulated):
            call.outcome = "complete"
            return await peer.finish()
        call.outcome = "cut"
        peer.abort()
        return False

    async def _deliver(self, peer: Peer, call: CallRecord, simulated: Simulated) -> bool:
        """Writes the body frame by frame; False when the script breaks it off."""
        script, streamed = simulated.script, simulated.answer.streamed
        pieces = 0
        for frame in simulated.answer.frames:
            begun = frame.paced or pieces > 0
            if begun and pieces == script.cut:
                return False
            if begun and pieces == script.stall:
                await peer.rest(None)
            if frame.paced:
                await peer.rest(script.delay if pieces else 0)
                pieces += 1
            if call.billed and streamed:
                call.billed.output_tokens += frame.output_tokens
            size = script.split or len(frame.data) or 1
            for start in range(0, len(frame.data), size):
                part = frame.data[start : start + size]
                await peer.send(part)
                call.sent(time.time_ns(), len(part))
        return pieces == 0 or pieces != script.cut

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _headers(call: CallRecord, answer: Answer) -> tuple[tuple[str, str], ...]:
    """The answer's own, a request id, and a length unless the body comes in pieces."""
    headers = (*answer.headers, ("x-request-id", f"req_sim{call.serial:08d}"))
    if answer.streamed:
        return headers
    size = sum(len(frame.data) for frame in answer.frames)
    return (*headers, ("Content-Length", str(size)))
