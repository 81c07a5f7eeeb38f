"""What a program meets that knows nothing but the proxy variables of its environment."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from e2e.world import Proxy, World
from tollkeeper.domain import Window

RAW_ANSWER = """
import json, openai
raw = openai.OpenAI().chat.completions.with_raw_response.create(
    model="gpt-4o-mini", max_tokens=20, stream=STREAM, messages=[{"role": "user", "content": "hello"}])
answer = raw.parse()
if STREAM:
    for event in answer: pass
print(json.dumps({n: v for n, v in raw.headers.items() if n.startswith("x-tollkeeper-")}))
"""
GET = """
import urllib.error, urllib.request
try:
    with urllib.request.urlopen(URL, timeout=20) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code, refused.read().decode())
except OSError as refused:
    print(0, refused)
"""


def run(code: str, environment: dict[str, str], **names: Any) -> str:
    """What a program prints that runs in this environment."""
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    done = subprocess.run(
        [sys.executable, "-c", given + code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def labelled(world: World, proxy: Proxy, label: str) -> dict[str, str]:
    """The environment of an agent that has put a label into its proxy variables."""
    plain, bare = world.environment(proxy), world.url(proxy)
    url = world.url(proxy, label=label)
    return {name: url if value == bare else value for name, value in plain.items()}


@contextmanager
def answering(text: str) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """An HTTP server that says one thing; its port and what it was asked, target and headers."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append({"target": self.path, **headers})
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def relaying(port: int) -> Iterator[tuple[int, list[str]]]:
    """An HTTP proxy whose every tunnel leads to one local port; its port and what it was asked for."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().split()[1])
            while self.rfile.readline().strip():
                pass
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pump, args=(there, self.connection))
                back.start()
                pump(self.connection, there)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until one side ends."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def runs(world: World) -> list[str]:
    """The run of each call on the books, in order."""
    ledger = world.ledger()
    found = [row["run"] for row in ledger.rows("select run from calls order by at_ns")]
    ledger.close()
    return found


def test_answer_tells_decision_cost_and_what_is_left_as_the_books_have_it(world: World) -> None:
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()

    told = json.loads(run(RAW_ANSWER, world.environment(proxy), STREAM=False))

    [call] = world.ledger().rows("select id, cost_nano_usd from calls")
    assert told["x-tollkeeper-id"] == call["id"]
    assert Decimal(told["x-tollkeeper-cost-usd"]) * 10**9 == call["cost_nano_usd"]
    assert Decimal(told["x-tollkeeper-budget-left-usd"]) * 10**9 == 10**9 - call["cost_nano_usd"]


def test_stream_tells_its_decision_and_what_is_left_beside_its_reservation(world: World) -> None:
    world.agent(budget_nano_usd={Window.DAY: 10**9})
    proxy = world.proxy()

    told = json.loads(run(RAW_ANSWER, world.environment(proxy), STREAM=True))

    [call] = world.ledger().rows("select id, worst_nano_usd from calls")
    assert told["x-tollkeeper-id"] == call["id"]
    assert "x-tollkeeper-cost-usd" not in told
    assert Decimal(told["x-tollkeeper-budget-left-usd"]) * 10**9 == 10**9 - call["worst_nano_usd"]


def test_without_a_budget_nothing_is_said_to_be_left(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    told = json.loads(run(RAW_ANSWER, world.environment(proxy), STREAM=False))

    assert told.keys() == {"x-tollkeeper-id", "x-tollkeeper-cost-usd"}


def test_label_in_the_proxy_variable_groups_calls_to_a_run(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    for label in ("~refactor", "~refactor", "~tests", ""):
        run(RAW_ANSWER, labelled(world, proxy, label), STREAM=False)

    first, second, other, unlabelled = runs(world)
    assert first == second
    assert "refactor" in first
    assert len({first, other, unlabelled}) == 3
    assert world.books()["calls"] == 4


def test_label_carries_no_limit_and_escapes_none(world: World) -> None:
    world.agent(requests={Window.DAY: 2})
    proxy = world.proxy()

    answers = [
        world.calls(proxy, auth=f"atlas~{label}:{world.tokens['atlas']}")[0]["status"]
        for label in ("one", "two", "three")
    ]

    assert answers == [200, 200, 402]


@pytest.mark.parametrize("label", ["a/b c", "x" * 300, "~~", ""])
def test_odd_label_is_never_a_reason_to_refuse(world: World, label: str) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, auth=f"atlas~{label}:{world.tokens['atlas']}")

    assert answer["status"] == 200


def test_loopback_is_reached_past_the_proxy(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    with answering("a local server") as (port, asked):
        said = run(GET, world.environment(proxy), URL=f"http://127.0.0.1:{port}/health")

    assert said == "200 a local server"
    assert asked[0]["target"] == "/health"
    assert "proxy-authorization" not in asked[0]


def test_loopback_is_not_reached_through_the_proxy(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    without = {
        name: value
        for name, value in world.environment(proxy).items()
        if name.lower() != "no_proxy"
    }

    with answering("a local server") as (port, asked):
        said = run(GET, without, URL=f"http://127.0.0.1:{port}/health")

    assert said.startswith("403 ")
    assert asked == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://api.openai.com/v1/models", "https only"),
        ("http://example.com/", "Port 80"),
    ],
)
def test_plain_http_is_refused_with_the_reason(world: World, url: str, why: str) -> None:
    world.agent()
    proxy = world.proxy()

    said = run(GET, world.environment(proxy), URL=url)

    assert said.startswith("403 ")
    assert why in said
    assert world.lab.calls() == []


def test_plain_http_goes_on_where_the_policy_opens_its_port_and_takes_no_token_along(
    world: World,
) -> None:
    world.agent()
    with answering("from afar") as (port, asked):
        world.policy(
            {
                "upstream": {"proxy": f"http://127.0.0.1:{port}"},
                "other_hosts": {"ports": [80, 443]},
            }
        )
        proxy = world.proxy()

        said = run(GET, world.environment(proxy), URL="http://example.com/page?x=1")

    assert said == "200 from afar"
    assert asked[0]["target"] == "http://example.com/page?x=1"
    assert world.tokens["atlas"] not in json.dumps(asked)
    assert "proxy-authorization" not in asked[0]


def test_call_goes_through_a_proxy_of_the_owners_and_is_verified_and_charged(world: World) -> None:
    world.agent()
    with relaying(world.lab.port) as (port, asked):
        world.policy({"upstream": {"proxy": f"http://127.0.0.1:{port}"}})
        proxy = world.proxy()

        told = json.loads(run(RAW_ANSWER, world.environment(proxy), STREAM=False))
        proxy.stop()

    assert asked == ["api.openai.com:443"]
    assert Decimal(told["x-tollkeeper-cost-usd"]) * 10**9 == world.books()["spent"]


def test_paused_agent_is_told_so_at_a_host_that_is_no_provider(world: World) -> None:
    world.agent()
    ledger = world.ledger()
    ledger.set_agent_state("atlas", "paused", 1, "tester")
    ledger.close()
    proxy = world.proxy()

    said = run(GET, world.environment(proxy), URL="http://example.com/")

    assert said.startswith("403 ")
    assert "paused" in said
