"""mitmweb's API as somebody with its token uses it."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from e2e.world import Proxy, World
from tollkeeper.core.identity import new_operator_code

HOLD_ALL = {
    "rules": [{"name": "ask", "call": {"model": "gpt-4o-mini"}, "hold": {}}],
    "examples": [],
}


@dataclass(slots=True)
class Web:
    """mitmweb's API as somebody with its token uses it."""

    proxy: Proxy
    url: str

    def ask(
        self,
        path: str,
        method: str = "GET",
        data: Any = None,
        *,
        token: bool = True,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        base, _, secret = self.url.partition("?token=")
        headers = {"Cookie": "_mitmproxy_xsrf=v", "X-XSRFToken": "v"} | (headers or {})
        if token:
            headers["Authorization"] = f"Bearer {secret}"
        body = None if data is None else json.dumps(data).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(base.rstrip("/") + path, body, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=90) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def flows(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.ask("/flows")[1])
        return listed

    def option(self, name: str) -> Any:
        return json.loads(self.ask("/options")[1])[name]["value"]

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        """``value`` or ``error``."""
        told = self.ask(f"/commands/{name}", "POST", {"arguments": list(arguments)})[1]
        answer: dict[str, Any] = json.loads(told)
        return answer

    @staticmethod
    def code(world: World) -> str:
        """One that the operator makes."""
        key = world.home.read_operator_key()
        return new_operator_code(key, os.urandom(3), time.time_ns())
