"""Attacks by what is taken for a provider: answers without end, in drips, or that are none."""

from __future__ import annotations

import gzip
import json
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import brotli
import h2.config
import h2.connection
import h2.events
import pytest
import zstandard

from e2e import world as worlds
from e2e.fuzz_door import memory_mib
from e2e.hostile_provider import HostileProvider, Play, hostile_provider
from e2e.tunnel import CHAT, Tunnel, request
from e2e.world import World, wait
from tollkeeper.proxy.bounded import HEAD_LIMIT_BYTES
from tollkeeper.simulator.certificates import LabAuthority
from tollkeeper.simulator.lab import Lab

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
BODY = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "hello"}}],
        "usage": USAGE,
    }
).encode()  # fmt: skip
TYPE = b"Content-Type: application/json\r\n"
GOOD = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n"
EVENTS = CHUNKED.replace(b"application/json", b"text/event-stream")
CHUNKS = b"%x\r\n%s\r\n" % (len(BODY), BODY)
EVENT = b"%x\r\ndata: %s\n\n\r\n" % (len(BODY) + 8, BODY)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
MORE_THAN_ANYTHING = 128 * 1024 * 1024
"""More than the buffers of two sockets take before anybody reads."""
HEAD_SECONDS = 2
BOMB_BYTES = 100_000_000


@pytest.fixture(scope="module")
def sieged(tmp_path_factory: pytest.TempPathFactory, session_lab: Lab) -> Iterator[World]:
    """An installation whose answers may have a third of a bomb."""
    limit = f"import tollkeeper.proxy.answer as a; a.DECODED_LIMIT_BYTES = {BOMB_BYTES // 3};"
    with ExitStack() as stack:
        yield patched(tmp_path_factory.mktemp("sieged"), session_lab, stack, limit)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, session_lab: Lab) -> Iterator[World]:
    """An installation whose header blocks have two seconds, and those who take nothing more as well."""
    limit = (
        f"import tollkeeper.proxy.bounded as b; b.HEAD_SECONDS = {HEAD_SECONDS};"
        f"import tollkeeper.proxy.connections as c; c.DEAF_SECONDS = {HEAD_SECONDS};"
    )
    with ExitStack() as stack:
        yield patched(tmp_path_factory.mktemp("hasty"), session_lab, stack, limit)


def patched(folder: Path, lab: Lab, stack: ExitStack, limit: str) -> World:
    """An installation with an agent, and a proxy with another limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "SERVE", worlds.SERVE.replace("import sys", limit + "import sys"))
        made = World(folder, lab, stack)
        made.agent()
        made.proxy()
    return made


@pytest.fixture
def led_to(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., HostileProvider]]:
    """Leads OpenAI's name to a provider of our own, in the installation of the test."""
    name = "hasty" if "hasty" in request.fixturenames else "sieged"
    world: World = request.getfixturevalue(name)
    with ExitStack() as stack:

        def lead(play: Play, alpn: str = "http/1.1") -> HostileProvider:
            made = stack.enter_context(hostile_provider(tmp_path / "hostile", play, alpn))
            path = {"connect_to": f"127.0.0.1:{made.port}", "trust": str(made.certificate)}
            reloaded(world, {"providers": {"openai": path}})
            return made

        yield lead


def reloaded(world: World, policy: dict[str, Any]) -> None:
    """Give the proxy another policy, and wait until it is in force."""
    log = world.proxies[0].log
    before = log.read_text().count("Policy reloaded")
    world.policy(policy)
    wait(lambda: log.read_text().count("Policy reloaded") > before)


def says(*pieces: bytes) -> Play:
    """Send these."""
    return lambda opened: [opened.sendall(one) for one in pieces] and None


