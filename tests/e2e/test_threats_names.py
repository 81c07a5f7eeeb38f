"""Attacks by name: what the resolver says changes, is mixed, or is a lie."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from e2e import world as worlds
from e2e.tunnel import ask, connect, credentials, dial, head_of, pour, request
from e2e.world import World, trust, wait
from tollkeeper.simulator.lab import Lab

PUBLIC = "192.0.0.9"
"""An anycast address that is global by registration and belongs to no provider: where a test would
reach it, it reaches nobody's service.
Source: https://www.iana.org/assignments/iana-ipv4-special-registry/"""

RESOLVER = """
import json, socket, sys
names, asked = json.loads(NAMES), open(LOG, "a", buffering=1)
real, turns = socket.getaddrinfo, {}
def getaddrinfo(host, port, *rest, **more):
    if host not in names:
        return real(host, port, *rest, **more)
    asked.write(host + "\\n")
    turn = turns[host] = turns.get(host, -1) + 1
    answers = names[host][turn % len(names[host])]
    return [entry for address in answers for entry in real(address, port, *rest, **more)]
socket.getaddrinfo = getaddrinfo
"""
"""Stands for the resolver of the machine, whose answers an attacker chooses: each look gives the next."""

LOOPBACK = "127.0.0.1"
LIES = {
    "rebound": [[PUBLIC], [LOOPBACK]],
    "rebound-at-once": [[LOOPBACK], [PUBLIC]],
    "mixed": [[PUBLIC, LOOPBACK]],
    "mixed-the-other-way": [[LOOPBACK, PUBLIC]],
    "mapped": [["::ffff:127.0.0.1"]],
    "six": [["::1"]],
    "metadata": [["169.254.169.254"]],
    "inside": [["10.0.0.1"]],
    "any": [["0.0.0.0"]],
}
"""What a name leads to, look by look; below ``.tunnel`` it is tunnelled, below ``.inspect`` decrypted."""

PROVIDER = "api.mistral.ai"
ANSWERS = {f"{name}.{kind}": LIES[name] for name in LIES for kind in ("tunnel", "inspect")} | {
    PROVIDER: [[PUBLIC, LOOPBACK]]
}


class Inside:
    """What must not be reached: a service of this machine."""

    def __init__(self) -> None:
        self.listener = socket.create_server((LOOPBACK, 0))
        self.port = self.listener.getsockname()[1]
        self.reached = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                opened, _ = self.listener.accept()
                self.reached += 1
                opened.close()


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    made = Inside()
    yield made
    made.listener.close()


@pytest.fixture(scope="module")
def lied_to(
    tmp_path_factory: pytest.TempPathFactory, session_lab: Lab, inside: Inside
) -> Iterator[World]:
    """An installation whose names lead where an attacker wants, and whose owner opened that port."""
    folder = tmp_path_factory.mktemp("lied-to")
    resolver = RESOLVER.replace("NAMES", repr(json.dumps(ANSWERS)))
    resolver = resolver.replace("LOG", repr(str(folder / "asked")))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "SERVE", f"exec({resolver!r});" + worlds.SERVE)
        made = World(folder, session_lab, stack)
        inspected = [one for one in ANSWERS if one.endswith(".inspect")]
        made.policy(
            {
                "other_hosts": {"inspect": inspected, "ports": [443, inside.port]},
                "providers": {"mistral": {"key": {"env": "MISTRAL_REAL"}}},
            }
        )
        made.agent()
        made.proxy(MISTRAL_REAL="sk-real")
        yield made


def times_asked(world: World, name: str) -> int:
    """How often the resolver was asked for a name."""
    return (world.folder / "asked").read_text().splitlines().count(name)


@pytest.mark.parametrize("name", LIES)
def test_name_that_leads_inside_is_dialled_in_no_tunnel(
    lied_to: World, inside: Inside, name: str
) -> None:
    host = f"{name}.tunnel"
    for _ in range(4):
        with dial(lied_to.proxies[0]) as opened:
            connect(opened, f"{host}:{inside.port}", credentials(lied_to))
            opened.settimeout(1)
            with suppress(OSError):  # the address that is public is reached or not
                ssl.create_default_context().wrap_socket(opened, server_hostname=host)

    wait(lambda: times_asked(lied_to, host) >= 4)
    assert inside.reached == 0
    assert times_asked(lied_to, host) == 4  # what was checked is dialled: nobody asks twice


@pytest.mark.parametrize("name", LIES)
def test_name_that_leads_inside_is_not_dialled_for_a_decrypted_request(
    lied_to: World, inside: Inside, name: str
) -> None:
    host = f"{name}.inspect"
    context = trust(lied_to.home.ca_certificate)
    for _ in range(2):
        with dial(lied_to.proxies[0]) as opened:
            connect(opened, f"{host}:{inside.port}", credentials(lied_to))
            tunnel = context.wrap_socket(opened, server_hostname=host)
            tunnel.settimeout(1)
            with suppress(TimeoutError):
                pour(tunnel, f"GET / HTTP/1.1\r\nHost: {host}:{inside.port}\r\n\r\n".encode())
                assert head_of(tunnel).startswith(b"HTTP/1.1 502")
        with dial(lied_to.proxies[0]) as plain:
            plain.settimeout(1)
            pour(
                plain,
                f"GET http://{host}:{inside.port}/ HTTP/1.1\r\nHost: {host}\r\n".encode()
                + credentials(lied_to)
                + b"\r\n",
            )
            with suppress(TimeoutError):
                assert head_of(plain).startswith(b"HTTP/1.1 502")

    wait(lambda: times_asked(lied_to, host) >= 4)
    assert inside.reached == 0
    assert times_asked(lied_to, host) == 4


def test_provider_whose_name_leads_inside_gets_no_call_and_no_key(lied_to: World) -> None:
    body = {"model": "mistral-small-latest", "max_tokens": 5, "messages": []}

    said = ask(lied_to, request(body, host=PROVIDER), PROVIDER)

    assert said.status == 502
    assert b"private address" in said.body
    wait(lambda: lied_to.books()["open"] == 0)
    assert lied_to.books()["spent"] == 0
    assert times_asked(lied_to, PROVIDER) == 1
