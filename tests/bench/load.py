"""A load generator: raw keep-alive connections through a CONNECT proxy.

``python load.py '{"proxy":…, "target":"host:port", "auth":…, "connections":16, "seconds":3}'`` prints one
JSON line with requests per second and latencies; with ``"streams":100`` time to the first chunk.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import statistics
import sys
import time
from typing import Any

BODY = json.dumps(
    {
        "model": "gpt-4o-mini",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "word " * 170}],
    },
    separators=(",", ":"),
).encode()
STREAM_BODY = BODY[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'


def request(target: str, body: bytes) -> bytes:
    """One POST as a client writes it."""
    host = target.removesuffix(":443")
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n"
        "user-agent: bench\r\nauthorization: Bearer sk-bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def connect(plan: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """CONNECT, then TLS inside; certificates are not what is measured here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plan["proxy"])
    auth = base64.b64encode(plan["auth"].encode()).decode()
    target = plan["target"]
    writer.write(
        f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n"
        f"proxy-authorization: Basic {auth}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0] + b" ":
        raise SystemExit(f"CONNECT was refused: {head!r}")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    await writer.start_tls(context, server_hostname=target.rpartition(":")[0])
    return reader, writer


async def answered(reader: asyncio.StreamReader) -> None:
    """Read one answer with a content length."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"refused: {head!r} {await reader.read(500)!r}")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


async def keep_asking(plan: dict[str, Any], latencies: list[float], ready: asyncio.Barrier) -> None:
    """One connection, one request after another, once all are connected and warm."""
    reader, writer = await connect(plan)
    wire = request(plan["target"], BODY)
    writer.write(wire)
    await answered(reader)
    await ready.wait()
    until = time.perf_counter() + plan["seconds"]
    while time.perf_counter() < until:
        start = time.perf_counter()
        writer.write(wire)
        await answered(reader)
        latencies.append(time.perf_counter() - start)
    writer.close()


async def first_chunk(plan: dict[str, Any], delay: float) -> float:
    """Seconds from the request to the first event."""
    await asyncio.sleep(delay)
    reader, writer = await connect(plan)
    start = time.perf_counter()
    writer.write(request(plan["target"], STREAM_BODY))
    await reader.readuntil(b"data: ")
    took = time.perf_counter() - start
    await reader.readuntil(b"[DONE]")
    writer.close()
    return took


async def main() -> None:
    """Run one plan."""
    plan = json.loads(sys.argv[1])
    if streams := plan.get("streams"):
        took = await asyncio.gather(*(first_chunk(plan, i * 2 / streams) for i in range(streams)))
        print(json.dumps(percentiles(list(took))))
        return
    latencies: list[float] = []
    ready = asyncio.Barrier(plan["connections"])
    await asyncio.gather(*(keep_asking(plan, latencies, ready) for _ in range(plan["connections"])))
    print(json.dumps({"rps": len(latencies) / plan["seconds"], **percentiles(latencies)}))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    cut = statistics.quantiles(seconds, n=20)
    return {"p50_ms": statistics.median(seconds) * 1000, "p95_ms": cut[18] * 1000}


if __name__ == "__main__":
    asyncio.run(main())