def without_end(start: bytes, more: bytes) -> Play:
    """Send more and more, as much as anybody would take."""

    def play(opened: ssl.SSLSocket) -> None:
        opened.sendall(start)
        block = more * (65536 // len(more) + 1)
        for _ in range(MORE_THAN_ANYTHING // len(block)):
            opened.sendall(block)
        raise AssertionError("All of it was taken.")

    return play


def in_drips(start: bytes, drop: bytes) -> Play:
    """Send a few bytes a moment, for as long as anybody listens."""

    def play(opened: ssl.SSLSocket) -> None:
        opened.sendall(start)
        for _ in range(300 * HEAD_SECONDS):
            time.sleep(0.1)
            opened.sendall(drop)
        raise AssertionError("They were listened to for as long as they came.")

    return play


def heard(world: World, body: dict[str, Any] = CHAT, **how: Any) -> bytes:
    """All that a client gets until its connection ends or its answer is whole."""
    with Tunnel(world, world.proxies[-1], **how) as tunnel:
        tunnel.send(request(body, fields=[("Connection", "close")]))
        seen = b""
        with suppress(OSError):
            while more := tunnel.socket.recv(65536):
                seen += more
        return seen


def newest(world: World) -> dict[str, Any]:
    """The newest call on the books, once it is settled."""
    wait(lambda: world.books()["open"] == 0)
    ledger = world.ledger()
    [row] = ledger.rows(
        "select basis, outcome, cost_nano_usd, worst_nano_usd from calls order by at_ns desc, id desc limit 1"
    )
    ledger.close()
    return row


ENDLESS: list[tuple[str, Play]] = [
    ("a header line", without_end(b"HTTP/1.1 200 OK\r\nX-Fill: ", b"y")),
    ("headers", without_end(b"HTTP/1.1 200 OK\r\n", b"X-Fill: y\r\n")),
    ("a header of a megabyte", says(b"HTTP/1.1 200 OK\r\n" + TYPE + b"X: " + b"y" * 2**20 + b"\r\nContent-Length: 0\r\n\r\n")),
    ("a status line", without_end(b"HTTP/1.1 200 ", b"O")),
    ("interim answers", without_end(b"", HINTS)),
    ("one interim answer", without_end(b"HTTP/1.1 103 Early Hints\r\n", b"Link: x\r\n")),
    ("another protocol", says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + b"\x00" * 64)),
    ("noise", says(b"\x00\xff" * 300 + b"\r\n\r\n")),
    ("two lengths", says(GOOD.replace(b"Content-Length", b"Content-Length: 1\r\nContent-Length"))),
    ("a length and chunks", says(GOOD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1))),
    ("a header name with a space", says(GOOD.replace(b"Content-Type:", b"Content-Type :", 1))),
]  # fmt: skip
ENDLESS_BODIES: list[tuple[str, bytes, bytes]] = [
    ("trailers", b"0\r\n", b"X-Fill: y\r\n"),
    ("one trailer", b"0\r\nX: ", b"y"),
    ("a chunk's size", b"", b"0"),
    ("a chunk's extension", b"5;x=", b"y"),
]


@pytest.mark.parametrize(("what", "play"), ENDLESS, ids=[name for name, _ in ENDLESS])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_answer_that_is_none_is_a_502_and_booked_as_reserved(
    sieged: World, led_to: Callable[..., HostileProvider], what: str, play: Play, stream: bool
) -> None:
    provider = led_to(play)

    seen = heard(sieged, CHAT | {"stream": stream})

    is_refused_and_booked(sieged, provider, seen)


@pytest.mark.parametrize(("what", "start", "more"), ENDLESS_BODIES)
def test_answer_without_end_is_a_502_and_booked_as_reserved(
    sieged: World, led_to: Callable[..., HostileProvider], what: str, start: bytes, more: bytes
) -> None:
    """The whole body came before: providers have billed it, whatever becomes of it."""
    provider = led_to(without_end(CHUNKED + CHUNKS + start, more))

    is_refused_and_booked(sieged, provider, heard(sieged))


@pytest.mark.parametrize(("what", "start", "more"), ENDLESS_BODIES)
def test_stream_without_end_is_cut_and_booked(
    sieged: World, led_to: Callable[..., HostileProvider], what: str, start: bytes, more: bytes
) -> None:
    provider = led_to(without_end(EVENTS + EVENT + start, more))

    seen = heard(sieged, CHAT | {"stream": True})

    assert seen.startswith(b"HTTP/1.1 200")
    assert not seen.endswith(b"0\r\n\r\n")
    row = newest(sieged)
    assert row["outcome"] == "cut"
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]
    wait(lambda: provider.ended == 1)
    assert healthy(sieged)


