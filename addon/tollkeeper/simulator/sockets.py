"""WebSockets, and OpenAI's Responses over one: a frame asks, the events of a stream answer.

Source: https://developers.openai.com/api/docs/guides/websocket-mode
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Message, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from tollkeeper.simulator.http1 import ClientGone, Peer, Received

type Answering = Callable[[Received], AsyncIterator[bytes]]
"""The frames that answer the body of a request, as they are generated."""

type Write = Callable[[bytes], Awaitable[None]]
type Take = Callable[[str, Write], Awaitable[None]]
"""What becomes of a client's message, and how it is answered."""


def wants_socket(received: Received) -> bool:
    """Whether a request asks for a WebSocket."""
    return (received.header("upgrade") or "").lower() == "websocket"


async def converse(peer: Peer, received: Received, answering: Answering) -> None:
    """Talk until the client leaves: what it sends is answered frame by frame.

    Raises:
        ClientGone: It left.
    """

    async def take(asked: str, write: Write) -> None:
        await _answer(asked, received, answering, write)

    await listen(peer, await opened(peer, received), take)


async def opened(peer: Peer, received: Received) -> Connection:
    """Switch to the WebSocket that a request asks for."""
    token = generate_accept_token((received.header("sec-websocket-key") or "").encode())
    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    head.append(f"Sec-WebSocket-Accept: {token.decode()}")
    offered = [one.strip() for one in (received.header("sec-websocket-protocol") or "").split(",")]
    if "realtime" in offered:
        head.append("Sec-WebSocket-Protocol: realtime")
    await peer.write_raw("\r\n".join([*head, "", ""]).encode())
    return Connection(ConnectionType.SERVER)


async def listen(peer: Peer, socket: Connection, take: Take) -> None:
    """Hand each message to whoever takes it, until the client leaves.

    Raises:
        ClientGone: It left.
    """
    text = ""
    while True:
        data = await peer.read_raw()
        if not data:
            raise ClientGone("the client left")
        socket.receive_data(data)
        for event in socket.events():
            if isinstance(event, CloseConnection):
                await peer.write_raw(socket.send(event.response()))
                return
            if isinstance(event, Ping):
                await peer.write_raw(socket.send(event.response()))
            elif isinstance(event, Message):
                text += str(event.data)
                if event.message_finished:
                    asked, text = text, ""
                    await take(asked, writing(peer, socket))


async def _answer(asked: str, received: Received, answering: Answering, write: Write) -> None:
    body = json.loads(asked)
    if body.pop("type", None) != "response.create":
        await write(error(400, "unknown_event", "Send response.create."))
        return
    as_request = Received(
        "POST", received.target, received.head, received.headers,
        json.dumps(body | {"stream": True}).encode(), received.received_ns,
    )  # fmt: skip
    async for frame in answering(as_request):
        await write(frame)


def writing(peer: Peer, socket: Connection) -> Write:
    """What sends a frame."""

    async def write(frame: bytes) -> None:
        await peer.write_raw(socket.send(TextMessage(frame.decode())))

    return write


def error(status: int, code: str, message: str) -> bytes:
    """An error event."""
    told: Mapping[str, Any] = {"code": code, "message": message, "type": "invalid_request_error"}
    return json.dumps({"type": "error", "status": status, "error": told}).encode()
