from __future__ import annotations

import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tollkeeper.launch.bridge import SOCKET, Bridge


def echo(listener: socket.socket) -> None:
    """Answers one connection with what it said, once it has said all."""
    connection, _ = listener.accept()
    with connection:
        said = b""
        while data := connection.recv(65536):
            said += data
        connection.sendall(said)


@pytest.fixture
def listener() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=echo, args=[made], daemon=True).start()
    return made


def connect(folder: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(90)
    client.connect(str(folder / SOCKET))
    return client


def test_everything_arrives_both_ways_and_so_does_the_end(listener: socket.socket) -> None:
    said = bytes(range(256)) * 10_000

    with Bridge(*listener.getsockname()) as bridge, connect(bridge.folder) as client:
        threading.Thread(target=lambda: (client.sendall(said), client.shutdown(1))).start()
        heard = b""
        while data := client.recv(65536):
            heard += data

    assert heard == said


def test_folder_is_for_this_user_alone_and_gone_in_the_end(listener: socket.socket) -> None:
    with Bridge(*listener.getsockname()) as bridge:
        assert stat.S_IMODE(bridge.folder.stat().st_mode) == 0o700

    assert not bridge.folder.exists()


def test_connection_ends_when_nobody_listens_behind_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()

    with Bridge(*address) as bridge, connect(bridge.folder) as client:
        assert client.recv(1) == b""


def test_open_connections_do_not_keep_a_bridge_from_ending(listener: socket.socket) -> None:
    with Bridge(*listener.getsockname()) as bridge:
        client = connect(bridge.folder)
        client.sendall(b"unfinished")

    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""


def test_folder_without_room_for_a_socket_is_an_error(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))

    with pytest.raises(OSError, match="too long"), Bridge(*listener.getsockname()):
        pass
