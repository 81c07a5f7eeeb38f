"""The outer end of a sandbox's only way out: a Unix socket that leads to the proxy."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

from tollkeeper.launch.inside import BACKLOG, leading_to

SOCKET = "proxy"
"""Its name in the bridge's folder."""


class Bridge:
    """Listens while it is entered; whoever connects to the socket talks to the proxy.

    The folder belongs to this user alone, so nobody else connects.
    """

    def __init__(self, host: str, port: int) -> None:
        """Lead to the proxy at this address."""
        self.host, self.port = host, port
        self.folder = Path()
        self._listening: Future[asyncio.AbstractEventLoop] = Future()
        self._over = asyncio.Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        """Listen.

        Raises:
            OSError: When the socket cannot be made.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="tollkeeper-"))
        self._thread.start()
        self._listening.result()
        return self

    async def _serve(self) -> None:
        callback = leading_to(lambda: asyncio.open_connection(self.host, self.port))
        try:
            await asyncio.start_unix_server(callback, self.folder / SOCKET, backlog=BACKLOG)
        except OSError as error:
            self._listening.set_exception(error)
            return
        self._listening.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything that is still open."""
        self._listening.result().call_soon_threadsafe(self._over.set)
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)
