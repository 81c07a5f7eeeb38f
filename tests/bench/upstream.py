"""A provider that costs almost nothing: fixed answers over TLS, so that the proxy is what is measured.

``python upstream.py FOLDER`` prints its port; ``lab-ca.pem`` lies in FOLDER. A body with
``"stream":true`` is answered with events 20 ms apart.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tollkeeper.simulator.certificates import LabAuthority

USAGE = {"prompt_tokens": 220, "completion_tokens": 9, "total_tokens": 229}
JSON_BODY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "x" * 600},
            }
        ],
        "usage": USAGE,
    }
).encode()
JSON_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    % len(JSON_BODY)
) + JSON_BODY
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
CHUNKS, SPACING_SECONDS = 50, 0.02


def event(data: bytes) -> bytes:
    """One SSE event as one HTTP chunk."""
    text = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


DELTA = event(
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}'
)
LAST = (
    event(
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],'
        b'"usage":' + json.dumps(USAGE).encode() + b"}"
    )
    + event(b"[DONE]")
    + b"0\r\n\r\n"
)


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection until it ends."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b'"stream":true' in body:
                writer.write(SSE_HEAD)
                for _ in range(CHUNKS):
                    writer.write(DELTA)
                    await writer.drain()
                    await asyncio.sleep(SPACING_SECONDS)
                writer.write(LAST)
            else:
                writer.write(JSON_ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serve until killed."""
    context = LabAuthority(Path(sys.argv[1])).server_context()
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
