"""A provider that answers with whatever bytes it is told, behind the lab's TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tollkeeper.simulator.certificates import LabAuthority

Play = Callable[[ssl.SSLSocket], None]
"""What is done with a connection on which a whole request was read."""

PATIENCE_SECONDS = 20


@dataclass(slots=True)
class HostileProvider:
    """Listens on loopback; every request that reached it is counted.

    Attributes:
        play: What the next requests are answered with.
        alpn: The protocol that is spoken.
        speaks_first: Whether it plays from the first byte, without a request; so it does in ``h2``.
        received: Requests read so far.
        ended: Connections that came to their end, or whose client left; none whose client stayed
            and read no more.
    """

    port: int
    certificate: Path
    play: Play
    alpn: str = "http/1.1"
    speaks_first: bool = False
    received: int = 0
    ended: int = 0
    connections: list[ssl.SSLSocket] = field(default_factory=list)

    def converse(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        """One connection, to its end."""
        try:
            opened = context.wrap_socket(raw, server_side=True)
            opened.settimeout(PATIENCE_SECONDS)
            self.connections.append(opened)
            with opened:
                while self.speaks_first or whole_request(opened):
                    self.received += 1
                    self.play(opened)
                    if self.speaks_first:
                        break
        except TimeoutError:
            return
        except OSError:
            pass
        self.ended += 1


def whole_request(opened: ssl.SSLSocket) -> bool:
    """Read a request with a length; False when the client is gone."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        if not (more := opened.recv(65536)):
            return False
        seen += more
    head, _, body = seen.partition(b"\r\n\r\n")
    lengths = [one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")]
    missing = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
    while missing > 0:
        missing -= len(opened.recv(65536)) or missing
    return True


@contextmanager
def hostile_provider(
    folder: Path, play: Play, alpn: str = "http/1.1", host: str = "api.openai.com"
) -> Iterator[HostileProvider]:
    """Run one beside a test."""
    authority = LabAuthority(folder)
    context = authority.server_context()
    authority._context(host).set_alpn_protocols([alpn])
    listener = socket.create_server(("127.0.0.1", 0))
    made = HostileProvider(
        listener.getsockname()[1], authority.certificate, play, alpn, speaks_first=alpn == "h2"
    )

    def serve() -> None:
        with suppress(OSError):
            while True:
                raw, _ = listener.accept()
                threading.Thread(target=made.converse, args=(raw, context), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in made.connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_SECONDS)
