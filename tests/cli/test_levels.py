from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper_cli.levels import (
    Level,
    agents_port,
    check_operator,
    explain,
    is_closed,
    level,
    listener_uid,
)

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port on which this user listens, and the environment of an agent."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = int(opened.getsockname()[1])
        monkeypatch.setenv("HTTPS_PROXY", f"http://atlas:tk_x@127.0.0.1:{port}")
        yield port


def test_owner_of_the_state_is_the_same_user_as_his_agents(home: Home, door: int) -> None:
    home.make()

    assert level(home) is Level.SAME_USER
    assert not is_closed(home)
    assert explain(home).startswith("same-user: the agent runs as ")


def test_listener_is_told_by_the_system(door: int) -> None:
    assert listener_uid(door) == os.geteuid()


@needs_root
def test_user_who_goes_through_anothers_proxy_is_another_user(home: Home, door: int) -> None:
    home.make()
    with as_user(NOBODY):
        assert level(home) is Level.OTHER_USER
        assert explain(home).startswith("other-user: ")


@needs_root
def test_user_without_a_proxy_of_another_is_not_said_to_be_kept_apart(
    home: Home, door: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://atlas:tk_x@127.0.0.1:1")
    with as_user(NOBODY):
        assert level(home) is Level.SAME_USER


@needs_root
def test_user_who_is_kept_out_of_the_state_is_told_his_way(home: Home) -> None:
    home.make()
    with as_user(NOBODY), pytest.raises(UsageError, match="ask its owner for the lines of"):
        check_operator(home)


@pytest.mark.parametrize(
    "proxy",
    ["", "http://127.0.0.1:8080", "http://me:password@127.0.0.1:8080", "http://a:tk_x@x:port"],
)
def test_environment_without_a_token_of_ours_is_no_agents(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    assert agents_port() is None
