"""What the proxy itself answers at ``tollkeeper.local``: who am I, make me a child, end it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.delegation import Birth, DelegationCase, Wish
from tollkeeper.core.identity import new_token, token_sha256
from tollkeeper.core.layers import view_of
from tollkeeper.core.purses import purses_of
from tollkeeper.core.snapshot import Standing
from tollkeeper.core.standing import standing_reason
from tollkeeper.core.wording import instant
from tollkeeper.domain import Code, Effect, Principal, Reason
from tollkeeper.errors import WireError
from tollkeeper.policy.delegation import wish_of
from tollkeeper.proxy.disclose import note, usd
from tollkeeper.proxy.layers import UNSEEN_BODIES
from tollkeeper.proxy.station import Caller, Station
from tollkeeper.wire import document
from tollkeeper.wire.refusal import refusal, status_of

BODY_LIMIT_BYTES: Final = 16 * 1024
"""Several times the longest wish that is any use."""

DELEGATE: Final = "/delegate"
SERVED: Final = "GET /, POST /delegate and DELETE /delegate/NAME"
HIDDEN_TOKEN: Final = "(shown once)"  # noqa: S105 - what takes a token's place

_METHODS: Final[Mapping[str, str]] = {"/": "GET", DELEGATE: "POST"}
_ABOUT: Final = {
    f"POST {DELEGATE}": "make a child; a JSON object with any of name, label, ttl, budget_usd, "
    "requests, rpm, tpm, concurrent, models, tools, streaming, vision, reasoning, "
    "max_input_tokens, max_output_tokens, strict, scope",
    f"DELETE {DELEGATE}/NAME": "end a child, and all below it",
}


def is_served(caller: Caller) -> bool:
    """Whether the caller talks to the proxy itself."""
    return caller.target is not None and facts.is_house(caller.target[0])


class FrontDesk:
    """Answers agents that ask the proxy itself; every answer is JSON, and none is forwarded."""

    def __init__(self, station: Station) -> None:
        """Keep the station."""
        self.station = station

    async def answer(self, flow: http.HTTPFlow, caller: Caller) -> http.Response:
        """The answer to one request of a caller in good standing."""
        assert caller.principal is not None
        note(flow, caller, effect="answered", why="by the proxy itself")
        request, path = flow.request, flow.request.path
        child = path.removeprefix(f"{DELEGATE}/") if path.startswith(f"{DELEGATE}/") else None
        try:
            if request.method == "GET" and path == "/":
                return self.about(flow, caller.principal)
            if request.method == "POST" and path == DELEGATE:
                return await self.delegate(flow, caller.principal, self.wish(request))
            if request.method == "DELETE" and child:
                return await self.end(flow, child, caller.principal)
        except WireError as error:
            return self.refuse(flow, Code.UNREADABLE_REQUEST, str(error))
        allowed = "DELETE" if child else _METHODS.get(path)
        if allowed is None:
            return self.refuse(flow, Code.UNKNOWN_ENDPOINT, f"There is only {SERVED} here.", 404)
        return self.refuse(flow, Code.UNKNOWN_ENDPOINT, f"Here only {allowed} is answered.", 405)

    @staticmethod
    def wish(request: http.Request) -> Wish:
        """What the body asks for; an empty body asks for nothing in particular.

        Raises:
            WireError: It cannot be read, or asks for what there is not.
        """
        body = request.raw_content or b""
        if len(body) > BODY_LIMIT_BYTES:
            raise WireError(f"The body is larger than {BODY_LIMIT_BYTES} bytes.")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise WireError("The body is encoded; send it plain.")
        return wish_of(document.read(body).values()) if body else Wish()

    async def delegate(
        self, flow: http.HTTPFlow, principal: Principal, wish: Wish
    ) -> http.Response:
        """Make a child; its token is in the bytes that are sent, and not in the flow."""
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        policy = self.station.policy_file.policy
        names = {*policy.agents, *policy.members}
        case = DelegationCase(wish, principal, names, now_ns, os.urandom(16))
        token = new_token()
        sha256 = token_sha256(token)
        made = await self.station.write(lambda: ledger.delegate(case, sha256, now_ns))
        if isinstance(made, Reason):
            return self.refused(flow, made)
        address = reached_at(flow)
        answered = _answer(201, told(made, HIDDEN_TOKEN, address))
        UNSEEN_BODIES[flow] = body = _json(told(made, token, address))
        answered.headers["content-length"] = str(len(body))
        return answered

    async def end(self, flow: http.HTTPFlow, child: str, principal: Principal) -> http.Response:
        """End a child of the caller's."""
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        refused = await self.station.write(lambda: ledger.end_child(child, principal, now_ns))
        if refused is not None:
            return self.refused(flow, refused)
        return _answer(200, {"agent": child, "state": "ended"})

    def about(self, flow: http.HTTPFlow, principal: Principal) -> http.Response:
        """Who the caller is and what its own budgets hold; of nobody else."""
        standing = self.station.ledger.standing(principal)
        refused = standing_reason(standing, self.station.now_ns())
        if refused is not None:
            return self.refused(flow, refused)
        expires_ns = standing.token.expires_ns if standing.token else None
        return _answer(
            200,
            {
                "agent": principal.agent,
                "run": principal.run,
                "expires_at": instant(expires_ns) if expires_ns is not None else None,
                "budgets": self.budgets(principal, standing),
                "endpoints": _ABOUT,
            },
        )

    def budgets(self, principal: Principal, standing: Standing) -> list[dict[str, Any]]:
        """Every budget of the caller's own layers, as it stands."""
        now_ns, view = self.station.now_ns(), view_of(self.station.policy_file.policy)
        stack = view.stack(standing, principal, None, now_ns)
        accounts = {one.account for one in stack.budgets if one.over.own}
        balances = {account: self.station.ledger.balance(account) for account in accounts}
        return [
            {
                "limit": purse.line.over.source(purse.line.key),
                "limit_usd": usd(purse.limit_nano_usd),
                "left_usd": usd(purse.left_nano_usd),
                "resets_at": instant(resets_ns) if resets_ns is not None else None,
            }
            for purse in purses_of(stack, balances)
            if purse.line.over.own
            for resets_ns in (purse.line.account.resets_ns,)
        ]

    def refused(self, flow: http.HTTPFlow, reason: Reason) -> http.Response:
        """A refusal by a coded cause; counted, not written one by one."""
        self.station.turned_away[f"delegation {reason.code}"] += 1
        return _refusal(flow, reason, status_of(reason.code))

    def refuse(
        self, flow: http.HTTPFlow, code: Code, message: str, status: int | None = None
    ) -> http.Response:
        """A refusal of what cannot be read or is not there."""
        self.station.turned_away[f"delegation {code}"] += 1
        reason = Reason(Effect.DENY, code, "delegation", message)
        return _refusal(flow, reason, status or status_of(code))


def told(made: Birth, token: str, address: str) -> dict[str, Any]:
    """What the parent learns of its child."""
    assert made.token.expires_ns is not None
    return {
        "agent": made.agent.name,
        "token": token,
        "proxy_url": f"http://{made.agent.name}:{token}@{address}",
        "expires_at": instant(made.token.expires_ns),
        "run": made.token.run,
    }


def reached_at(flow: http.HTTPFlow) -> str:
    """The proxy's address as this client reached it."""
    host, port = flow.client_conn.sockname[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(flow: http.HTTPFlow, reason: Reason, status: int) -> http.Response:
    made = refusal(None, reason, flow.id, stream=False, status=status)
    return http.Response.make(made.status, made.body, dict(made.headers))


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"


def _answer(status: int, said: Mapping[str, Any]) -> http.Response:
    fields = {"content-type": "application/json", "cache-control": "no-store"}
    return http.Response.make(status, _json(said), fields)
