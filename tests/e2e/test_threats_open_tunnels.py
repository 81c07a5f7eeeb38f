"""Attacks by going on: what an open tunnel is still good for when the right to it is gone."""

from __future__ import annotations

import json
import time
from http.client import HTTPResponse
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from e2e.tunnel import CHAT, Tunnel, records
from e2e.world import World, wait

INSPECTED = "localhost"
"""A host that is decrypted and no provider; its own refusal, that it leads inside, needs no network."""


@pytest.fixture(scope="module", autouse=True)
def _policy(town: World) -> None:
    town.policy({"other_hosts": {"inspect": [INSPECTED]}})
    wait(lambda: "Policy reloaded" in town.proxies[0].log.read_text())


class Speaker:
    """Makes one request after the other on one tunnel, in HTTP/1.1 or HTTP/2."""

    def __init__(self, tunnel: Tunnel, host: str, *, http2: bool) -> None:
        self.tunnel, self.host = tunnel, host
        self.h2: h2.connection.H2Connection | None = None
        if http2:
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
            self.h2.initiate_connection()

    def ask(
        self, path: str, body: dict[str, Any] | None = None, *, authority: str | None = None
    ) -> int | None:
        """The status of one request; None where the tunnel ends instead. POST where it has a body."""
        content = b"" if body is None else json.dumps(body).encode()
        method, host = "GET" if body is None else "POST", authority or self.host
        if self.h2 is None:
            self.tunnel.send(
                f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer sk\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            answer = HTTPResponse(self.tunnel.socket, method=method)
            try:
                answer.begin()
            except ConnectionError:
                return None
            answer.read()
            return answer.status
        return self._over_http2(self.h2, method, host, path, content)

    def _over_http2(
        self, made: h2.connection.H2Connection, method: str, host: str, path: str, content: bytes
    ) -> int | None:
        stream = made.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        made.send_headers(stream, [*pseudo, ("authorization", "Bearer sk")])
        made.send_data(stream, content, end_stream=True)
        self.tunnel.send(made.data_to_send())
        status = None
        while data := self.tunnel.socket.recv(65536):
            for event in made.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    return status
            self.tunnel.send(made.data_to_send())
        return status


def take_away(town: World, agent: str, how: str) -> None:
    """What an operator does to an agent."""
    ledger, now_ns = town.ledger(), time.time_ns()
    if how == "revoked":
        ledger.revoke_tokens(agent, now_ns, by="tester")
    else:
        ledger.set_agent_state(agent, how, now_ns, "tester")
    ledger.close()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(("how", "status"), [("paused", 403), ("deleted", 401), ("revoked", 401)])
def test_next_request_to_an_inspected_host_is_refused_and_the_tunnel_ends(
    town: World, how: str, status: int, http2: bool
) -> None:
    """At once, unless the look that ends tunnels comes between."""
    name = f"{how}-{http2}"
    town.agent(name)
    alpn = ("h2",) if http2 else ()
    before = len([one for one in records(town, "refused") if one.get("host") == INSPECTED])
    with Tunnel(town, town.proxies[0], INSPECTED, agent=name, alpn=alpn) as tunnel:
        speaker = Speaker(tunnel, INSPECTED, http2=http2)
        if http2:  # the other one would be closed with such an answer
            assert speaker.ask("/") == 502

        take_away(town, name, how)

        said = speaker.ask("/")
        while said is not None and tunnel.socket.recv(65536):
            pass
    after = len([one for one in records(town, "refused") if one.get("host") == INSPECTED])
    assert (said, after) in ((status, before + 1), (None, before))


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_next_call_and_next_wish_of_a_paused_agent_are_refused(town: World, http2: bool) -> None:
    name, alpn = f"both-{http2}", ("h2",) if http2 else ()
    town.agent(name)
    town.lab.reset()
    house = "tollkeeper.local"
    with (
        Tunnel(town, town.proxies[0], agent=name, alpn=alpn) as calls,
        Tunnel(town, town.proxies[0], house, agent=name, alpn=alpn) as wishes,
    ):
        caller = Speaker(calls, "api.openai.com", http2=http2)
        parent = Speaker(wishes, house, http2=http2)
        path = "/v1/chat/completions"
        assert (caller.ask(path, CHAT), parent.ask("/delegate", {})) == (200, 201)

        take_away(town, name, "paused")

        assert caller.ask(path, CHAT) == 403
        assert parent.ask("/delegate", {}) in (403, None)
    assert len(town.lab.calls()) == 1
    children = [one for one in records(town, "delegated") if one["agent"].startswith(name)]
    assert len(children) == 1


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_tunnel_to_the_proxy_itself_stays_open_while_its_agent_may_go_on(
    town: World, http2: bool
) -> None:
    alpn = ("h2",) if http2 else ()
    with Tunnel(town, town.proxies[0], "tollkeeper.local", alpn=alpn) as tunnel:
        speaker = Speaker(tunnel, "tollkeeper.local", http2=http2)
        for _ in range(3):
            assert speaker.ask("/") == 200
            time.sleep(1.2)  # longer than two looks at open tunnels are apart


@pytest.mark.parametrize(
    "authority", ["api.anthropic.com", "example.com", "api.openai.com:8443", "localhost"]
)
def test_authority_of_another_host_is_refused_over_http2(town: World, authority: str) -> None:
    town.lab.reset()
    with Tunnel(town, town.proxies[0], alpn=("h2",)) as tunnel:
        speaker = Speaker(tunnel, "api.openai.com", http2=True)

        assert speaker.ask("/v1/chat/completions", CHAT, authority=authority) in (400, 403)
    assert town.lab.calls() == []
