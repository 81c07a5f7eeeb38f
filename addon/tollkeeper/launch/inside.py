"""What runs first inside a sandbox: a way to the proxy, then the program itself.

It is run by its path (``python -I inside.py PORT SOCKET SIGNALS CMD…``) and knows only the standard
library, because nothing else need be installed where it runs. A process of its own listens on
``127.0.0.1:PORT``, the only network there is, and leads every connection to the proxy's end outside,
a Unix socket. It also hands on the signals whose numbers come through the pipe ``SIGNALS``: the
process that made the sandbox would not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

CHUNK_BYTES = 64 * 1024
BACKLOG = 512
HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

type Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def leading_to(
    open_other: Callable[[], Awaitable[Ends]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A server's callback that joins each connection with a new one on the other side."""

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await open_other()
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
        finally:
            writer.close()
            other_writer.close()

    return joined


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one to the other, and its end; a connection that breaks ends both."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


async def serve(listener: socket.socket, path: str, signals: int, program: int) -> None:
    """Lead connections out and signals in, until the sandbox ends."""

    def hand_on() -> None:
        numbers = os.read(signals, 64)
        if not numbers:
            loop.remove_reader(signals)
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(program, number)

    loop = asyncio.get_running_loop()
    loop.add_reader(signals, hand_on)
    callback = leading_to(lambda: asyncio.open_unix_connection(path))
    server = await asyncio.start_server(callback, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


def main(port: str, path: str, signals: str, *command: str) -> None:
    """Leave the way to the proxy behind, and become the program."""
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=BACKLOG)
    program = os.getpid()
    if os.fork() == 0:
        asyncio.run(serve(listener, path, int(signals), program))
        return
    listener.close()
    os.close(int(signals))
    for number in HANDED_ON:  # ignored by who made the sandbox, so that a Ctrl-C does not end it
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - what was asked for
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} cannot be run here: {error.strerror}.\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main(*sys.argv[1:])
