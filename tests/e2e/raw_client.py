"""A client that hides nothing: raw HTTP/1.1 through a CONNECT proxy, many calls at once.

``python raw_client.py PLAN`` with a JSON file prints one JSON line a call. Keys of the plan:
``proxy`` (port), ``auth`` (``user:token``), ``ca``, ``calls``, ``host``, ``path``, ``method``,
``body`` (text) or ``body_base64``, ``headers`` (list of pairs), ``sni``, ``leave_after`` (seconds) or
``leave_after_bytes``, ``gate`` (a file: the tunnel is told to be open by another with ``.open`` behind
its name, and the request is sent when it is there).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

CHAT = {
    "model": "gpt-4o-mini",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "hello"}],
}


async def tunnel(plan: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """CONNECT and TLS; raises ConnectionError with the proxy's status line when refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plan["proxy"])
    host = plan.get("host", "api.openai.com")
    target = plan.get("target", f"{host}:443")
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
    if plan.get("auth"):
        lines.append(
            "proxy-authorization: Basic " + base64.b64encode(plan["auth"].encode()).decode()
        )
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b"\r\n")[0]
    if b" 200 " not in status + b" ":
        raise ConnectionError(status.decode())
    context = ssl.create_default_context(cafile=plan["ca"])
    if "sni" in plan:
        context.check_hostname = False
    await writer.start_tls(context, server_hostname=plan.get("sni", host))
    return reader, writer


def request(plan: dict[str, Any]) -> bytes:
    """The request as the plan has it, byte for byte."""
    if "raw_base64" in plan:
        return base64.b64decode(plan["raw_base64"])
    body = (
        base64.b64decode(plan["body_base64"])
        if "body_base64" in plan
        else (plan.get("body") or json.dumps(CHAT)).encode()
    )
    host = plan.get("host", "api.openai.com")
    fields = plan.get("headers") or [
        ["Host", host],
        ["Authorization", "Bearer sk-agent"],
        ["Content-Type", "application/json"],
    ]
    lines = [f"{plan.get('method', 'POST')} {plan.get('path', '/v1/chat/completions')} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields]
    if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


async def read_answer(reader: asyncio.StreamReader, plan: dict[str, Any]) -> dict[str, Any]:
    """Status, headers, body and when its pieces came."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = [line.split(": ", 1) for line in lines[1:] if ": " in line]
    named = {name.lower(): value for name, value in fields}
    pieces: list[tuple[float, int]] = []
    body = b""
    if "content-length" in named:
        body = await reader.readexactly(int(named["content-length"]))
    elif named.get("transfer-encoding") == "chunked":
        try:
            while (size := int(await reader.readline(), 16)) > 0:
                body += (await reader.readexactly(size + 2))[:-2]
                pieces.append((time.time(), size))
                if len(body) >= plan.get("leave_after_bytes", 1 << 60):
                    break
        except (ValueError, asyncio.IncompleteReadError):
            named["x-cut"] = "yes"
    return {
        "status": int(lines[0].split()[1]),
        "headers": named,
        "fields": fields,
        "pieces": pieces,
        "body_base64": base64.b64encode(body).decode(),
    }


async def call(plan: dict[str, Any]) -> dict[str, Any]:
    """One call on a connection of its own."""
    try:
        reader, writer = await tunnel(plan)
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError) as error:
        return {"status": 0, "headers": {}, "error": str(error), "body_base64": ""}
    if "gate" in plan:
        Path(f"{plan['gate']}.open").touch()
        while not Path(plan["gate"]).exists():
            await asyncio.sleep(0.01)
    writer.write(request(plan))
    try:
        async with asyncio.timeout(plan.get("leave_after", 120)):
            return await read_answer(reader, plan)
    except (TimeoutError, ConnectionError, ssl.SSLError, asyncio.IncompleteReadError) as error:
        return {"status": 0, "headers": {}, "error": repr(error), "body_base64": ""}
    finally:
        writer.transport.abort()


async def main() -> None:
    """Make the calls at once; one line each."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    for one in await asyncio.gather(*(call(plan) for _ in range(plan.get("calls", 1)))):
        print(json.dumps(one))


if __name__ == "__main__":
    asyncio.run(main())
