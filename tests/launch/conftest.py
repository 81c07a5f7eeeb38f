"""A CONNECT proxy that tunnels every name to the simulator, and what it saw."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tollkeeper.simulator.lab import Lab, in_thread


@dataclass
class Tunnels:
    """The proxy's own record: ``(user:password, authority)`` of each tunnel, in order."""

    port: int
    opened: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://atlas:tk_secret@127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with in_thread(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def tunnels(lab: Lab) -> Iterator[Tunnels]:
    loop = asyncio.new_event_loop()
    seen = Tunnels(0)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        given = headers.get("proxy-authorization", "").removeprefix("Basic ")
        seen.opened.append((base64.b64decode(given).decode(), first.split()[1]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", lab.port)
        await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    seen.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield seen

    async def stop() -> None:
        server.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def bundle(lab: Lab, tmp_path: Path) -> Path:
    from tollkeeper.launch.bundle import write_bundle

    path = tmp_path / "bundle.pem"
    write_bundle(lab.certificate, path)
    return path