def is_refused_and_booked(world: World, provider: HostileProvider, seen: bytes) -> None:
    """The client has a short 502, the call is booked whole, and the connection is closed."""
    assert seen.startswith(b"HTTP/1.1 502")
    assert len(seen) < HEAD_LIMIT_BYTES
    row = newest(world)
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])
    assert row["cost_nano_usd"] > 0
    assert provider.received == 1
    wait(lambda: provider.ended == 1)
    assert healthy(world)


DRIPS: list[tuple[str, Play]] = [
    ("headers", in_drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")),
    ("a status line", in_drips(b"HTTP/1.1 200 ", b"O")),
    ("interim answers", in_drips(b"HTTP/1.1 103 Early Hints\r\n", b"Link: x\r\n")),
    ("trailers", in_drips(CHUNKED + CHUNKS + b"0\r\n", b"X: y\r\n")),
    ("a chunk's size", in_drips(CHUNKED + CHUNKS, b"0")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "play"), DRIPS, ids=[name for name, _ in DRIPS])
def test_head_that_drips_is_given_up(
    hasty: World, led_to: Callable[..., HostileProvider], what: str, play: Play
) -> None:
    provider = led_to(play)

    seen = heard(hasty)

    assert seen.startswith(b"HTTP/1.1 502"), what
    assert newest(hasty)["basis"] == "reserved"
    wait(lambda: provider.ended == 1)


def test_stream_whose_trailers_drip_ends_and_is_booked(
    hasty: World, led_to: Callable[..., HostileProvider]
) -> None:
    led_to(in_drips(EVENTS + EVENT + b"0\r\n", b"X: y\r\n"))

    seen = heard(hasty, CHAT | {"stream": True})

    assert seen.startswith(b"HTTP/1.1 200")
    assert newest(hasty)["outcome"] == "cut"


def test_body_may_come_as_slowly_as_it_likes(
    hasty: World, led_to: Callable[..., HostileProvider]
) -> None:
    def play(opened: ssl.SSLSocket) -> None:
        time.sleep(HEAD_SECONDS + 0.5)
        opened.sendall(CHUNKED)
        for at in range(0, len(BODY), 10):
            time.sleep(1.5 * HEAD_SECONDS / (len(BODY) / 10))
            part = BODY[at : at + 10]
            opened.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        opened.sendall(b"0\r\n\r\n")

    led_to(play)

    seen = heard(hasty)

    assert seen.startswith(b"HTTP/1.1 200")
    assert newest(hasty)["basis"] == "measured"


def sockets_of(world: World) -> int:
    """How many the proxy has open."""
    found = 0
    for one in Path(f"/proc/{world.proxies[-1].process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(one.readlink()).startswith("socket:")
    return found


def test_provider_that_stops_reading_keeps_no_socket_and_no_body(
    hasty: World, led_to: Callable[..., HostileProvider]
) -> None:
    """Its client has left, and much of the body is still to be sent."""
    provider = led_to(lambda _: time.sleep(10 * HEAD_SECONDS))
    provider.speaks_first = True
    before = sockets_of(hasty)
    with Tunnel(hasty, hasty.proxies[-1]) as tunnel:
        tunnel.send(request(CHAT | {"messages": [{"role": "user", "content": "x" * 8_000_000}]}))
        wait(lambda: provider.received == 1)
        wait(lambda: hasty.books()["open"] == 1)

    wait(lambda: sockets_of(hasty) <= before)

    assert provider.ended == 0
    assert newest(hasty)["basis"] == "reserved"


@pytest.mark.parametrize("together", [True, False])
def test_interim_answers_are_not_taken_for_the_answer(
    sieged: World, led_to: Callable[..., HostileProvider], together: bool
) -> None:
    pieces = [b"HTTP/1.1 100 Continue\r\n\r\n", HINTS, HINTS[:20], HINTS[20:], GOOD]
    led_to(says(b"".join(pieces)) if together else in_turn(pieces))

    seen = heard(sieged)

    assert seen.startswith(b"HTTP/1.1 200")
    assert seen.endswith(BODY)
    assert newest(sieged)["basis"] == "measured"


def in_turn(pieces: Iterable[bytes]) -> Play:
    """Send these one after the other, so that each is read by itself."""

    def play(opened: ssl.SSLSocket) -> None:
        for one in pieces:
            opened.sendall(one)
            time.sleep(0.1)

    return play


def test_thousands_of_headers_within_the_bound_pass_and_are_measured(
    sieged: World, led_to: Callable[..., HostileProvider]
) -> None:
    many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    led_to(says(GOOD.replace(b"\r\n\r\n", b"\r\n" + many + b"\r\n", 1)))

    seen = heard(sieged)

    assert seen.startswith(b"HTTP/1.1 200")
    assert seen.endswith(BODY)
    assert newest(sieged)["basis"] == "measured"


def test_second_answer_behind_the_first_is_nobodys(
    sieged: World, led_to: Callable[..., HostileProvider]
) -> None:
    provider = led_to(says(GOOD + GOOD.replace(b"hello", b"forge")))
    with Tunnel(sieged, sieged.proxies[-1]) as tunnel:
        said = [tunnel.ask(request()).body for _ in range(2)]

    assert said == [BODY, BODY]
    assert provider.received == 2


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=3),
    "zstd": zstandard.compress,
}


