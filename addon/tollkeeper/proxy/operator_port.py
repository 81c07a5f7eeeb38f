"""The operator's port: health for whoever starts and watches the proxy, figures for who has the token.

``/healthz`` (the event loop turns) and ``/readyz`` (calls would be taken) tell no secrets and want no
token, because kubelets and load balancers have none. Agents are never led here through the proxy.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import secrets
from http import HTTPStatus
from pathlib import Path

import h11
from mitmproxy import master

from tollkeeper.errors import LedgerError
from tollkeeper.ledger.figures import Figures
from tollkeeper.proxy.addresses import Address
from tollkeeper.proxy.exposition import CONTENT_TYPE, exposition
from tollkeeper.proxy.health import readiness
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 32
"""A few probes and scrapers; more are closed at once."""

REQUEST_SECONDS = 5.0
"""For a request to arrive whole; slower clients are closed."""

REQUEST_LIMIT_BYTES = 16 * 1024

type Answer = tuple[HTTPStatus, str, bytes]


class OperatorPort:
    """A small HTTP/1.1 server: one request a connection."""

    def __init__(self, station: Station, made_master: master.Master) -> None:
        """Nothing is open yet."""
        self.station, self.master = station, made_master
        self.figures = Figures(station.ledger)
        self.reading = asyncio.Lock()
        self.connections = 0
        self.server: asyncio.Server | None = None
        self.token = ""

    async def open(self, address: Address) -> Address:
        """Listen; the address, with the port that was taken where 0 was asked for.

        Raises:
            OSError: When the address is taken or not ours.
        """
        self.token = read_token(self.station.home.metrics_token)
        self.server = await asyncio.start_server(
            self.serve, address.host or None, address.port, limit=REQUEST_LIMIT_BYTES
        )
        return Address(*self.server.sockets[0].getsockname()[:2])

    async def close(self) -> None:
        """Listen no more."""
        if self.server is not None:
            self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's one request."""
        self.connections += 1
        try:
            if self.connections <= MOST_CONNECTIONS:
                await self.answer_one(reader, writer)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            log.debug("A client of the operator port was closed: %s", error)
        finally:
            self.connections -= 1
            writer.close()

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request and write its answer."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_LIMIT_BYTES)
        async with asyncio.timeout(REQUEST_SECONDS):
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(REQUEST_LIMIT_BYTES))
        if not isinstance(event, h11.Request):
            return
        status, content_type, body = await self.answer(event)
        fields = [
            ("content-type", content_type),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        if status is HTTPStatus.UNAUTHORIZED:
            fields.append(("www-authenticate", 'Bearer realm="tollkeeper"'))
        response = h11.Response(status_code=status, headers=fields, reason=status.phrase.encode())
        written = connection.send(response)
        assert written is not None
        writer.write(written + (b"" if event.method == b"HEAD" else body))
        async with asyncio.timeout(REQUEST_SECONDS):
            await writer.drain()

    async def answer(self, request: h11.Request) -> Answer:
        """What a request gets."""
        if request.method not in (b"GET", b"HEAD"):
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here.")
        match request.target.partition(b"?")[0]:
            case b"/healthz":
                return plain(HTTPStatus.OK, "ok")
            case b"/readyz":
                return await self.readyz()
            case b"/metrics":
                return await self.metrics(dict(request.headers).get(b"authorization", b""))
            case _:
                return plain(HTTPStatus.NOT_FOUND, "Here are /healthz, /readyz and /metrics.")

    async def readyz(self) -> Answer:
        """200 when calls would be taken, else 503; the reasons as JSON."""
        found = await asyncio.to_thread(readiness, self.station, self.listeners())
        status = HTTPStatus.OK if found["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(found, indent=2).encode() + b"\n"

    async def metrics(self, authorization: bytes) -> Answer:
        """The figures, for who has the token."""
        if not hmac.compare_digest(authorization, f"Bearer {self.token}".encode()):
            return plain(
                HTTPStatus.UNAUTHORIZED, "Send the text of metrics.token as a bearer token."
            )
        now_ns = self.station.now_ns()
        try:
            async with self.reading:
                sums = await asyncio.to_thread(self.figures.sums, now_ns)
                now = await asyncio.to_thread(self.figures.now)
        except LedgerError as error:
            log.warning("The figures cannot be read: %s", error)
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, "The ledger cannot be read.")
        found = await asyncio.to_thread(readiness, self.station, self.listeners())
        policy = self.station.policy_file.policy
        text = exposition(sums, now, policy, ready=bool(found["ready"]))
        return HTTPStatus.OK, CONTENT_TYPE, text.encode()

    def listeners(self) -> int:
        """How many of the proxy's listeners are open."""
        return len(self.master.addons.get("proxyserver").listen_addrs())


def plain(status: HTTPStatus, text: str) -> Answer:
    """An answer of one line."""
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def read_token(path: Path) -> str:
    """The token of the figures; made, for its owner alone, when it is not there or empty."""
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        found = ""
    if found:
        return found
    made = secrets.token_urlsafe(32)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(made + "\n")
    return made
