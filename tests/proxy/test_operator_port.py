"""The operator's port: what it says, to whom, and that no agent is led there."""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.world import Proxy, World, answers, wait
from proxy.house import HOLD_ALL
from tollkeeper.proxy.operator_port import read_token


@dataclass(frozen=True, slots=True)
class Operator:
    """A proxy with its operator port, asked as a probe asks."""

    world: World
    proxy: Proxy
    address: str

    def ask(self, path: str, token: str = "", method: str = "GET") -> tuple[int, bytes]:
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(
            f"http://{self.address}{path}", headers=fields, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=90) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def ready(self) -> Mapping[str, Any]:
        status, body = self.ask("/readyz")
        found: Mapping[str, Any] = json.loads(body)
        assert status == (200 if found["ready"] else 503)
        return found

    def metrics(self) -> dict[str, str]:
        token = self.world.home.metrics_token.read_text().strip()
        status, body = self.ask("/metrics", token)
        assert status == 200
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        return dict(line.rsplit(" ", 1) for line in lines)


@pytest.fixture
def operator(world: World) -> Operator:
    world.agent()
    world.policy({"agents": {"atlas": {"models": ["gpt-4o-mini"]}}})
    proxy = world.proxy("operator=Address('127.0.0.1', 0)")
    said = wait(lambda: json.loads(world.home.process.read_text()))
    return Operator(world, proxy, said["operator"])


def test_proxy_that_takes_calls_is_alive_and_ready_and_names_its_policy(operator: Operator) -> None:
    assert operator.ask("/healthz") == (200, b"ok\n")
    ready = operator.ready()
    assert ready["reasons"] == []
    assert len(ready["policy"]["digest"]) == 64
    assert ready["policy"]["newest_edit_is_broken"] is False


def test_head_and_queries_are_answered_and_nothing_else_is_there(operator: Operator) -> None:
    assert operator.ask("/healthz", method="HEAD") == (200, b"")
    assert operator.ask("/healthz?verbose")[0] == 200
    assert operator.ask("/")[0] == 404
    assert operator.ask("/healthz/")[0] == 404
    assert operator.ask("/healthz", method="POST")[0] == 405


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x00\x05",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 99_999,
    ],
)
def test_what_is_no_request_ends_the_connection_and_nothing_else(
    operator: Operator, said: bytes
) -> None:
    host, port = operator.address.split(":")
    with socket.create_connection((host, int(port)), timeout=90) as client:
        client.sendall(said)
        try:
            while client.recv(65536):
                pass
        except ConnectionResetError:
            pass

    assert operator.ask("/healthz")[0] == 200


def test_many_silent_connections_leave_the_proxy_ready(operator: Operator) -> None:
    host, port = operator.address.split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(40)]
    assert silent[-1].recv(1) == b""

    assert operator.world.calls(operator.proxy)[0]["status"] == 200
    for one in silent:
        one.close()
    wait(lambda: operator.ask("/healthz")[0] == 200)


def test_broken_edit_leaves_it_ready_and_is_told(operator: Operator) -> None:
    (operator.world.home.root / "policy.yaml").write_text("version: 2\n")

    wait(lambda: operator.ready()["policy"]["newest_edit_is_broken"])

    assert operator.ready()["ready"] is True


def test_ledger_that_is_moved_away_makes_it_unready_and_its_return_ready(
    operator: Operator,
) -> None:
    database = operator.world.home.database
    away = database.with_suffix(".away")
    database.rename(away)

    wait(lambda: not operator.ready()["ready"])

    assert operator.ask("/healthz")[0] == 200
    assert "ledger" in operator.ready()["reasons"][0]
    wait(lambda: "Housekeeping (checkpoint) waits" in operator.proxy.log.read_text())
    assert not database.exists()
    away.rename(database)
    wait(lambda: operator.ready()["ready"])


