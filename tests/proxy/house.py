"""One proxy process without its sockets: real addons, ledger, policy file and key, flows by hand."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mitmproxy import connection, http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.test import taddons, tflow, tutils

from tollkeeper.core import identity
from tollkeeper.core.snapshot import AgentRecord, TokenRecord
from tollkeeper.domain import Limits, Verdict
from tollkeeper.home import Home
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.spool import take_in
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy.dispatch import CachedDispatch
from tollkeeper.proxy.doorkeeper import Doorkeeper
from tollkeeper.proxy.enforcer import Enforcer
from tollkeeper.proxy.outgoing import Outgoing
from tollkeeper.proxy.serve import station_for
from tollkeeper.proxy.station import Station
from tollkeeper.proxy.waiting_room import WaitingRoom

OPENAI, ANTHROPIC, GOOGLE = (
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
)

CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "hello"}],
}
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
}
COST_NANO_USD = 9 * 150 + 5 * 600
"""Of ``ANSWER``: gpt-4o-mini at $0.15 and $0.60 per million tokens."""

HOLD_ALL = {
    "rules": [{"name": "ask", "call": {"model": "gpt-4o-mini"}, "hold": {}}],
    "examples": [],
}

Fields = list[tuple[str, str]]


@dataclass(slots=True)
class House:
    """Everything behind one listener, in a folder of its own."""

    root: Path
    home: Home = field(init=False)
    token: str = field(init=False)
    station: Station = field(init=False)
    doorkeeper: Doorkeeper = field(init=False)
    outgoing: Outgoing = field(init=False)
    room: WaitingRoom = field(init=False)
    enforcer: Enforcer = field(init=False)

    def __post_init__(self) -> None:
        self.home = Home(self.root / "home")
        self.home.make()
        self.policy({})
        self.station = station_for(self.home, None)
        self.token = self.agent("atlas", budget_nano_usd={"total": 10**12})
        self.doorkeeper = Doorkeeper(self.station)
        self.outgoing, self.room = Outgoing(), WaitingRoom(self.station)
        self.enforcer = Enforcer(self.station, self.doorkeeper, self.outgoing, self.room)

    def close(self) -> None:
        self.station.ledger.close()

    # ---- what an owner does

    def policy(self, parts: dict[str, Any]) -> None:
        """Replace the policy file, as an editor does."""
        text = yaml.safe_dump({"version": 1, **parts}, sort_keys=False)
        temporary = self.home.root / "policy.new"
        temporary.write_text(text)
        temporary.replace(self.home.root / "policy.yaml")

    def govern_by(self, parts: dict[str, Any]) -> None:
        """Replace the policy and have it in force."""
        self.policy(parts)
        assert asyncio.run(self.station.policy_file.look())
        assert self.station.policy_file.broken is None, self.station.policy_file.broken

    def agent(self, name: str, **limits: Any) -> str:
        ledger, now_ns = self.ledger(), time.time_ns()
        ledger.create_agent(
            AgentRecord(name=name, state="active", limits=Limits(**limits), created_ns=now_ns),
            by="tester",
        )
        token = identity.new_token()
        ledger.add_token(
            TokenRecord(id=f"token-{name}", agent=name, created_ns=now_ns),
            identity.token_sha256(token),
            by="tester",
        )
        ledger.close()
        return token

    def verdict(self, approval: str, answer: str = "approved") -> None:
        ledger, at_ns = self.ledger(), time.time_ns()
        found = ledger.approval(approval)
        key = self.home.read_operator_key()
        seal = identity.seal(key, found.id, found.digest, answer, "tester", "", at_ns)
        ledger.give_verdict(Verdict(found.id, answer, "tester", "", at_ns, seal))
        ledger.close()

    # ---- what an agent does

    def connecting(self, host: str = OPENAI, *, token: str | None = None) -> http.HTTPFlow:
        """A CONNECT that no hook has seen."""
        client = tflow.tclient_conn()
        client.sni = host
        flow = http.HTTPFlow(client, tflow.tserver_conn())
        flow.request = tutils.treq(
            method=b"CONNECT",
            host=host,
            port=443,
            authority=f"{host}:443".encode(),
            headers=http.Headers(
                [(b"proxy-authorization", proxy_authorization("atlas", token or self.token))]
            ),
            content=b"",
        )
        return flow

    def connected(self, host: str = OPENAI, *, token: str | None = None) -> connection.Client:
        """A client whose CONNECT was answered, with TLS to that name."""
        flow = self.connecting(host, token=token)
        self.doorkeeper.http_connect(flow)
        assert flow.response is None, flow.response
        return flow.client_conn

    def flow(
        self,
        *,
        client: connection.Client | None = None,
        host: str = OPENAI,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        body: bytes | dict[str, Any] = CHAT,
        fields: Fields | None = None,
    ) -> http.HTTPFlow:
        """A request inside a tunnel; no hook has seen it."""
        server = tflow.tserver_conn()
        server.timestamp_tls_setup = None
        flow = http.HTTPFlow(client or self.connected(host), server)
        told = fields or [("Host", host), ("Authorization", "Bearer sk-agent")]
        flow.request = tutils.treq(
            method=method.encode(),
            scheme=b"https",
            host=host,
            port=443,
            path=path.encode(),
            headers=http.Headers([(n.encode(), v.encode()) for n, v in told]),
            content=body if isinstance(body, bytes) else json.dumps(body).encode(),
        )
        return flow

    async def judge(self, flow: http.HTTPFlow) -> http.HTTPFlow:
        """The way in, as mitmproxy goes it."""
        self.enforcer.requestheaders(flow)
        await self.ask(flow)
        return flow

    async def ask(self, flow: http.HTTPFlow) -> None:
        """The end of a request, as mitmproxy goes it."""
        rest = self.enforcer.request(flow)
        if rest is not None:
            await rest

    def judged(self, **asked: Any) -> http.HTTPFlow:
        return asyncio.run(self.judge(self.flow(**asked)))

    async def give(self, flow: http.HTTPFlow, response: http.Response) -> http.HTTPFlow:
        """The way back of a buffered answer, as mitmproxy goes it."""
        body, flow.response = response.data.content, response
        flow.server_conn.timestamp_tls_setup = time.time()
        self.enforcer.responseheaders(flow)
        assert flow.response is not None
        if not flow.response.stream:
            flow.response.data.content = body
        await self.end(flow)
        return flow

    async def end(self, flow: http.HTTPFlow) -> None:
        """The end of an answer, as mitmproxy goes it."""
        rest = self.enforcer.response(flow)
        if rest is not None:
            await rest

    # ---- what one looks at

    async def waits(self, count: int = 1) -> None:
        """Until so many flows wait for a person."""
        while len(self.room) < count:
            await asyncio.sleep(0.005)

    def ledger(self) -> SqliteLedger:
        """The books, for looking and for what other processes do; what lingered is written by then."""
        if self.station.writer.wishes and not self.station.writer.scheduled:
            self.station.writer.write_group()
        return SqliteLedger(self.home.database, operator_key=self.home.read_operator_key())

    def calls(self) -> list[dict[str, Any]]:
        """All calls on the books, which are in order, after the spool was taken in."""
        ledger = self.ledger()
        take_in(ledger, self.home.spool)
        assert verify(ledger) == []
        rows = list(ledger.rows("select * from calls order by at_ns, id"))
        ledger.close()
        return rows

    def open_calls(self) -> int:
        return sum(row["state"] in ("held", "forwarded") for row in self.calls())

    def kinds(self) -> list[str]:
        """The kinds of all audit records, after the spool was taken in."""
        ledger = self.ledger()
        take_in(ledger, self.home.spool)
        found = [str(row["kind"]) for row in ledger.audit(limit=10_000)]
        ledger.close()
        return found

    def approvals(self) -> list[str]:
        ledger = self.ledger()
        found = [one.id for one in ledger.approvals()]
        ledger.close()
        return found


def proxy_authorization(user: str, token: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{token}".encode())


def answered(
    body: bytes | dict[str, Any] = ANSWER, status: int = 200, **fields: str
) -> http.Response:
    """A provider's answer."""
    told = {"content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in fields.items()
    }
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.Response.make(status, content, told)


@contextmanager
def mitmproxy_context(*addons: Any) -> Iterator[taddons.context]:
    """mitmproxy's test context; the log handlers that its master leaves behind go with it."""
    before = list(logging.root.handlers)
    with taddons.context(*addons) as made:
        try:
            yield made
        finally:
            logging.root.handlers[:] = before


@contextmanager
def dispatching(addons: Iterable[Any], *, cached: bool) -> Iterator[AddonManager]:
    """A manager that has these addons: with our dispatch, or mitmproxy's own."""
    with mitmproxy_context() as made:
        manager: AddonManager = made.master.addons
        if cached:
            CachedDispatch.install(manager)
        for addon in addons:
            manager.add(addon)
        yield manager


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """In a loop of its own; whatever is still running at its end was leaked."""

    async def alone() -> T:
        try:
            return await work
        finally:
            await asyncio.sleep(0.05)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"leaked: {left}"

    return asyncio.run(alone())
