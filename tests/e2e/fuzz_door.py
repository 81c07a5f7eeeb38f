"""Fuzzes the proxy's door: ``python -m e2e.fuzz_door [SECONDS] [SEED]``.

Sends what no honest client sends, on as many connections as it likes: raw bytes, CONNECTs, HTTP/1.1
framing, HTTP/2 frames, JSON bodies, and streams left in the middle. One provider answers with what no
provider answers with. What must hold all the time, and is looked at after every round:

- the proxy lives, and an honest call passes;
- every request that reached a provider is on the books, once;
- no reservation stays open, and the books verify;
- its memory stays within a bound.

A failure prints the seed and the round, with which it can be had again.
"""

from __future__ import annotations

import json
import os
import random
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.exceptions
import h2.settings

from e2e.hostile_provider import HostileProvider, hostile_provider
from e2e.tunnel import CHAT, Tunnel, ask, credentials, dial, pour, request
from e2e.world import World, wait
from tollkeeper.simulator.lab import Lab, in_process

ATTEMPTS_A_ROUND = 80
AT_ONCE = 8
GROWTH_MIB = 150
"""What a round may leave behind for a while: flows that wait for garbage collection, read buffers."""

HOSTILE = "api.groq.com"
"""Answers with anything; it is no part of ``HOSTS``."""

HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
PATHS = {
    "api.openai.com": ("/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/embeddings"),
    "api.anthropic.com": ("/v1/messages", "/v1/messages/count_tokens", "/v1/models"),
    "generativelanguage.googleapis.com": (
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    ),
    HOSTILE: ("/openai/v1/chat/completions",),
}
BODIES: tuple[dict[str, Any], ...] = (
    CHAT,
    CHAT | {"stream": True},
    {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 20},
    {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
    {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 10**30, "", "abc", "\ud800", "\x00", [], {}, [None], {"a": {}},
    "x" * 5000, [[[[]]]],
)  # fmt: skip
FIELDS: tuple[tuple[str, str], ...] = (
    ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip"), ("Content-Length", "7"),
    ("Content-Length", "-1"), ("Content-Encoding", "gzip"), ("Content-Encoding", "br, gzip"),
    ("Host", "api.anthropic.com"), ("Expect", "100-continue"), ("Connection", "close"),
    ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Upgrade", "h2c"), ("TE", "trailers"),
    ("X-Fill", "y" * 9000), ("Content-Type", "text/plain; charset=utf-16"), ("X-Api-Key", "k"),
    ("X-HTTP-Method-Override", "DELETE"), ("Proxy-Authorization", "Basic !"), ("Bad Name", "x"),
    ("x-tollkeeper-agent", "root"), ("Accept-Encoding", "br"), ("Cookie", "a=b"), ("Trailer", "Host"),
)  # fmt: skip


ANSWER = json.dumps(
    {"id": "x", "object": "chat.completion", "model": "llama-3.1-8b-instant",
     "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
     "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}
).encode()  # fmt: skip
ANSWERS: tuple[bytes, ...] = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(ANSWER), ANSWER),
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\ndata: %s\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n" % (len(ANSWER) + 8, ANSWER),
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 429 No\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + ANSWER,
    b"HTTP/1.0 200\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"",
)


def play(seed: int) -> Callable[[ssl.SSLSocket], None]:
    """Answers of a provider that keeps to no rule; the n-th one is always the same."""
    chance, turn = random.Random(seed), threading.Lock()

    def answer(opened: ssl.SSLSocket) -> None:
        with turn:
            data = chance.choice(ANSWERS)
            data = mutated(chance, data) if chance.random() < 0.6 else data
            data *= chance.choice((1, 1, 1, 2))
            cut, goes = chance.randrange(len(data) + 1), chance.random() < 0.3
        opened.sendall(data[:cut])
        opened.sendall(data[cut:])
        if goes:
            opened.close()

    return answer


def mutated(chance: random.Random, data: bytes) -> bytes:
    """The bytes with a few changes."""
    out = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(5):
            case 0:
                out[at : at + 1] = chance.randbytes(1)
            case 1:
                del out[at : at + chance.randrange(20)]
            case 2:
                out[at:at] = chance.randbytes(chance.randrange(20))
            case 3:
                out[at:at] = chance.choice((b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":"))
            case _:
                out[at:at] = out[at : at + 200]
    return bytes(out)


@dataclass(slots=True)
class Attack:
    """One attack on one proxy; the same numbers give the same bytes."""

    world: World
    chance: random.Random

    def strike(self) -> str:
        """Do something bad, whatever comes of it on this side; what it was."""
        kinds: tuple[Callable[[], None], ...] = (
            self.raw_bytes,
            self.odd_connect,
            self.framing,
            self.framing,
            self.odd_body,
            self.odd_body,
            self.left_stream,
            self.http2,
            self.http2,
            self.hostile_answer,
        )
        kind = self.chance.choice(kinds)
        with suppress(OSError, ValueError, HTTPException, h2.exceptions.H2Error, AssertionError):
            kind()
        return kind.__name__

    # ------------------------------------------------------------------------ the attacks

    def raw_bytes(self) -> None:
        """Anything, before a CONNECT or in a tunnel."""
        with dial(self.world.proxies[-1]) as opened:
            opened.settimeout(0.3)
            if self.chance.random() < 0.5:
                opened.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\n" + self.token() + b"\r\n")
                opened.recv(65536)
            starts = (
                b"",
                b"\x16\x03\x01",
                b"GET http://",
                b"PRI * HTTP/2.0\r\n\r\n",
                b"\x05\x01\x00",
            )
            pour(
                opened,
                self.chance.choice(starts) + self.noise(self.chance.choice((9, 300, 90_000))),
            )
            opened.recv(65536)

    def odd_connect(self) -> None:
        """A CONNECT with bytes of it changed, doubled or taken away."""
        target = self.chance.choice(
            ("api.openai.com:443", "example.com:443", "127.0.0.1:1", "[::1]:443", "a" * 5000, ":", "x:99999")
        )  # fmt: skip
        line = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode() + self.token() + b"\r\n"
        with dial(self.world.proxies[-1]) as opened:
            opened.settimeout(0.3)
            pour(opened, self.mutated(line))
            opened.recv(65536)

    def framing(self) -> None:
        """HTTP/1.1 in a decrypted tunnel, its framing wrong."""
        host = self.chance.choice(HOSTS)
        fields = self.chance.sample(FIELDS, self.chance.randrange(4))
        body = json.dumps(self.chance.choice(BODIES)).encode()
        if self.chance.random() < 0.3:
            size = self.chance.choice(
                (b"%x" % len(body), b"zz", b"5;a=b", b"ffffffffffffffff", b"-1")
            )
            body = (
                size
                + b"\r\n"
                + body
                + b"\r\n0\r\n"
                + self.chance.choice((b"\r\n", b"A: b\r\n\r\n"))
            )
        method = self.chance.choice(("POST", "POST", "GET", "CONNECT", "PRI", "post", "OPTIONS"))
        path = self.chance.choice((*PATHS[host], "*", "https://api.openai.com/", "//x", "/%00"))
        data = request(
            body,
            host=host,
            method=method,
            path=path,
            fields=fields,
            length=self.chance.random() < 0.7,
        )
        if self.chance.random() < 0.4:
            data = self.mutated(data)
        self.in_tunnel(host, data * self.chance.choice((1, 1, 1, 2, 30)))

    def odd_body(self) -> None:
        """A call whose JSON says odd things, in odd bytes."""
        host = self.chance.choice(HOSTS)
        value = json.loads(json.dumps(self.chance.choice(BODIES)))
        for _ in range(self.chance.randrange(4)):
            value[self.chance.choice((*value, "n", "stream", "tools", "metadata"))] = (
                self.chance.choice(ODD)
            )
        body = json.dumps(value).encode()
        if self.chance.random() < 0.3:
            body = self.mutated(body)
        self.in_tunnel(host, request(body, host=host, path=self.chance.choice(PATHS[host])))

    def left_stream(self) -> None:
        """A stream whose client goes away in the middle, or that the provider breaks."""
        say = self.chance.choice(
            ("[sim tokens=200 delay=0.01]", "[sim cut=3]", "[sim tokens=50]", "[sim status=500]")
        )
        told = CHAT | {
            "stream": True,
            "max_tokens": 300,
            "messages": [{"role": "user", "content": say}],
        }
        with Tunnel(self.world, self.world.proxies[-1]) as tunnel:
            tunnel.send(request(told))
            tunnel.socket.settimeout(0.3)
            for _ in range(self.chance.randrange(6)):
                tunnel.socket.recv(200)

    def hostile_answer(self) -> None:
        """A call whose provider answers with anything."""
        body = CHAT | {"model": "llama-3.1-8b-instant", "stream": self.chance.random() < 0.5}
        data = request(body, host=HOSTILE, path="/openai/v1/chat/completions")
        alpn = self.chance.choice(((), ("h2", "http/1.1")))
        with Tunnel(self.world, self.world.proxies[-1], HOSTILE, alpn=alpn) as tunnel:
            tunnel.socket.settimeout(0.3)
            if tunnel.socket.selected_alpn_protocol() == "h2":
                made = h2.connection.H2Connection()
                made.initiate_connection()
                self.stream(made, HOSTILE)
                tunnel.send(made.data_to_send())
                tunnel.socket.recv(65536)
                return
            for _ in range(self.chance.randrange(1, 3)):
                tunnel.send(data)
                tunnel.hear()

    def http2(self) -> None:
        """HTTP/2 with frames that break its rules."""
        host = self.chance.choice(HOSTS)
        with Tunnel(self.world, self.world.proxies[-1], host, alpn=("h2",)) as tunnel:
            tunnel.socket.settimeout(0.3)
            config = h2.config.H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False
            )
            made = h2.connection.H2Connection(config)
            made.initiate_connection()
            for _ in range(self.chance.randrange(1, 6)):
                self.stream(made, host)
            data = made.data_to_send()
            pour(tunnel.socket, self.mutated(data) if self.chance.random() < 0.4 else data)
            tunnel.socket.recv(65536)

    def stream(self, made: h2.connection.H2Connection, host: str) -> None:
        """One stream, maybe reset."""
        number = made.get_next_available_stream_id()
        fields = [
            (":method", self.chance.choice(("POST", "GET", "CONNECT"))),
            (":scheme", self.chance.choice(("https", "https", "http", "ftp"))),
            (":authority", self.chance.choice((host, host, host, "evil.example", ""))),
            (":path", self.chance.choice((*PATHS[host], "", "*"))),
        ]
        fields += [
            (name.lower(), value)
            for name, value in self.chance.sample(FIELDS, self.chance.randrange(3))
        ]
        if self.chance.random() < 0.2:
            self.chance.shuffle(fields)
        made.send_headers(number, fields)
        made.send_data(
            number,
            json.dumps(self.chance.choice(BODIES)).encode(),
            end_stream=self.chance.random() < 0.8,
        )
        if self.chance.random() < 0.3:
            made.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        if self.chance.random() < 0.1:
            made.update_settings(
                {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self.chance.randrange(9)}
            )

    # ------------------------------------------------------------------------- their parts

    def in_tunnel(self, host: str, data: bytes) -> None:
        """Send it, and hear an answer or two."""
        with Tunnel(self.world, self.world.proxies[-1], host) as tunnel:
            tunnel.send(data)
            tunnel.socket.settimeout(0.3)
            tunnel.hear()
            tunnel.hear()

    def token(self) -> bytes:
        """Good credentials, mostly."""
        return (
            credentials(self.world)
            if self.chance.random() < 0.9
            else b"Proxy-Authorization: Basic eA==\r\n"
        )

    def noise(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    def mutated(self, data: bytes) -> bytes:
        """The bytes with a few changes."""
        return mutated(self.chance, data)


@dataclass(slots=True)
class Fuzzer:
    """One run against one proxy."""

    world: World
    hostile: HostileProvider
    seed: int
    rounds: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    first_mib: float = 0.0
    last_mib: float = 0.0
    forwarded: int = 0

    def round(self, number: int) -> None:
        """Many attacks, some at once, and a look at what they left."""
        attacks = [
            Attack(self.world, random.Random(f"{self.seed} {number} {one}"))
            for one in range(ATTEMPTS_A_ROUND)
        ]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self.attempts.update(pool.map(Attack.strike, attacks))
        self.look()

    def look(self) -> None:
        """What must hold after every round."""
        proxy = self.world.proxies[-1]
        assert proxy.process.poll() is None, "the proxy died"
        assert ask(self.world, request()).status == 200, "an honest call did not pass"
        wait(lambda: self.world.books()["open"] == 0, 30)
        answered, forwarded = booked(self.world)
        received = len(self.world.lab.calls()) + self.hostile.received
        self.forwarded = forwarded
        assert answered <= received <= forwarded, (answered, received, forwarded)
        _, crash, trace = proxy.log.read_text(errors="replace").partition("mitmproxy has crashed!")
        assert not crash, trace[:6000]
        now_mib = self.last_mib = memory_mib(proxy.process.pid)
        self.first_mib = self.first_mib or now_mib
        assert now_mib < self.first_mib + GROWTH_MIB, (
            f"{now_mib:.0f} MiB, at first {self.first_mib:.0f}"
        )


def booked(world: World) -> tuple[int, int]:
    """How many calls had an answer, and how many may have left, as the books have it.

    Between the two are those that broke off: their bytes may have arrived or not.
    """
    ledger = world.ledger()
    [row] = ledger.rows(
        "select count(status) as answered, count(*) as forwarded from calls"
        " where state = 'settled' and outcome != 'not_sent'"
    )
    ledger.close()
    return int(row["answered"]), int(row["forwarded"])


def memory_mib(pid: int) -> float:
    """What a process has in memory."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def fuzz(lab: Lab, folder: Path, seed: int, *, seconds: float, rounds: int = 1 << 60) -> Fuzzer:
    """Fuzz for so long or so many rounds, whichever ends first.

    Raises:
        AssertionError: Something that must hold does not.
    """
    with ExitStack() as stack:
        world = World(folder, lab, stack)
        hostile = stack.enter_context(
            hostile_provider(folder / "hostile", play(seed), host=HOSTILE)
        )
        where = {"connect_to": f"127.0.0.1:{hostile.port}", "trust": str(hostile.certificate)}
        world.policy({"providers": {"groq": where}})
        world.agent()
        world.proxy()
        fuzzer = Fuzzer(world, hostile, seed)
        fuzzer.look()
        deadline, number = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and number < rounds:
            number += 1
            try:
                fuzzer.round(number)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}: {error}") from error
            fuzzer.rounds = number
        return fuzzer


def main() -> None:
    """Fuzz and say what was done."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    socket.setdefaulttimeout(20)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as name, in_process(Path(name) / "lab") as lab:
        done = fuzz(lab, Path(name), seed, seconds=seconds)
    print(f"{done.rounds} rounds, {done.attempts.total()} attempts: {dict(done.attempts)}")
    print(
        f"{done.forwarded} calls forwarded, all on the books; {done.hostile.received} answers made up"
    )
    print(f"memory {done.first_mib:.0f} MiB at first, {done.last_mib:.0f} MiB at last")


if __name__ == "__main__":
    main()