def test_proxy_that_ends_is_unready_and_still_alive(operator: Operator) -> None:
    world, proxy = operator.world, operator.proxy
    body = json.dumps(
        {
            "model": "gpt-4o-mini",
            "max_tokens": 100,
            "stream": True,
            "messages": [{"role": "user", "content": "[sim tokens=5 stall=2]"}],
        }
    )
    client = world.start_clients(proxy, 1, body=body)
    wait(lambda: [call for call in world.lab.calls() if call["sends"]])

    proxy.process.terminate()

    wait(lambda: not operator.ready()["ready"])
    assert operator.ready()["reasons"] == ["It is shutting down."]
    assert operator.ask("/healthz")[0] == 200
    proxy.process.terminate()
    answers(client)
    proxy.process.wait(timeout=90)
    with pytest.raises(urllib.error.URLError):
        operator.ask("/healthz")


def test_figures_want_their_own_token_and_no_other(operator: Operator) -> None:
    world = operator.world
    own = world.home.metrics_token
    assert own.stat().st_mode & 0o777 == 0o600
    for token in ("", "wrong", world.tokens["atlas"], world.home.operator_key.read_text().strip()):
        status, body = operator.ask("/metrics", token)
        assert status == 401
        assert own.read_text().strip().encode() not in body


def test_figures_are_those_of_the_books(operator: Operator) -> None:
    world = operator.world
    world.calls(operator.proxy, 3)
    world.calls(operator.proxy, body='{"model": "o3", "max_tokens": 5, "messages": []}')

    found = operator.metrics()

    who = 'agent="atlas",provider="openai"'
    assert found[f'tollkeeper_calls_total{{{who},model="gpt-4o-mini",outcome="complete"}}'] == "3"
    assert found[f'tollkeeper_refusals_total{{{who},model="other",code="policy_denied"}}'] == "1"
    spent = found[f'tollkeeper_cost_usd_total{{{who},model="gpt-4o-mini"}}']
    assert round(float(spent) * 10**9) == world.books()["spent"]
    assert found["tollkeeper_ready"] == "1"


def test_held_call_is_among_the_figures(operator: Operator) -> None:
    world = operator.world
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in operator.proxy.log.read_text())
    client = world.start_clients(operator.proxy, 1)
    [approval] = world.waits_for_approval()

    found = operator.metrics()

    assert found["tollkeeper_calls_held"] == "1"
    assert found["tollkeeper_approvals_open"] == "1"
    assert float(found["tollkeeper_reserved_usd"]) > 0
    world.verdict(approval)
    answers(client)


def test_taken_port_is_told_and_the_proxy_does_not_start(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"Address('127.0.0.1', {taken.getsockname()[1]})"
        with pytest.raises(AssertionError, match="operator port cannot be opened"):
            world.proxy(f"operator={address}")


def test_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.token"

    made = read_token(path)

    assert len(made) > 40
    assert read_token(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("")
    assert len(read_token(path)) > 40


# ------------------------------------------------------------------ through the proxy


def through(operator: Operator, lines: str) -> bytes:
    """The first bytes that the proxy answers to a request of an agent."""
    auth = base64.b64encode(f"atlas:{operator.world.tokens['atlas']}".encode()).decode()
    with socket.create_connection(("127.0.0.1", operator.proxy.port), timeout=90) as client:
        client.sendall(f"{lines}\r\nproxy-authorization: Basic {auth}\r\n\r\n".encode())
        return client.recv(65536)


NAMES = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "127.1", socket.gethostname()]


@pytest.mark.parametrize("name", NAMES)
def test_agent_is_not_led_to_the_operator_port(operator: Operator, name: str) -> None:
    world = operator.world
    port = operator.address.rpartition(":")[2]
    world.policy({"other_hosts": {"default": "inspect", "ports": [443, int(port)]}})
    wait(lambda: "Policy reloaded" in operator.proxy.log.read_text())

    for path in ("/healthz", "/metrics"):
        lines = f"GET http://{name}:{port}{path} HTTP/1.1\r\nhost: {name}:{port}"
        answer = through(operator, lines)
        assert answer.split()[1] in (b"403", b"502", b"400"), answer
        assert b"ok\n" not in answer


def test_not_even_a_providers_own_address_leads_to_the_operator_port(operator: Operator) -> None:
    operator.world.policy({"providers": {"openai": {"connect_to": operator.address}}})
    wait(lambda: "Policy reloaded" in operator.proxy.log.read_text())

    [answer] = operator.world.calls(operator.proxy)

    assert answer["status"] == 502
    assert b"operator port" in answer["body"]
