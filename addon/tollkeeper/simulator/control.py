"""The watcher's port: plain HTTP on loopback, for tests and the demo.

GET  /calls[?received=N&ended=M&timeout=S]   waits for N received and M ended, then lists all
GET  /bill                                   totals of what was billed
POST /order   {"words": "status=500", "times": 2, "host": null}
POST /keys    {"api.openai.com": ["sk-real"]}
POST /reset
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tollkeeper.simulator.frames import JSON, dump
from tollkeeper.simulator.http1 import Peer, Received

if TYPE_CHECKING:
    from tollkeeper.simulator.server import Simulator

_PATIENCE_S = 10.0


async def converse(peer: Peer, simulator: Simulator) -> None:
    """Answers a watcher until it leaves."""
    while (received := await peer.receive()) is not None:
        try:
            status, body = await _answer(received, simulator)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            status, body = 400, {"error": str(e)}
        data = dump(body)
        await peer.start(status, (("Content-Type", JSON), ("Content-Length", str(len(data)))))
        await peer.send(data)
        if not await peer.finish():
            return


async def _answer(received: Received, simulator: Simulator) -> tuple[int, Any]:
    query = {k: v[0] for k, v in parse_qs(received.target.partition("?")[2]).items()}
    match received.method, received.path:
        case "GET", "/calls":
            await simulator.wait_for(
                int(query.get("received", 0)),
                int(query.get("ended", 0)),
                float(query.get("timeout", _PATIENCE_S)),
            )
            return 200, [call.as_json() for call in simulator.records]
        case "GET", "/bill":
            return 200, simulator.records.bill()
        case "POST", "/order":
            asked = json.loads(received.body)
            simulator.order(asked["words"], times=asked.get("times", 1), host=asked.get("host"))
        case "POST", "/keys":
            simulator.expect_keys(json.loads(received.body))
        case "POST", "/reset":
            simulator.reset()
        case _:
            return 404, {"error": f"No {received.method} {received.path}."}
    return 200, {}
