"""Attacks by what HTTP/2 can say and HTTP/1.1 cannot: bodies without a length, lines within a field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from e2e.tunnel import CHAT, Tunnel, records, request
from e2e.world import World, wait
from tollkeeper.simulator.lab import body_of

HOST = "api.openai.com"
PATH = "/v1/chat/completions"
BODY = json.dumps(CHAT).encode()
SMUGGLED = request(CHAT, fields=[("X-Smuggled", "yes")])

type Fields = Sequence[tuple[str, str]]


def pseudo(
    *, method: str = "POST", path: str = PATH, authority: str = HOST, scheme: str = "https"
) -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]


def over_http2(
    world: World, fields: Fields, body: bytes = BODY, trailers: Fields = ()
) -> int | None:
    """The status of one request, sent without a look at what is in it; None when it was cut off."""
    with Tunnel(world, world.proxies[-1], alpn=("h2",)) as tunnel:
        made = h2.connection.H2Connection(
            h2.config.H2Configuration(
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                header_encoding="utf-8",
            )
        )
        made.initiate_connection()
        made.send_headers(1, [*fields, ("authorization", "Bearer sk-agent")])
        made.send_data(1, body, end_stream=not trailers)
        if trailers:
            made.send_headers(1, trailers, end_stream=True)
        tunnel.send(made.data_to_send())
        return heard(tunnel, made)


def heard(tunnel: Tunnel, made: h2.connection.H2Connection) -> int | None:
    status = None
    try:
        while data := tunnel.socket.recv(65536):
            for event in made.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    return status
                if isinstance(event, h2.events.ConnectionTerminated):
                    return status
            tunnel.send(made.data_to_send())
    except (ConnectionError, h2.exceptions.ProtocolError):
        return status
    return status


def settled(world: World) -> int:
    """Calls on the books that were made."""
    ledger = world.ledger()
    [row] = ledger.rows("select count(*) as n from calls where state = 'settled'")
    ledger.close()
    return int(row["n"])


@dataclass(slots=True)
class Watched:
    """An installation, and how many calls were on its books before an attack."""

    world: World
    before: int

    def is_alone(self) -> None:
        """Whatever reached the provider is on the books, and nothing came in behind it."""
        wait(lambda: self.world.books()["open"] == 0)
        seen = self.world.lab.calls()
        assert not [one for one in seen if "x-smuggled" in {n.lower() for n, _ in one["headers"]}]
        assert len(seen) == settled(self.world) - self.before


@pytest.fixture
def watched(town: World) -> Watched:
    """The shared installation, with an empty simulator."""
    town.lab.reset()
    return Watched(town, settled(town))


def test_body_without_a_length_arrives_whole_as_the_body_that_was_judged(watched: Watched) -> None:
    status = over_http2(watched.world, pseudo())

    assert status == 200
    [call] = watched.world.lab.calls()
    assert body_of(call) == BODY
    watched.is_alone()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o-mini", PATH])
def test_body_without_a_length_is_no_second_request(
    watched: Watched, method: str, path: str
) -> None:
    over_http2(watched.world, pseudo(method=method, path=path), SMUGGLED)
    over_http2(watched.world, pseudo(method=method, path=path), SMUGGLED)

    watched.is_alone()
    for call in watched.world.lab.calls():
        assert body_of(call) in (b"", SMUGGLED)


GAMES: list[tuple[str, Fields]] = [
    ("two lengths", [*pseudo(), ("content-length", str(len(BODY))), ("content-length", "0")]),
    ("a length list", [*pseudo(), ("content-length", f"{len(BODY)}, 0")]),
    ("a length that is short", [*pseudo(), ("content-length", "5")]),
    ("a length that is long", [*pseudo(), ("content-length", "50000")]),
    ("a length with a sign", [*pseudo(), ("content-length", f"+{len(BODY)}")]),
    ("chunks", [*pseudo(), ("transfer-encoding", "chunked")]),
    ("chunks beside a length", [*pseudo(), ("content-length", str(len(BODY))), ("transfer-encoding", "chunked")]),
    ("a hop's header", [*pseudo(), ("connection", "keep-alive, x-tollkeeper-id")]),
    ("an upgrade", [*pseudo(), ("upgrade", "h2c")]),
    ("a line in a value", [*pseudo(), ("x-a", "b\r\nX-Smuggled: yes\r\n\r\n")]),
    ("a line in a name", [*pseudo(), ("x-a: b\r\nx-smuggled", "yes")]),
    ("a zero byte", [*pseudo(), ("x-a", "b\x00c")]),
    ("a capital name", [*pseudo(), ("X-Smuggled", "no")]),
    ("a line in the path", pseudo(path="/v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\nPOST " + PATH)),
    ("a space in the path", pseudo(path=f"{PATH} HTTP/1.1")),
    ("a line in the method", pseudo(method="GET /v1/models HTTP/1.1\r\nX-Smuggled: yes\r\n\r\nPOST")),
    ("a space in the method", pseudo(method="GET /v1/models")),
    ("a line in the authority", pseudo(authority=f"{HOST}\r\nX-Smuggled: yes")),
    ("another scheme", pseudo(scheme="http")),
    ("an absolute path", pseudo(path=f"https://api.anthropic.com{PATH}")),
    ("no path", pseudo(path="")),
    ("a path that is a star", pseudo(path="*")),
    ("two paths", [*pseudo(), (":path", "/v1/models")]),
    ("two authorities", [*pseudo(), (":authority", "api.anthropic.com")]),
    ("a pseudo header of our own", [*pseudo(), (":protocol", "websocket")]),
    ("another host beside the authority", [*pseudo(), ("host", "api.anthropic.com")]),
    ("a tunnel in the tunnel", [(":method", "CONNECT"), (":authority", "api.anthropic.com:443")]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "fields"), GAMES, ids=[name for name, _ in GAMES])
def test_what_http1_would_read_otherwise_reaches_nobody_unjudged(
    watched: Watched, what: str, fields: Fields
) -> None:
    status = over_http2(watched.world, fields)

    watched.is_alone()
    harmless = ("a capital name", "another scheme", "a length with a sign")
    if watched.world.lab.calls():
        assert what in harmless, watched.world.lab.calls()
        assert [body_of(one) for one in watched.world.lab.calls()] == [BODY]
    else:
        assert status is None or 400 <= status < 500
    assert "Traceback" not in watched.world.proxies[0].log.read_text()


def test_trailers_of_a_request_go_nowhere(watched: Watched) -> None:
    over_http2(watched.world, pseudo(), trailers=[("x-smuggled", "yes")])

    watched.is_alone()
    assert "Traceback" not in watched.world.proxies[0].log.read_text()
    assert records(watched.world, "fault") == []