@cache
def bomb(encoding: str) -> bytes:
    """Spaces, packed."""
    return PACKED[encoding](b" " * BOMB_BYTES)


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_bomb_in_an_answer_costs_its_reservation_and_no_memory(
    sieged: World,
    led_to: Callable[..., HostileProvider],
    encoding: str,
    stream: bool,
) -> None:
    packed = bomb(encoding)
    head = GOOD.partition(b"\r\n\r\n")[0].replace(b"%d" % len(BODY), b"%d" % len(packed))
    kind = b"text/event-stream" if stream else b"application/json"
    head = head.replace(b"application/json", kind) + b"\r\nContent-Encoding: %s" % encoding.encode()
    led_to(says(head + b"\r\n\r\n" + packed))
    before = memory_mib(sieged.proxies[0].process.pid)

    heard(sieged, CHAT | {"stream": stream})

    row = newest(sieged)
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])
    assert memory_mib(sieged.proxies[0].process.pid) < before + BOMB_BYTES / 2**20 / 2


def test_alt_svc_leads_nobody_past_the_proxy(
    sieged: World, led_to: Callable[..., HostileProvider]
) -> None:
    led_to(says(GOOD.replace(b"\r\n\r\n", b'\r\nAlt-Svc: h3=":443"\r\n\r\n', 1)))

    seen = heard(sieged)

    assert seen.startswith(b"HTTP/1.1 200")
    assert b"alt-svc" not in seen.lower()


def test_provider_with_a_certificate_of_somebody_else_gets_no_call(
    sieged: World, led_to: Callable[..., HostileProvider], tmp_path: Path
) -> None:
    provider = led_to(says(GOOD))
    trusted = LabAuthority(tmp_path / "another").certificate
    path = {"connect_to": f"127.0.0.1:{provider.port}", "trust": str(trusted)}
    reloaded(sieged, {"providers": {"openai": path}})

    seen = heard(sieged)

    assert seen.startswith(b"HTTP/1.1 502")
    assert provider.received == 0
    assert newest(sieged)["cost_nano_usd"] == 0


def test_refused_call_opens_no_connection_to_its_provider(
    sieged: World, led_to: Callable[..., HostileProvider]
) -> None:
    provider = led_to(says(GOOD))

    seen = heard(sieged, CHAT | {"max_tokens": -1})

    assert seen.startswith(b"HTTP/1.1 4")
    assert provider.connections == []
    assert provider.ended == 0


# ------------------------------------------------------------------------------- HTTP/2


