"""A client that sends exactly the bytes it is told: one CONNECT, TLS, and then anything."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, Self

from e2e.world import PATIENCE_SECONDS, Proxy, World, trust

CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "hello"}],
}


@dataclass(slots=True)
class Said:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Tollkeeper's code in OpenAI's error shape."""
        return str(json.loads(self.body)["error"]["code"])


def dial(proxy: Proxy) -> socket.socket:
    """A connection to the proxy that has said nothing."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS)


def credentials(world: World, agent: str = "atlas") -> bytes:
    """The header line of an agent."""
    pair = f"{agent}:{world.tokens[agent]}".encode()
    return b"Proxy-Authorization: Basic " + base64.b64encode(pair) + b"\r\n"


def connect(opened: socket.socket, target: str, credentials: bytes = b"") -> bytes:
    """Send a CONNECT; what came back, at least the head of it."""
    opened.sendall(
        f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode() + credentials + b"\r\n"
    )
    return head_of(opened)


def head_of(opened: socket.socket) -> bytes:
    """What comes until the end of a header block or of the connection."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        try:
            more = opened.recv(65536)
        except ConnectionError:
            break
        if not more:
            break
        seen += more
    return seen


def pour(opened: socket.socket, data: bytes) -> None:
    """Send bytes, as many as the other side takes."""
    with suppress(ConnectionError, ssl.SSLError):
        opened.sendall(data)


def request(
    body: bytes | dict[str, Any] = CHAT,
    *,
    host: str = "api.openai.com",
    method: str = "POST",
    path: str = "/v1/chat/completions",
    fields: Iterable[tuple[str, str]] = (),
    length: bool = True,
) -> bytes:
    """A request in one piece; fields come after ``Host`` and the agent's own key."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    told = list(fields)
    if not any(name.lower() == "authorization" for name, _ in told):
        lines.append("Authorization: Bearer sk-agent")
    lines += [f"{name}: {value}" for name, value in told]
    if length:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


class Tunnel:
    """A decrypted tunnel."""

    def __init__(
        self,
        world: World,
        proxy: Proxy,
        host: str = "api.openai.com",
        *,
        agent: str = "atlas",
        sni: str | None = None,
        alpn: tuple[str, ...] = (),
    ) -> None:
        raw = dial(proxy)
        answer = connect(raw, f"{host}:443", credentials(world, agent))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        context = trust(world.home.ca_certificate)
        context.check_hostname = sni is None
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.socket = context.wrap_socket(raw, server_hostname=sni or host)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes, whether the other side still listens or not."""
        pour(self.socket, data)

    def ask(self, data: bytes, method: str = "POST") -> Said:
        """Send bytes and read one answer."""
        self.send(data)
        return self.hear(method)

    def hear(self, method: str = "POST") -> Said:
        """Read one answer; raises ConnectionError when the connection ends instead."""
        answer = HTTPResponse(self.socket, method=method)
        answer.begin()
        body = answer.read()
        return Said(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)

    def head(self) -> bytes:
        """Read one header block, and nothing behind it."""
        seen = b""
        while not seen.endswith(b"\r\n\r\n"):
            one = self.socket.recv(1)
            if not one:
                raise ConnectionError(f"It ended after {seen!r}.")
            seen += one
        return seen


def ask(world: World, data: bytes, host: str = "api.openai.com", **how: Any) -> Said:
    """One request on a connection of its own, through the world's newest proxy."""
    with Tunnel(world, world.proxies[-1], host, **how) as tunnel:
        return tunnel.ask(data)


def records(world: World, kind: str) -> list[dict[str, Any]]:
    """What is in the audit under this kind, newest last."""
    ledger = world.ledger()
    found = [row["data"] for row in ledger.audit(limit=100_000) if row["kind"] == kind]
    ledger.close()
    return found
