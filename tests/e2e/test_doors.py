"""Attacks on the way in: tunnels, names, addresses, credentials, options."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess

import pytest

from e2e.world import PATIENCE_SECONDS, World


def connect(port: int, target: str, auth: str | None) -> tuple[bytes, socket.socket]:
    """Send a bare CONNECT; the proxy's first line and the open socket."""
    opened = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if auth is not None:
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(auth.encode()).decode())
    opened.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return opened.recv(65536), opened


def curl(world: World, port: int, *arguments: str, agent: str = "atlas") -> str:
    """What curl prints."""
    proxy = f"http://{agent}:{world.tokens[agent]}@127.0.0.1:{port}"
    command = [
        "curl",
        "-sS",
        "-m",
        str(PATIENCE_SECONDS),
        "--proxy",
        proxy,
        "--cacert",
        str(world.home.bundle),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_connect_without_credentials_is_challenged_with_407(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    head, _ = connect(proxy.port, "api.openai.com:443", None)

    assert head.startswith(b"HTTP/1.1 407")
    assert b"proxy-authenticate: Basic" in head.lower().replace(b"basic", b"Basic")


def test_plain_request_without_credentials_is_challenged_with_407(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS) as opened:
        opened.sendall(b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")

        assert opened.recv(65536).startswith(b"HTTP/1.1 407")


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:443",
        "[::1]:443",
        "2130706433:443",
        "0x7f.1:443",
        "169.254.169.254:443",
        "example.com:22",
        "api.openai.com:80",
        "api.openai.com:8443",
    ],
)
def test_addresses_and_closed_ports_are_not_connected_to(world: World, target: str) -> None:
    world.agent()
    proxy = world.proxy()

    head, _ = connect(proxy.port, target, f"atlas:{world.tokens['atlas']}")

    assert head.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")), head


def test_name_that_leads_to_loopback_is_not_dialled(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    said = curl(world, proxy.port, "https://localhost/")

    assert "000" not in curl(world, proxy.port, "-w", "%{http_connect}", "https://localhost/")[:3]
    assert "error" in said.lower() or "refused" in said.lower()
    assert "private address" in proxy.log.read_text() or "killed" in proxy.log.read_text()


@pytest.mark.parametrize("sni", ["example.com", "api.anthropic.com"])
def test_sni_that_differs_from_the_target_is_refused(world: World, sni: str) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, sni=sni)

    assert answer["status"] == 403
    assert world.lab.calls() == []


@pytest.mark.parametrize(
    "fields",
    [
        [["Host", "api.anthropic.com"]],
        [["Host", "api.openai.com"], ["Host", "api.anthropic.com"]],
        [["Host", "api.openai.com:8443"]],
        [["Host", "api.openai.com@evil.example"]],
    ],
)
def test_host_header_that_differs_from_the_target_is_refused(
    world: World, fields: list[list[str]]
) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, headers=fields)

    assert answer["status"] in (400, 403)
    assert world.lab.calls() == []


def test_tunnel_inside_a_tunnel_is_refused(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    inner = b"CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n"

    [answer] = world.calls(proxy, raw_base64=base64.b64encode(inner).decode())

    assert answer["status"] in (400, 403)


def test_undecrypted_tunnel_that_does_not_speak_tls_is_closed(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    head, opened = connect(proxy.port, "example.com:443", f"atlas:{world.tokens['atlas']}")
    assert head.startswith(b"HTTP/1.1 200")

    opened.sendall(b"SSH-2.0-OpenSSH_9.0\r\n")

    assert opened.recv(100) == b""
    assert "does not speak TLS" in proxy.log.read_text()


def test_provider_tunnel_that_does_not_speak_tls_reaches_nobody(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    _, opened = connect(proxy.port, "api.openai.com:443", f"atlas:{world.tokens['atlas']}")

    opened.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 2\r\n\r\n{}"
    )

    assert opened.recv(65536).startswith(b"HTTP/1.1 403")
    assert world.lab.calls() == []


def test_http2_client_is_governed_like_any_other(world: World) -> None:
    world.agent(rpm=1)
    proxy = world.proxy()
    body = json.dumps(
        {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    )
    call = [
        "--http2",
        "https://api.openai.com/v1/chat/completions",
        "-H",
        "authorization: Bearer sk-agent",
        "-H",
        "content-type: application/json",
        "-d",
        body,
        "-w",
        "\n%{http_version} %{http_code}",
    ]

    first, second = (curl(world, proxy.port, *call) for _ in range(2))

    assert first.endswith("2 200"), first
    assert second.endswith("2 429"), second


def test_refused_caller_gets_his_answer_without_his_body_being_kept(world: World) -> None:
    world.agent()
    world.tokens["atlas"] = "tk_wrong"
    proxy = world.proxy()

    [answer] = world.calls(proxy, body="x" * 3_000_000)

    assert answer["status"] == 401
    assert world.lab.calls() == []


def test_body_over_the_limit_is_refused(world: World) -> None:
    world.agent()
    world.policy({"body_limit": "1MiB"})
    proxy = world.proxy()

    [answer] = world.calls(proxy, body="x" * 3_000_000)

    assert answer["status"] in (400, 413)
    assert world.lab.calls() == []


def test_denied_host_is_refused_at_the_connect(world: World) -> None:
    world.agent()
    world.policy({"other_hosts": {"default": "deny"}})
    proxy = world.proxy()

    head, _ = connect(proxy.port, "example.com:443", f"atlas:{world.tokens['atlas']}")

    assert head.startswith(b"HTTP/1.1 403")


def test_flood_of_unknown_callers_writes_no_record_each(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    async def flood() -> None:
        def one() -> None:
            _, opened = connect(proxy.port, "example.com:443", "atlas:tk_wrong")
            opened.close()

        await asyncio.gather(*(asyncio.to_thread(one) for _ in range(200)))

    asyncio.run(flood())

    assert len(world.ledger().audit(limit=1000)) < 50
