"""How a proxy ends: what is under way finishes or is booked, who is held may join again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from typing import Any

import pytest

from e2e.world import PATIENCE_SECONDS, Proxy, World, answers, wait
from proxy.house import HOLD_ALL
from tollkeeper_cli import process
from tollkeeper_cli.process import ProxyError


def stream(prompt: str) -> str:
    """A streaming chat body."""
    message = {"role": "user", "content": prompt}
    return json.dumps(
        {"model": "gpt-4o-mini", "max_tokens": 200, "stream": True, "messages": [message]}
    )


def only_call(world: World) -> dict[str, Any]:
    [row] = list(world.ledger().rows("select * from calls"))
    return row


def under_way(world: World, proxy: Proxy, prompt: str) -> subprocess.Popen[str]:
    """A client whose streamed answer has begun."""
    client = world.start_clients(proxy, 1, body=stream(prompt))
    wait(lambda: [call for call in world.lab.calls() if call["sends"]])
    return client


def told_to_stop(world: World, proxy: Proxy) -> None:
    """SIGTERM, and that it has heard."""
    proxy.process.send_signal(signal.SIGTERM)
    wait(lambda: proxy.process.poll() is not None or says_that_it_ends(world))


def says_that_it_ends(world: World) -> bool:
    """Whether the process file says so; whoever has ended takes it away."""
    try:
        return json.loads(world.home.process.read_text()).get("closing") is not None
    except FileNotFoundError:
        return False


def test_stream_finishes_though_the_proxy_was_told_to_stop_in_its_middle(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    client = under_way(world, proxy, "[sim tokens=15 delay=0.2]")

    told_to_stop(world, proxy)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    [answer] = answers(client)
    proxy.process.wait(timeout=PATIENCE_SECONDS)
    assert answer["body"].endswith(b"data: [DONE]\n\n")
    assert proxy.process.returncode == 0
    row = only_call(world)
    assert (row["outcome"], row["basis"], row["output_tokens"]) == ("complete", "measured", 15)
    assert not world.home.process.exists()
    assert not list(world.home.spool.glob("*.jsonl"))
    assert world.books()["open"] == 0


def test_stream_that_outlasts_the_grace_is_cut_and_booked(world: World) -> None:
    world.agent()
    proxy = world.proxy("grace_seconds=0.3")
    client = under_way(world, proxy, "[sim tokens=100 delay=0.2]")

    told_to_stop(world, proxy)

    [answer] = answers(client)
    proxy.process.wait(timeout=PATIENCE_SECONDS)
    assert answer["headers"].get("x-cut") == "yes"
    row = only_call(world)
    assert (row["state"], row["outcome"]) == ("settled", "cut")
    assert row["cost_nano_usd"] > 0
    assert world.books()["open"] == 0


def test_second_signal_cuts_at_once(world: World) -> None:
    world.agent()
    proxy = world.proxy("grace_seconds=3600")
    client = under_way(world, proxy, "[sim tokens=5 stall=2]")
    told_to_stop(world, proxy)

    proxy.process.send_signal(signal.SIGTERM)

    proxy.process.wait(timeout=PATIENCE_SECONDS)
    answers(client)
    row = only_call(world)
    assert (row["state"], row["outcome"]) == ("settled", "cut")
    assert row["cost_nano_usd"] > 0


def test_held_call_is_told_that_it_is_pending_and_joins_at_the_next_proxy(world: World) -> None:
    world.agent()
    world.policy(HOLD_ALL)
    first = world.proxy("grace_seconds=3600")
    client = world.start_clients(first, 1)
    [approval] = world.waits_for_approval()

    first.process.send_signal(signal.SIGTERM)

    [answer] = answers(client)
    first.process.wait(timeout=PATIENCE_SECONDS)
    error = json.loads(answer["body"])["error"]
    assert (answer["status"], error["code"]) == (403, "approval_pending")
    assert approval in error["message"]
    assert world.books()["open"] == 0
    second = world.proxy()
    world.verdict(approval)
    assert world.calls(second)[0]["status"] == 200
    assert world.ledger().approvals() == []


def test_new_call_on_an_old_connection_is_refused_while_another_finishes(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    gate = world.folder / "gate"
    waiting = world.start_clients(proxy, 1, gate=str(gate))
    wait(gate.with_suffix(".open").exists)
    client = under_way(world, proxy, "[sim tokens=30 delay=0.2]")

    told_to_stop(world, proxy)
    gate.touch()

    [refused] = answers(waiting)
    error = json.loads(refused["body"])["error"]
    assert (refused["status"], error["code"]) == (503, "policy_unavailable")
    assert "shutting down" in error["message"]
    assert refused["headers"]["x-should-retry"] == "true"
    assert answers(client)[0]["body"].endswith(b"data: [DONE]\n\n")
    assert len(world.lab.calls()) == 1


def test_who_was_turned_away_just_before_the_end_is_in_the_record(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    world.calls(proxy, 3, auth="")

    proxy.stop()

    [record] = [row for row in world.ledger().audit(limit=100) if row["kind"] == "turned_away"]
    assert record["data"] == {"no credentials": 3}


def test_proxy_with_nothing_to_do_ends_at_once_whatever_its_grace(world: World) -> None:
    world.agent()
    proxy = world.proxy("grace_seconds=3600")
    idle = socket.create_connection(("127.0.0.1", proxy.port))

    proxy.stop()

    assert idle.recv(1) == b""
    assert proxy.process.returncode == 0


def test_lease_is_kept_while_calls_finish(world: World) -> None:
    world.agent()
    first = world.proxy("grace_seconds=3600")
    client = under_way(world, first, "[sim tokens=5 stall=2]")
    told_to_stop(world, first)

    second = world.proxy()
    wait(lambda: json.loads(world.home.process.read_text())["pid"] == second.process.pid)

    assert only_call(world)["state"] == "forwarded"
    first.process.send_signal(signal.SIGTERM)
    answers(client)
    first.process.wait(timeout=PATIENCE_SECONDS)
    assert only_call(world)["outcome"] == "cut"
    assert json.loads(world.home.process.read_text())["port"] == second.port


def test_down_tells_what_it_waits_for_and_now_waits_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.agent()
    proxy = world.proxy("grace_seconds=3600")
    client = under_way(world, proxy, "[sim tokens=5 stall=2]")
    told: list[int] = []

    monkeypatch.setattr(process, "STOP_SECONDS", 2.0 - 3600)
    with pytest.raises(ProxyError, match="still runs"):
        process.stop(world.home, progress=told.append)

    assert told == [1]
    assert process.stop(world.home, now=True) is not None
    answers(client)
    assert proxy.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert only_call(world)["outcome"] == "cut"


def test_now_needs_no_down_before(world: World) -> None:
    world.agent()
    proxy = world.proxy("grace_seconds=3600")
    client = under_way(world, proxy, "[sim tokens=5 stall=2]")

    assert process.stop(world.home, now=True) is not None

    answers(client)
    assert proxy.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert only_call(world)["outcome"] == "cut"
