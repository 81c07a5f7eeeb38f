"""``HOST:PORT`` as people write it."""

from __future__ import annotations

import pytest

from tollkeeper.errors import UsageError
from tollkeeper.proxy.addresses import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("[::1]:8080", "::1", 8080),
        (":8080", "", 8080),
        ("8080", "127.0.0.1", 8080),
        ("proxy.corp.example:65535", "proxy.corp.example", 65535),
    ],
)
def test_address_is_read(text: str, host: str, port: int) -> None:
    found = Address.parse(text)

    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize("text", ["127.0.0.1", "x:65536", "x:-1", "x:", "::1:8080", "x:١", "x:1 "])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="found"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:1", "x:1"])
def test_address_is_written_as_it_is_read(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("box.example", False),
    ],
)
def test_only_loopback_is_loopback(host: str, is_loopback: bool) -> None:
    assert Address(host, 1).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("host", "near"), [("0.0.0.0", "127.0.0.1:1"), ("::", "[::1]:1"), ("10.0.0.1", "10.0.0.1:1")]
)
def test_address_for_every_interface_is_reached_over_loopback(host: str, near: str) -> None:
    assert str(Address(host, 1).near) == near