def speaking_h2(answer: Callable[[h2.connection.H2Connection, int], Iterable[bytes]]) -> Play:
    """Answer every request with the bytes that ``answer`` makes of its stream."""

    def play(opened: ssl.SSLSocket) -> None:
        config = h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
        made = h2.connection.H2Connection(config)
        made.initiate_connection()
        opened.sendall(made.data_to_send())
        while data := opened.recv(65536):
            for event in made.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    for more in answer(made, event.stream_id):
                        opened.sendall(more)
            opened.sendall(made.data_to_send())

    return play


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame. Source: https://www.rfc-editor.org/rfc/rfc9113.html#name-frame-format"""
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def continuations(_: h2.connection.H2Connection, stream: int) -> Iterator[bytes]:
    """A header block that never ends: HEADERS and CONTINUATION without END_HEADERS."""
    yield frame(1, 0, stream, b"\x88")
    for _ in range(10_000):
        yield frame(9, 0, stream, b"\x00\x01a\x7f\x00" + b"b" * 127)


def fat_headers(made: h2.connection.H2Connection, stream: int) -> Iterator[bytes]:
    """A megabyte of headers."""
    made.send_headers(stream, [(":status", "200"), *((f"x-{n}", "y" * 4000) for n in range(260))])
    yield made.data_to_send()


def no_headers(made: h2.connection.H2Connection, stream: int) -> Iterator[bytes]:
    """A body without a head."""
    yield frame(0, 0, stream, b"{}")


def push(made: h2.connection.H2Connection, stream: int) -> Iterator[bytes]:
    """A promise that nobody asked for."""
    yield frame(5, 4, stream, (2).to_bytes(4, "big") + b"\x82\x87\x84\x41\x01a")


@pytest.mark.parametrize("answer", [continuations, fat_headers, no_headers, push])
def test_http2_answer_that_is_none_is_a_502_and_booked_as_reserved(
    sieged: World, led_to: Callable[..., HostileProvider], answer: Any
) -> None:
    provider = led_to(speaking_h2(answer), "h2")

    status = over_http2(sieged)[0]

    assert status == 502
    assert newest(sieged)["basis"] == "reserved"
    wait(lambda: provider.ended == 1)
    assert healthy(sieged)


def test_http2_interims_pings_and_settings_are_not_taken_for_the_answer(
    sieged: World, led_to: Callable[..., HostileProvider]
) -> None:
    def answer(made: h2.connection.H2Connection, stream: int) -> Iterator[bytes]:
        for _ in range(2000):
            made.send_headers(stream, [(":status", "103"), ("link", "x")])
            made.ping(b"01234567")
            yield made.data_to_send()
        yield frame(4, 0, 0, b"") * 2000
        made.send_headers(stream, [(":status", "200"), ("content-type", "application/json")])
        made.send_data(stream, BODY)
        made.send_headers(stream, [("x-trailer", "y")], end_stream=True)
        yield made.data_to_send()

    led_to(speaking_h2(answer), "h2")

    status, body = over_http2(sieged)

    assert (status, body) == (200, BODY)
    assert newest(sieged)["basis"] == "measured"


def over_http2(world: World) -> tuple[int, bytes]:
    """Status and body of a call by a client that speaks HTTP/2."""
    with Tunnel(world, world.proxies[-1], alpn=("h2",)) as tunnel:
        made = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        made.initiate_connection()
        host = "api.openai.com"
        fields = [(":method", "POST"), (":scheme", "https"), (":authority", host)]
        made.send_headers(
            1, [*fields, (":path", "/v1/chat/completions"), ("authorization", "Bearer x")]
        )
        made.send_data(1, json.dumps(CHAT).encode(), end_stream=True)
        tunnel.send(made.data_to_send())
        status, body = 0, b""
        while data := tunnel.socket.recv(65536):
            for event in made.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return status, body
            tunnel.send(made.data_to_send())
        return status, body


# ------------------------------------------------------------------------------ clients


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n", b"X: y\r\n"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    ],
)  # fmt: skip
def test_request_that_drips_is_given_up(hasty: World, start: bytes, drop: bytes) -> None:
    with Tunnel(hasty, hasty.proxies[-1]) as tunnel:
        with suppress(OSError):
            in_drips(start, drop)(tunnel.socket)

        assert tunnel.hear().status == 408


def healthy(world: World) -> bool:
    """Whether the proxy broke nowhere and its books are in order."""
    log = world.proxies[-1].log.read_text(errors="replace")
    return "Traceback" not in log and "crashed" not in log and world.books()["open"] == 0
