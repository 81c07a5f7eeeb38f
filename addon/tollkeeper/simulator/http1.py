"""HTTP/1.1 as it came over the wire: header order and case kept, writes one by one.

Built on h11, which neither buffers nor normalises what the simulator has to prove.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from http.client import responses

import h11

_READ_BYTES = 64 * 1024
_HEAD_LIMIT_BYTES = 1024 * 1024


class ClientGone(ConnectionError):
    """The client closed the connection before the answer was whole."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request.

    Attributes:
        head: Request line and header block exactly as received, up to the empty line.
        headers: Names in the case and order of the wire.
        body: Without transfer coding, with content coding.
        received_ns: When its last byte was read.
    """

    method: str
    target: str
    head: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_ns: int

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


class Peer:
    """One client connection: requests in, answers out, in turn."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self._head = bytearray()
        self._reading: asyncio.Task[bytes] | None = None
        # So that drain means: handed on. 0 would mean "paused for ever" to asyncio's TLS.
        writer.transport.set_write_buffer_limits(high=1, low=0)

    @property
    def server_name(self) -> str | None:
        """The name that the client asked for in its TLS hello."""
        tls = self._writer.get_extra_info("ssl_object")
        return getattr(tls, "asked_name", None)

    async def receive(self) -> Received | None:
        """The next request, or None when the client is done or talks nonsense."""
        try:
            request = await self._event()
            if not isinstance(request, h11.Request):
                return None
            head = bytes(self._head).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            body = bytearray()
            while not isinstance(event := await self._event(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    return None
                body += event.data
        except (h11.RemoteProtocolError, ConnectionError):
            return None
        return Received(
            method=request.method.decode("ascii"),
            target=request.target.decode("latin-1"),
            head=head,
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.headers.raw_items()
            ),
            body=bytes(body),
            received_ns=time.time_ns(),
        )

    async def start(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Writes the status line and the headers."""
        reason = responses.get(status, "Unknown")
        await self._write(h11.Response(status_code=status, headers=list(headers), reason=reason))

    async def send(self, data: bytes) -> None:
        """Writes a piece of the body and waits until the system has taken it.

        Raises:
            ClientGone: It left; nothing more can be delivered.
        """
        await self._write(h11.Data(data=data))

    async def finish(self) -> bool:
        """Ends the answer; True when the connection may carry another request."""
        await self._write(h11.EndOfMessage())
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._head = bytearray(self._http.trailing_data[0])
        self._http.start_next_cycle()
        return True

    async def rest(self, seconds: float | None) -> None:
        """Waits; ``None`` waits until the client leaves.

        Raises:
            ClientGone: It left meanwhile.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or (left := deadline - time.monotonic()) > 0:
            task = self._read_task()
            await asyncio.wait({task}, timeout=None if deadline is None else left)
            self._take_early_bytes()

    async def write_raw(self, data: bytes) -> None:
        """Writes bytes of another protocol, once the connection has switched.

        Raises:
            ClientGone: It left.
        """
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as e:
            raise ClientGone("the client left") from e

    async def read_raw(self) -> bytes:
        """Bytes of another protocol; none when the client has left."""
        task, self._reading = self._read_task(), None
        try:
            return await task
        except ConnectionError:
            return b""

    def abort(self) -> None:
        """Breaks the connection off without a goodbye."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Closes in order; may be called twice and on a dead connection."""
        if self._reading is not None:
            self._reading.cancel()
        self._writer.close()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            task = self._read_task()
            data = await task
            self._reading = None
            self._head += data if self._http.their_state is h11.IDLE else b""
            self._http.receive_data(data)
        return event

    def _read_task(self) -> asyncio.Task[bytes]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._reader.read(_READ_BYTES))
        return self._reading

    def _take_early_bytes(self) -> None:
        """Notices a client that left; keeps what one that pipelines has sent already."""
        if self._reading is None or not self._reading.done():
            return
        if self._reading.exception() is not None or not self._reading.result():
            raise ClientGone("the client left")
        self._http.receive_data(self._reading.result())
        self._reading = None

    async def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        self._read_task()
        try:
            if data:
                self._writer.write(data)
                await self._writer.drain()
            await asyncio.sleep(0)
            self._take_early_bytes()
        except ConnectionError as e:
            raise ClientGone("the client left") from e
