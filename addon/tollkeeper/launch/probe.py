"""Whether the runtimes of this machine obey what ``run`` sets: each asks one question of a proxy of ours.

The proxy lives in this process, on loopback, for as long as the probes do. It opens a tunnel to one
name that nobody can have, and answers inside with a certificate of our CA: a runtime that goes past
the proxy finds no such name, one that does not trust the CA ends the handshake. Nothing is sent
anywhere else.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tollkeeper.launch.ca import leaf
from tollkeeper.launch.environment import environment
from tollkeeper.launch.runtimes import FILES, HOST, NOT_THERE, RUNTIMES, Runtime

SECONDS = 10.0
"""For each probe; they run side by side."""

_AT_ONCE = 4
_MOST_HEAD_BYTES = 16_384
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Probed:
    """What one runtime did.

    Attributes:
        version: The first line that it prints of itself; empty when it says nothing.
        proxied: It asked the proxy for the tunnel.
        trusted: It sent its question through, so it took our certificate.
        ended: False when its time was up first.
    """

    runtime: Runtime
    version: str
    proxied: bool
    trusted: bool
    ended: bool


@dataclass(slots=True)
class _Door:
    """The proxy's record: who asked for a tunnel, who spoke inside."""

    listener: socket.socket
    context: ssl.SSLContext
    tunnels: set[str] = field(default_factory=set)
    questions: set[str] = field(default_factory=set)

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed: the probes are over
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(SECONDS)
            name = _user(_head(client))
            if name is None:  # git asks without credentials first
                challenge = b'proxy-authenticate: Basic realm="tollkeeper"\r\ncontent-length: 0\r\n'
                client.sendall(b"HTTP/1.1 407 Say who you are\r\n" + challenge + b"\r\n")
                name = _user(_head(client))
            if name is None:
                return
            self.tunnels.add(name)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with self.context.wrap_socket(client, server_side=True) as inside:
                if _head(inside):
                    self.questions.add(name)
                    inside.sendall(_ANSWER)


def probe(
    base: Mapping[str, str],
    *,
    ca: Path,
    bundle: Path,
    extra: Path,
    runtimes: Sequence[Runtime] = RUNTIMES,
    seconds: float = SECONDS,
) -> list[Probed]:
    """Every runtime that is found on the path of ``base``, in the order of the list.

    Args:
        base: The environment that a child would inherit; what ``run`` sets is put over it.
        ca: The folder of our CA with its key.
        bundle: Public roots and our CA.
        extra: Our CA alone.
        runtimes: Which to look for.
        seconds: For each of them.
    """
    there = [one for one in runtimes if shutil.which(one.program, path=base.get("PATH"))]
    with _door(ca) as door, tempfile.TemporaryDirectory(prefix="tollkeeper-") as folder:
        port = door.listener.getsockname()[1]
        for name, text in FILES.items():
            (Path(folder) / name).write_text(text)

        def ask(runtime: Runtime) -> Probed | None:
            url = f"http://{runtime.key}:probe@127.0.0.1:{port}"
            child = environment(base, proxy_url=url, ca_certificate=extra, bundle=bundle)
            child |= runtime.settings
            code, _ = _run(runtime.words, child, Path(folder), seconds)
            if code == NOT_THERE:
                return None
            _, version = _run(runtime.asks_version, child, Path(folder), seconds)
            return Probed(
                runtime,
                version,
                proxied=runtime.key in door.tunnels,
                trusted=runtime.key in door.questions,
                ended=code is not None,
            )

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [found for found in pool.map(ask, there) if found is not None]


@contextmanager
def _door(ca: Path) -> Iterator[_Door]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf(ca, HOST))
        file.flush()
        context.load_cert_chain(file.name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        door = _Door(listener, context)
        threading.Thread(target=door.serve, name="probe", daemon=True).start()
        try:
            yield door
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _head(connection: socket.socket) -> bytes:
    """A request's first line and headers; empty when they do not come."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD_BYTES:
        piece = connection.recv(4096)
        if not piece:
            return b""
        head += piece
    return head


def _user(head: bytes) -> str | None:
    """The user part of a CONNECT's proxy credentials."""
    if not head.startswith(b"CONNECT "):
        return None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"proxy-authorization":
            with suppress(binascii.Error, UnicodeDecodeError):
                return base64.b64decode(value.split()[-1]).decode().partition(":")[0]
    return None


def _run(
    words: Sequence[str], child: Mapping[str, str], folder: Path, seconds: float
) -> tuple[int | None, str]:
    """Exit code and first line; no code when its time was up, and then nothing of it is left."""
    with tempfile.TemporaryFile(dir=folder) as out:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own list of programs
                words, env=dict(child), cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError:
            return os.EX_UNAVAILABLE, ""
        code: int | None = None
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        line = out.readline(_MOST_HEAD_BYTES).decode(errors="replace")
    return code, line.partition(" (")[0].strip()[:60]
